"""`check()` of a store and a scheduler in a file: each sentence, by breaking the file."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from batch_cancel.adapters.sqlite import SqliteScheduler, SqliteStore
from tests.processes import unprivileged

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


def sqlite_checked(path: Path, *, create: bool = False) -> list[str]:
    """Ask store and scheduler, which say the same, and make nothing."""
    before = {it.name: it.read_bytes() for it in path.parent.iterdir() if it.is_file()}
    found = SqliteStore(path, create=create).check()
    assert SqliteScheduler(path, create=create).check() == found
    after = {it.name: it.read_bytes() for it in path.parent.iterdir() if it.is_file()}
    assert {name: after[name] for name in before} == before
    assert not {name for name in after.keys() - before.keys() if not name.endswith(("wal", "shm"))}
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Yield a file of ours."""
    SqliteStore(tmp_path / "jobs.db").add_job("job")
    return tmp_path / "jobs.db"


def test_a_file_of_ours_is_fit(file: Path) -> None:
    """Whether or not it could be made."""
    assert sqlite_checked(file) == []
    assert sqlite_checked(file, create=True) == []


def test_a_file_that_is_not_there_yet_is_fit_if_it_may_be_made(tmp_path: Path) -> None:
    """Else the sentence says why not; nothing is made by asking."""
    path = tmp_path / "jobs.db"
    assert sqlite_checked(path, create=True) == []
    assert SqliteStore(path).examine().fits == ("the file will be created on first use",)
    assert sqlite_checked(path) == [
        f"the SQLite file {str(path)!r} does not exist, or its folder may not be written"
    ]
    path.touch()
    assert sqlite_checked(path, create=True) == []


def test_a_file_whose_folder_is_not_there_cannot_be_made(tmp_path: Path) -> None:
    """Nobody makes folders unasked."""
    path = tmp_path / "missing" / "jobs.db"
    assert SqliteStore(path).check() == [
        f"the SQLite file {str(path)!r} does not exist, and may not be created: check its folder"
    ]


def test_a_file_that_is_something_else_is_named(tmp_path: Path) -> None:
    """A folder, a text, another program's database."""
    path = tmp_path / "jobs.db"
    path.write_bytes(b"not a database\n" * 100)
    assert sqlite_checked(path) == [f"the SQLite file {str(path)!r} is not a SQLite database"]
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE songs (id)")
    found = sqlite_checked(path)
    assert len(found) == 4
    assert f"the SQLite file {str(path)!r} has no table batch_jobs: is it the right file?" in found
    assert sqlite_checked(path, create=True) == []
    path.unlink()
    path.mkdir()
    assert sqlite_checked(path) == [f"the SQLite file {str(path)!r} is a folder, not a file"]


def test_a_file_of_another_version_is_named(file: Path) -> None:
    """Table by table, column by column."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("ALTER TABLE batch_cancellations RENAME is_announced TO announced")
        connection.execute("DROP TABLE batch_deferred_starts")
    sentences = [
        (
            f"the SQLite file {str(file)!r} has no column is_announced in batch_cancellations: "
            "another version of batch_cancel made it"
        ),
        f"the SQLite file {str(file)!r} has no table batch_deferred_starts: is it the right file?",
    ]
    assert sqlite_checked(file) == sentences


def test_a_file_that_may_not_be_written_is_named(file: Path) -> None:
    """Nor its folder, where SQLite keeps the log."""
    sentence = (
        f"the SQLite file {str(file)!r} is read-only: check its permissions, and those of its "
        "folder"
    )
    file.parent.chmod(0o755)
    with as_anybody(file.parent):
        file.chmod(0o444)
        assert sqlite_checked(file) == [sentence]
        file.chmod(0o644)
        assert sqlite_checked(file) == []
        file.parent.chmod(0o555)
        assert sqlite_checked(file) == [sentence]
        file.parent.chmod(0o755)


@contextlib.contextmanager
def as_anybody(folder: Path) -> Generator[None]:
    """Act as a user for whom permissions count, who owns the folder and what is in it."""
    account = unprivileged()
    if account is None:
        yield
        return
    above = [it for it in folder.parents if not it.stat().st_mode & 0o001]
    for path in (folder, *folder.iterdir()):
        os.chown(path, account.pw_uid, account.pw_gid)
    modes = [it.stat().st_mode for it in above]
    for it in above:
        it.chmod(0o711)
    os.seteuid(account.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        for it, mode in zip(above, modes, strict=True):
            it.chmod(mode)
