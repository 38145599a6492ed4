"""What a store's or a scheduler's URL means to the command line, and what it never shows of it."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from batch_cancel.adapters.apscheduler import ApschedulerScheduler
from batch_cancel.adapters.arq import ArqScheduler
from batch_cancel.adapters.docket import DocketScheduler
from batch_cancel.adapters.huey import HueyScheduler
from batch_cancel.adapters.postgres import PostgresUnitOfWork, SqlStartGate
from batch_cancel.adapters.procrastinate import ProcrastinateScheduler
from batch_cancel.adapters.redis import RedisScheduler, StartGate
from batch_cancel.adapters.rq import RqScheduler
from batch_cancel.adapters.saq import SaqScheduler
from batch_cancel.adapters.sqlite import SqliteScheduler, SqliteStore
from batch_cancel.adapters.taskiq import TaskiqStarts
from batch_cancel.cli.imports import UsageError
from batch_cancel.cli.libraries import LIBRARIES
from batch_cancel.cli.urls import scheduler_at, store_at

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
    with scheduler_at(f"sqlite:///{other}", store)() as scheduler:
        assert scheduler.cancel("in one", "op") is False
    with scheduler_at(None, store)() as scheduler:
        assert scheduler.cancel("in one", "op") is True


def test_a_postgres_store_has_no_scheduler_of_its_own() -> None:
    """Which one it is must be said."""
    with pytest.raises(UsageError, match="--scheduler is needed with this store: sqlite:///"):
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
    with pytest.raises(UsageError) as caught:
        store_at(url)
    assert str(caught.value) == (
        "--store must be a URL: sqlite:///relative.db, sqlite:////absolute.db or postgresql://..."
    )


@pytest.mark.parametrize(
    "url",
    ["", "redis", "http://u:hunter2@h", "arq+http://hunter2", "cron+redis://h", "native://h"],
)
def test_a_scheduler_of_no_known_scheme_is_refused(url: str) -> None:
    """The sentence lists what there is, and repeats nothing."""
    with pytest.raises(UsageError) as caught:
        scheduler_at(url, "sqlite:///jobs.db")
    assert str(caught.value).startswith("--scheduler must be a URL: sqlite:///file.db, native+re")
    for library in LIBRARIES:
        assert f"{library}+redis://" in str(caught.value)
    assert "procrastinate+postgresql://" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("scheme", ["redis", "rediss", "unix", "redis+cluster", "rediss+cluster"])
def test_a_redis_url_that_names_no_library_is_refused(scheme: str) -> None:
    """Whose starts are there is not guessed: another library's would be noted as absent."""
    with pytest.raises(UsageError) as caught:
        scheduler_at(f"{scheme}://u:hunter2@h", "sqlite:///jobs.db")
    assert str(caught.value).startswith(f"--scheduler: {scheme}:// does not name the library")
    assert "write one of native+redis://..., arq+redis://..., rq+redis://..." in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "kind", "keys"),
    [
        ("native+redis://h", RedisScheduler, None),
        ("native+rediss://h:1/2?namespace=x&shards=4&retention=1d", RedisScheduler, None),
        ("native+unix:///run/redis.sock?db=2", RedisScheduler, None),
        ("arq+redis://h?queue=arq:low&budget=500ms", ArqScheduler, "arq:low"),
        ("rq+redis://h?scheduled=rq:scheduler:scheduled_jobs", RqScheduler, "rq:scheduler:"),
        ("saq+redis://h?queue=low&min_replicas=1", SaqScheduler, "saq:low:incomplete"),
        ("huey+redis://h?name=calls", HueyScheduler, "huey.schedule.calls"),
        ("docket+redis://h?name=calls", DocketScheduler, "calls:queue"),
        ("taskiq+redis://h?prefix=p", TaskiqStarts, "p:data:ID"),
        ("apscheduler+redis://h?jobs_key=j&namespace=x", ApschedulerScheduler, None),
        ("gate+redis://h?namespace=x", StartGate, None),
    ],
)
def test_a_url_names_the_library_and_its_options(url: str, kind: type, keys: str | None) -> None:
    """Each adapter of Redis, made as its class would be; nobody is connected to."""
    with scheduler_at(url, "sqlite:///jobs.db")() as scheduler:
        assert type(scheduler) is kind
        if keys is not None:
            recipe: Any = scheduler
            assert recipe._recipe.keys("ID")[0].startswith(keys)


def test_procrastinate_is_named_by_its_database() -> None:
    """Its starts are rows."""
    with scheduler_at("procrastinate+postgresql://h/d", "sqlite:///jobs.db")() as scheduler:
        assert type(scheduler) is ProcrastinateScheduler
    with pytest.raises(UsageError, match=r"^--scheduler is not a valid URL"):
        scheduler_at("procrastinate+postgresql://u:hunter2%@h/d", "sqlite:///jobs.db")


def test_a_gate_in_sql_is_named_by_its_database() -> None:
    """Its starts are rows, too."""
    with scheduler_at("gate+postgresql://h/d", "sqlite:///jobs.db")() as scheduler:
        assert type(scheduler) is SqlStartGate


