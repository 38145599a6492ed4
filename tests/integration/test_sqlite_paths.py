"""The path of a SQLite store: what names a file, and how long it is waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batch_cancel.adapters.sqlite import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path


def test_a_relative_path_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of the working folder does not lead a store to another file."""
    monkeypatch.chdir(tmp_path)
    store = SqliteStore("jobs.db")
    store.add_job("j")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert store.job("j") is not None
    assert not (tmp_path / "elsewhere" / "jobs.db").exists()


@pytest.mark.parametrize("name", ["a?mode=memory", "a#b", "100%25", "ä b", "\udcff", "file:x"])
def test_any_file_name_is_just_a_name(tmp_path: Path, name: str) -> None:
    """No character of a path is read as a part of a URL."""
    store = SqliteStore(tmp_path / name)
    store.add_job("j")
    names = {entry.name for entry in tmp_path.iterdir()}
    assert names <= {name, f"{name}-wal", f"{name}-shm"}
    assert name in names
    assert SqliteStore(tmp_path / name, create=False).job("j") is not None


@pytest.mark.parametrize("path", ["", ":memory:", "a\0b"])
def test_a_path_that_names_no_file_is_refused(path: str) -> None:
    """A store in memory would be empty in every transaction."""
    with pytest.raises(ValueError, match=r"SQLite file|adapters\.memory"):
        SqliteStore(path)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), 86_401])
def test_a_time_to_wait_that_makes_no_sense_is_refused(seconds: float) -> None:
    """It is bounded, whatever the caller says."""
    with pytest.raises(ValueError, match="busy_timeout_seconds must be between 0 and a day"):
        SqliteStore("jobs.db", busy_timeout_seconds=seconds)
