"""What the command line cannot use as an application, and names of ones own: `--schema`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
import redis

from batch_cancel import cancel_rows
from batch_cancel.adapters.arq import ArqScheduler
from tests.integration.command_line import Done, as_url
from tests.integration.test_cli_apps import BLOCKING, file, run
from tests.pairs import create_reference_tables

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["file", "run"]


# What cannot be used -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("app", "source", "sentence"),
    [
        ("wired", BLOCKING, "--app must be module:name, for example myapp.wiring:app"),
        (":app", BLOCKING, "--app must be module:name, for example myapp.wiring:app"),
        (
            "nowhere.wired:app",
            BLOCKING,
            (
                "--app: there is no module 'nowhere' in the current directory or where Python "
                "looks for modules"
            ),
        ),
        ("wired:gone", BLOCKING, "--app: the module 'wired' has no 'gone'"),
        (
            "wired:app",
            "import gone_missing",
            (
                "--app: importing the module 'wired' raised ModuleNotFoundError: No module named "
                "'gone_missing'"
            ),
        ),
        (
            "wired:app",
            "import os\nos.environ['DATABASE_URL_OF_NOBODY']",
            "--app: importing the module 'wired' raised KeyError: 'DATABASE_URL_OF_NOBODY'",
        ),
        (
            "wired:app",
            "raise RuntimeError('no route to postgresql://ann:hunter2@h/d')",
            "--app: importing the module 'wired' raised RuntimeError",
        ),
        (
            "wired:app",
            "def app(:",
            (
                "--app: importing the module 'wired' raised SyntaxError: invalid syntax "
                "(wired.py, line 1)"
            ),
        ),
        (
            "wired:app",
            "raise SystemExit(3)",
            "--app: importing the module 'wired' raised SystemExit: 3",
        ),
        (
            "wired:app",
            "app = None",
            "--app: wired:app has no `uow` (it is None): give it uow and scheduler",
        ),
        (
            "wired:app",
            "app = 'postgresql://ann:hunter2@h/d'",
            "--app: wired:app has no `uow` (it is of type str): give it uow and scheduler",
        ),
        (
            "wired:app",
            f"{BLOCKING}\ndel app.scheduler",
            (
                "--app: wired:app has no `scheduler` (it is of type SimpleNamespace): give it uow "
                "and scheduler"
            ),
        ),
        (
            "wired:app",
            "def app(url): ...",
            "--app: wired:app needs arguments: name a function that takes none",
        ),
        (
            "wired:app",
            "def app(): raise LookupError('no settings')",
            "--app: wired:app raised LookupError: no settings",
        ),
        (
            "wired:app",
            "async def app(): raise LookupError('no settings')",
            "--app: wired:app raised LookupError: no settings",
        ),
        (
            "wired:app",
            "def app(): raise SystemExit(0)",
            "--app: wired:app raised SystemExit: 0",
        ),
        (
            "wired:app",
            "async def app(): raise SystemExit(0)",
            "--app: wired:app raised SystemExit: 0",
        ),
        (
            "wired:Settings",
            f"{BLOCKING}\nSettings.uow = property(lambda self: self.pool)",
            (
                "--app: wired:Settings: its `uow` raised AttributeError: 'Settings' object has no "
                "attribute 'pool'"
            ),
        ),
        (
            "wired:Settings",
            f"{BLOCKING}\nSettings.scheduler = property(lambda self: 1 / 0)",
            "--app: wired:Settings: its `scheduler` raised ZeroDivisionError: division by zero",
        ),
        (
            "wired:Settings",
            f"{BLOCKING}\nSettings.on_cancelled = property(lambda self: self.mail)",
            (
                "--app: wired:Settings: its `on_cancelled` raised AttributeError: 'Settings' "
                "object has no attribute 'mail'"
            ),
        ),
        (
            "wired:app",
            f"{BLOCKING}\ndef tell(_): yield\napp.on_cancelled = tell",
            (
                "--app: wired:app: the hook is a generator function (tell), whose body would not "
                "run: pass a function without yield"
            ),
        ),
        (
            "wired:app",
            f"{BLOCKING}\napp.uow = None",
            (
                "--app: wired:app: the store (uow) has no method `begin` (None): pass for example "
                "PostgresUnitOfWork(...)"
            ),
        ),
        (
            "wired:app",
            f"{BLOCKING}\napp.scheduler = SqliteScheduler",
            "--app: wired:app: the scheduler is the class SqliteScheduler: pass an instance of it",
        ),
        (
            "wired:app",
            (
                f"{BLOCKING}\nfrom batch_cancel.adapters.memory import AsyncMemoryScheduler\n"
                "app.scheduler = AsyncMemoryScheduler()"
            ),
            (
                "--app: wired:app: uow and scheduler must both block or both be asyncio, got "
                "SqliteStore and AsyncMemoryScheduler"
            ),
        ),
        (
            "wired:app",
            f"{BLOCKING}\nasync def tell(_): ...\napp.on_cancelled = tell",
            "--app: wired:app: on_cancelled must be a plain function beside blocking ports",
        ),
        (
            "wired:app",
            f"{BLOCKING}\napp.on_cancelled = 'tell'",
            "--app: wired:app: the hook is not callable (str): pass a function",
        ),
    ],
)
def test_what_is_no_application_is_one_sentence(
    run: Callable[..., Done], file: Path, app: str, source: str, sentence: str
) -> None:
    """Exit code 2: what is wrong, no traceback, no secret, and nothing is done."""
    before = file.read_bytes()
    done = run("cancel", "a", "--app", app, source=source)
    assert done == (2, "", f"batch-cancel: {sentence}\n")
    assert file.read_bytes() == before


def test_an_application_and_urls_in_the_same_place_are_refused(
    run: Callable[..., Done], file: Path
) -> None:
    """What is typed counts more than the environment."""
    both = (
        "batch-cancel: --app names the store and the scheduler by itself: leave out --store, "
        "--scheduler and --schema, or --app (BATCH_CANCEL_APP, BATCH_CANCEL_STORE and "
        "BATCH_CANCEL_SCHEDULER count, too)\n"
    )
    app, store = ["--app", "wired:app"], ["--store", f"sqlite:///{file}"]
    for others in (store, ["--scheduler", f"sqlite:///{file}"], ["--schema", "names:SCHEMA"]):
        assert run("check", *app, *others) == (2, "", both)
    named = {"BATCH_CANCEL_APP": "nowhere:app", "BATCH_CANCEL_STORE": "sqlite:///nowhere.db"}
    assert run("check", **named) == (2, "", both)
    assert run("check", *app, **named).code == 0
    assert run("check", *store, **named).code == 0


def test_one_of_them_is_needed(run: Callable[..., Done]) -> None:
    """And the sentence names both ways."""
    for command in (["cancel", "a"], ["check"], ["inspect"], ["reconcile"], ["doctor"]):
        done = run(*command)
        assert (done.code, done.out) == (2, "")
        assert "by --app, or the store by --store" in done.err


# --schema ----------------------------------------------------------------------------------------


def test_names_of_ones_own_on_every_command(
    run: Callable[..., Done], postgres_schema: str, redis_database: str
) -> None:
    """As the doctor takes them; the starts are arq's."""
    names = "from batch_cancel.adapters.postgres import PostgresSchema\n"
    names += "SCHEMA = PostgresSchema(jobs='campaigns', cancellations='stopped')\n"
    with psycopg.connect(postgres_schema, autocommit=True) as rows:
        create_reference_tables(rows)
        rows.execute("ALTER TABLE batch_jobs RENAME TO campaigns")
        rows.execute("ALTER TABLE batch_cancellations RENAME TO stopped")
        rows.execute(
            "INSERT INTO campaigns (id, status, scheduled_job_id) VALUES"
            " ('a', 'scheduled', 'start-a'), ('b', 'scheduled', 'start-b')"
        )
    wiring = ["--store", as_url(postgres_schema), "--schema", "wired:SCHEMA"]
    wiring += ["--scheduler", f"arq+{redis_database}"]
    with redis.Redis.from_url(redis_database) as client:
        for job_id in "ab":
            client.zadd("arq:queue", {f"start-{job_id}": 4e12})
            client.set(f"arq:job:start-{job_id}", b"job")
        done = run("cancel", "a", *wiring, source=names)
        assert (done.code, done.err) == (0, "")
        assert done.body["redisJobCancelled"] is True
        cancel_rows_of("b", postgres_schema)
        assert "'b' was cancelled at" in run("inspect", *wiring, source=names).out
        assert run("reconcile", *wiring, "--lease", "0", source=names).code == 0
        assert run("check", *wiring, source=names).code == 0
        assert client.zcard("arq:queue") == 0
        assert ArqScheduler(client).cancel("start-b", "another") is False
    expire = ["expire-calls", "x", "--older-than", "4h", *wiring[:4]]
    assert run(*expire, source=names).code == 3