def test_an_option_that_is_not_known_is_refused_by_its_name() -> None:
    """With the ones that are: those of the adapter, and those of the connection."""
    with pytest.raises(UsageError) as caught:
        scheduler_at("arq+redis://h?qeue=hunter2", "sqlite:///jobs.db")
    assert str(caught.value).startswith(
        "--scheduler: arq+redis:// has no option 'qeue'; it knows queue, budget, retention, "
        "min_replicas"
    )
    assert "; and of the connection client_name, db, password" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("native+redis://h?shards=hunter2", "the option 'shards' must be a whole number"),
        ("arq+redis://h?budget=hunter2", "the option 'budget' must be a duration"),
        ("arq+redis://h?queue=a&queue=b", "an option is given twice"),
        ("arq+redis://h?queue=", "the option 'queue' is empty"),
        ("native+redis://h?namespace=", "the option 'namespace' is empty"),
        ("native+redis://h/campaigns", "a database is a whole number: native+redis://host/0"),
        ("native+redis://h/1/2", "a database is a whole number"),
        ("native+redis://h/1?db=2", "the database is named twice"),
        ("native+unix://run/redis.sock", "a socket's path needs three slashes"),
        ("arq+redis://h?ssl_cert_reqs=none", "the option 'ssl_cert_reqs' needs arq+rediss://"),
        ("arq+redis+cluster://h", "arq keeps the keys of a start where no Redis Cluster can be"),
    ],
)
def test_an_option_that_cannot_be_read_is_refused(url: str, sentence: str) -> None:
    """Of its value nothing is shown."""
    with pytest.raises(UsageError) as caught:
        scheduler_at(url, "sqlite:///jobs.db")
    assert str(caught.value).startswith(f"--scheduler: {sentence}")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["arq+redis://h?queue=q\n", "arq+redis://h\n", "arq+redis://:1/2@h"]
)
def test_what_is_no_part_of_a_url_is_refused(url: str) -> None:
    """A line end, as it comes out of a file, or a slash in a password: it would mean another."""
    with pytest.raises(UsageError, match=r"^--scheduler is not a valid URL"):
        scheduler_at(url, "sqlite:///jobs.db")


@pytest.mark.parametrize(
    "url",
    [
        "native+redis://h/",
        "native+redis://u:a%2Fb@h:1/15",
        "native+redis://[::1]:6379/2",
        "native+unix://u:p@/run/redis.sock",
        "native+rediss://h?ssl_cert_reqs=none",
    ],
)
def test_an_address_is_one_as_redis_py_has_it(url: str) -> None:
    """The refusals above would also pass if everything was refused."""
    with scheduler_at(url, "sqlite:///jobs.db")() as scheduler:
        assert isinstance(scheduler, RedisScheduler)


@pytest.mark.parametrize("option", ["shards=0", "min_replicas=-1", "retention=0", "namespace={}"])
def test_an_option_that_the_adapter_refuses_is_a_usage_error(option: str) -> None:
    """In the adapter's own words."""
    opened = scheduler_at(f"native+redis://h?{option}", "sqlite:///jobs.db")
    with pytest.raises(UsageError, match=r"^--scheduler: "), opened():
        pass


@pytest.mark.parametrize("url", ["sqlite://jobs.db", "sqlite://"])
def test_two_slashes_are_one_too_few(url: str) -> None:
    """The most common mistake has a sentence of its own."""
    with pytest.raises(UsageError, match="--store needs three slashes before a relative path"):
        store_at(url)


@pytest.mark.parametrize("url", ["sqlite:///", "sqlite:///:memory:", "sqlite:///a\0b"])
def test_a_path_that_names_no_file_is_refused(url: str) -> None:
    """Before anything is opened."""
    with pytest.raises(UsageError, match="--store: "):
        store_at(url)
    with pytest.raises(UsageError, match="--scheduler: "):
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
    with pytest.raises(UsageError) as caught:
        store_at(url)
    assert str(caught.value).startswith("--store is not a valid URL: percent-encode")
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("scheme", ["redis", "rediss", "redis+cluster", "rediss+cluster"])
@pytest.mark.parametrize(
    "rest",
    [
        "host:hunter2/0",
        "host/0?socket_timeout=hunter2",
        "[hunter2",
        "host?hunter2",
        ":hunter2?x=y@host/0",
        ":hunter2#x@host/0",
    ],
)
def test_a_redis_url_that_cannot_be_parsed_shows_nothing_of_itself(scheme: str, rest: str) -> None:
    """The driver's message would quote a part of it."""
    with pytest.raises(UsageError) as caught:
        scheduler_at(f"native+{scheme}://{rest}", "sqlite:///jobs.db")
    assert str(caught.value).startswith("--scheduler is not a valid URL: percent-encode")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("missing", "arguments", "sentence"),
    [
        (
            "psycopg",
            ["cancel", "j", "--store", "postgresql://h/d", "--scheduler", "sqlite:///f"],
            "a Postgres store needs more: pip install 'batch_cancel[postgres-binary]'",
        ),
        (
            "redis",
            ["cancel", "j", "--store", "sqlite:///f", "--scheduler", "native+redis://h"],
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
