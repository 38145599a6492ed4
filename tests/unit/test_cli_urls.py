"""What a store's or a scheduler's URL means to the command line, and what it never shows of it."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from batch_cancel.adapters.postgres import PostgresUnitOfWork
from batch_cancel.adapters.sqlite import SqliteScheduler, SqliteStore
from batch_cancel.cli.urls import UnusableUrl, scheduler_at, store_at

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "hunter2"


def test_three_slashes_are_a_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As SQLAlchemy has it."""
    SqliteStore(tmp_path / "jobs.db").add_job("j")
    monkeypatch.chdir(tmp_path)
    store = store_at("sqlite:///jobs.db")
    assert isinstance(store, SqliteStore)
    assert store.job("j") is not None


def test_four_slashes_are_an_absolute_path(tmp_path: Path) -> None:
    """As SQLAlchemy has it; nothing in a path is decoded."""
    SqliteStore(tmp_path / "100%25?.db").add_job("j")
    store = store_at(f"sqlite:///{tmp_path}/100%25?.db")
    assert isinstance(store, SqliteStore)
    assert store.job("j") is not None


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_postgres_has_both_of_its_schemes(scheme: str) -> None:
    """No connection is opened yet."""
    assert isinstance(store_at(f"{scheme}://nobody@nowhere.invalid/db"), PostgresUnitOfWork)


def test_the_scheduler_of_a_sqlite_store_is_in_the_same_file(tmp_path: Path) -> None:
    """Unless another one is named."""
    one, other = tmp_path / "one.db", tmp_path / "other.db"
    for file, deferred_id in ((one, "in one"), (other, "in the other")):
        SqliteScheduler(file).schedule(deferred_id, datetime(2050, 1, 1, tzinfo=UTC))
    store = f"sqlite:///{one}"
    assert scheduler_at(f"sqlite:///{other}", store).cancel("in one", "op") is False
    assert scheduler_at(None, store).cancel("in one", "op") is True


def test_a_postgres_store_has_no_scheduler_of_its_own() -> None:
    """Which one it is must be said."""
    with pytest.raises(UnusableUrl, match="--scheduler is needed with this store: sqlite:///"):
        scheduler_at(None, "postgresql://host/db")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "jobs.db",
        "sqlite:jobs.db",
        "sqlite3:///jobs.db",
        "SQLITE:///jobs.db",
        "mysql://root:hunter2@host/db",
        "root:hunter2@host/db",
        "hunter2://host",
        "://hunter2",
        "redis://host",
    ],
)
def test_a_store_of_no_known_scheme_is_refused(url: str) -> None:
    """The sentence says what there is, and repeats nothing."""
    with pytest.raises(UnusableUrl) as caught:
        store_at(url)
    assert str(caught.value) == (
        "--store must be a URL: sqlite:///relative.db, sqlite:////absolute.db or postgresql://..."
    )


@pytest.mark.parametrize("url", ["", "redis", "http://u:hunter2@h", "redis+sentinel://h"])
def test_a_scheduler_of_no_known_scheme_is_refused(url: str) -> None:
    """The sentence says what there is, and repeats nothing."""
    with pytest.raises(UnusableUrl) as caught:
        scheduler_at(url, "sqlite:///jobs.db")
    assert str(caught.value) == (
        "--scheduler must be a URL: sqlite:///file.db, redis://..., rediss://... or "
        "redis+cluster://..."
    )


@pytest.mark.parametrize("url", ["sqlite://jobs.db", "sqlite://"])
def test_two_slashes_are_one_too_few(url: str) -> None:
    """The most common mistake has a sentence of its own."""
    with pytest.raises(UnusableUrl, match="--store needs three slashes before a relative path"):
        store_at(url)


@pytest.mark.parametrize("url", ["sqlite:///", "sqlite:///:memory:", "sqlite:///a\0b"])
def test_a_path_that_names_no_file_is_refused(url: str) -> None:
    """Before anything is opened."""
    with pytest.raises(UnusableUrl, match="--store: "):
        store_at(url)
    with pytest.raises(UnusableUrl, match="--scheduler: "):
        scheduler_at(url, "postgresql://host/db")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter2%@host/db",
        "postgresql://u:hunter2%zz@host/db",
        "postgresql://[hunter2/db",
        "postgresql://host/db?hunter2=1",
        "postgresql://u:hunter2\udcff@host/db",
    ],
)
def test_a_postgres_url_that_cannot_be_parsed_shows_nothing_of_itself(url: str) -> None:
    """The driver's message would quote a part of the password."""
    with pytest.raises(UnusableUrl) as caught:
        store_at(url)
    assert str(caught.value).startswith("--store is no valid URL: percent-encode")
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("scheme", ["redis", "rediss", "redis+cluster", "rediss+cluster"])
@pytest.mark.parametrize("rest", ["host:hunter2/0", "host/0?socket_timeout=hunter2", "[hunter2"])
def test_a_redis_url_that_cannot_be_parsed_shows_nothing_of_itself(scheme: str, rest: str) -> None:
    """The driver's message would quote a part of it."""
    with pytest.raises(UnusableUrl) as caught:
        scheduler_at(f"{scheme}://{rest}", "sqlite:///jobs.db")
    assert str(caught.value).startswith("--scheduler is no valid URL: percent-encode")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("missing", "arguments", "sentence"),
    [
        (
            "psycopg",
            ["cancel", "j", "--store", "postgresql://h/d", "--scheduler", "sqlite:///f"],
            "a Postgres store needs more: pip install 'batch_cancel[postgres]'",
        ),
        (
            "redis",
            ["cancel", "j", "--store", "sqlite:///f", "--scheduler", "redis://h"],
            "a Redis scheduler needs more: pip install 'batch_cancel[redis]'",
        ),
        ("typer", ["demo"], "batch-cancel needs more: pip install 'batch_cancel[cli]'"),
        ("rich", ["demo"], "batch-cancel needs more: pip install 'batch_cancel[cli]'"),
    ],
)
def test_a_missing_extra_is_named(missing: str, arguments: list[str], sentence: str) -> None:
    """Importing the command line needs none; using it names the one that it needs."""
    program = (
        "import sys\n"
        f"sys.modules[{missing!r}] = None\n"  # As if it were not installed.
        "from batch_cancel.cli import main\n"
        f"main({arguments!r})\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.removeprefix("batch-cancel: ").strip() == sentence