def cancel_rows_of(job_id: str, dsn: str) -> None:
    """Cancel a job's rows under the names of the test above; its start stays."""
    from batch_cancel.adapters.postgres import PostgresSchema, PostgresUnitOfWork

    schema = PostgresSchema(jobs="campaigns", cancellations="stopped")
    cancel_rows(job_id, uow=PostgresUnitOfWork(lambda: psycopg.connect(dsn), schema))


@pytest.mark.parametrize("command", [["cancel", "a"], ["check"], ["inspect"], ["reconcile"]])
def test_names_that_cannot_be_imported_are_one_sentence(
    run: Callable[..., Done], command: list[str]
) -> None:
    """Which, and why; a store that has no names refuses them."""
    postgres = ["--store", "postgresql://h/d", "--scheduler", "native+redis://h"]
    for schema, source, sentence in (
        ("gone:SCHEMA", "", "--schema: there is no module 'gone' in the current directory or"),
        ("wired:SCHEMA", "1 / 0", "--schema: importing the module 'wired' raised ZeroDivisionErr"),
        ("wired:SCHEMA", "", "--schema: the module 'wired' has no 'SCHEMA'"),
        ("wired:SCHEMA", "SCHEMA = 1", "--schema must name a PostgresSchema"),
        ("wired", "", "--schema must be module:name"),
    ):
        done = run(*command, *postgres, "--schema", schema, source=source)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(f"batch-cancel: {sentence}")
    done = run(*command, "--store", "sqlite:///f", "--schema", "wired:SCHEMA")
    assert done == (2, "", "batch-cancel: --schema is for a Postgres store\n")
