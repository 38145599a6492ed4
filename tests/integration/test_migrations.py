"""Tables of an earlier release are changed to the current ones, while cancels go on."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from batch_cancel import cancel_rows, cancellations
from batch_cancel.adapters.postgres import (
    PostgresSchema,
    PostgresUnitOfWork,
    migration_ddl,
    table_ddl,
)
from batch_cancel.adapters.sqlite import SqliteStore
from tests.integration.command_line import Done, leave_the_log_alone, run
from tests.integration.released_tables import (
    POSTGRES_0_1,
    SQLITE_0_1,
    create_released_tables,
    shape,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.servers import PostgresServer

__all__ = ["leave_the_log_alone", "run"]


@pytest.fixture
def rows(postgres_schema: str) -> Iterator[psycopg.Connection[Any]]:
    """Yield a connection to tables of release 0.1, with a running job."""
    with psycopg.connect(postgres_schema, autocommit=True) as connection:
        create_released_tables(connection)
        connection.execute("INSERT INTO batch_jobs (id, status) VALUES ('job', 'running')")
        yield connection


@pytest.fixture
def current(postgres_server: PostgresServer) -> Iterator[set[tuple[Any, ...]]]:
    """Yield the shape of the tables that are created today."""
    with postgres_server.schema() as dsn, psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(table_ddl(PostgresSchema()).encode())
        yield shape(connection, schema_of(connection))


def schema_of(rows: psycopg.Connection[Any]) -> str:
    """Return the name of the test's own schema."""
    [name] = rows.execute("SELECT current_schema()").fetchone() or [""]
    return str(name)


def cancelled(rows: psycopg.Connection[Any], dsn: str, operation_id: str) -> list[str]:
    """Cancel the job once more, and return the operations of the history."""
    uow = PostgresUnitOfWork(lambda: psycopg.connect(dsn))
    rows.execute("UPDATE batch_jobs SET status = 'running'")
    cancel_rows("job", uow=uow, operation_id=operation_id)
    return [it.operation_id for it in cancellations(uow=uow).records]


def test_the_tables_of_0_1_become_the_current_ones(
    rows: psycopg.Connection[Any],
    postgres_schema: str,
    current: set[tuple[Any, ...]],
    run: Callable[..., Done],
) -> None:
    """Before each statement and after the last one, a cancel succeeds, and no record is lost."""
    printed = run("schema", "--from", "0.1")
    assert (printed.code, printed.err) == (0, "")
    statements = printed.out.split(";\n\n")
    assert len(statements) == 5
    assert shape(rows, schema_of(rows)) < current
    rows.execute("INSERT INTO batch_jobs (id, status) VALUES ('old', 'running')")
    cancel_rows("old", uow=PostgresUnitOfWork(lambda: psycopg.connect(postgres_schema)))
    select = b"SELECT b::text FROM batch_cancellations b WHERE batch_job_id = 'old'"
    old = rows.execute(select).fetchall()
    for number, statement in enumerate(statements):
        # The job's earlier record is replaced until there is a table for it.
        assert cancelled(rows, postgres_schema, str(number))[0] == str(number)
        rows.execute(statement.encode())
    assert cancelled(rows, postgres_schema, "last")[:2] == ["last", "4"]
    assert shape(rows, schema_of(rows)) == current
    [(kept,)], [(was,)] = rows.execute(select).fetchall(), old
    assert kept == was.removesuffix(")") + ",t)"  # Swept, as every record of that release is.


def test_the_statements_may_run_again(
    rows: psycopg.Connection[Any], current: set[tuple[Any, ...]]
) -> None:
    """On tables that are current, or that were left half-way, the rest is done."""
    for statement in migration_ddl(PostgresSchema(), "0.1") * 2:
        rows.execute(statement.encode())
    assert shape(rows, schema_of(rows)) == current


@pytest.mark.parametrize(("step", "what"), [(0, "ADD COLUMN"), (1, "CREATE INDEX")])
def test_cancels_go_on_while_a_step_waits(
    step: int, what: str, rows: psycopg.Connection[Any], postgres_schema: str
) -> None:
    """It waits for the cancel before it, and lets no cancel wait behind itself for long."""
    rows.execute("INSERT INTO batch_jobs (id, status) VALUES ('long', 'running')")
    uow = PostgresUnitOfWork(lambda: psycopg.connect(postgres_schema))
    failed = list[BaseException]()
    statements = migration_ddl(PostgresSchema(), "0.1")
    for statement in statements[:step]:
        rows.execute(statement.encode())

    def migrate() -> None:
        try:
            with psycopg.connect(postgres_schema, autocommit=True) as connection:
                for statement in statements[step:]:
                    connection.execute(statement.encode())
        except BaseException as error:  # noqa: BLE001  # Reported below.
            failed.append(error)

    migrating = threading.Thread(target=migrate)
    with psycopg.connect(postgres_schema) as long:
        long.execute("LOCK TABLE batch_cancellations IN ROW EXCLUSIVE MODE")
        migrating.start()
        wait_for_a_waiting(what, rows)
        assert not cancel_rows("job", uow=uow).replayed
    migrating.join(30)
    assert (migrating.is_alive(), failed) == (False, [])


def wait_for_a_waiting(what: str, rows: psycopg.Connection[Any]) -> None:
    """Return once a session waits for a lock to do this, or waits to try again."""
    waits = (
        b"SELECT count(*) FROM pg_stat_activity"
        b" WHERE query LIKE %s AND wait_event_type IN ('Lock', 'Timeout')"
        b" AND pid <> pg_backend_pid()"
    )
    for _ in range(3000):
        if rows.execute(waits, [f"%{what}%"]).fetchone() != (0,):
            return
        rows.execute("SELECT pg_sleep(0.01)")
    pytest.fail(f"no session waits to {what}")


def test_the_statements_are_under_ones_own_names(
    run: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that the tables have."""
    (tmp_path / "their_names.py").write_text(
        "from batch_cancel.adapters.postgres import PostgresSchema\n"
        "SCHEMA = PostgresSchema(cancellations=('audit', 'stopped'))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    printed = run("schema", "--from", "0.1", "--schema", "their_names:SCHEMA").out
    assert '"stopped_by_time"\n    ON "audit"."stopped" (organization_id' in printed
    assert '"stopped_by_age"\n    ON "audit"."stopped" (cancelled_at)' in printed
    assert 'CREATE TABLE IF NOT EXISTS "audit"."stopped_earlier" (' in printed
    assert "batch_cancellations" not in printed
    schema = PostgresSchema(cancellations=("audit", "stopped"))
    statements = migration_ddl(schema, "0.1")
    assert "\n\n".join(statements) == printed.strip()
    assert {it[-2:] for it in statements} == {");", "$;", "t;"}


@pytest.mark.parametrize("release", ["0.2", "0", "0.10", "latest", "", "0.1.x", " 0.1"])
def test_another_release_is_refused(run: Callable[..., Done], release: str) -> None:
    """A slip of the pen prints no SQL."""
    done = run("schema", "--from", release)
    assert (done.code, done.out) == (2, "")
    assert done.sentence == (
        f"--from: no release {release!r} has made tables of another shape: name the one that "
        "made yours, 0.1"
    )
    with pytest.raises(ValueError, match="name the one that made yours"):
        migration_ddl(PostgresSchema(), release)


def test_what_a_release_is_called_in_full_is_understood(run: Callable[..., Done]) -> None:
    """As `batch-cancel --version` prints it."""
    assert run("schema", "--from", "0.1.0") == run("schema", "--from", "0.1")


def test_example_tables_have_no_earlier_shape(run: Callable[..., Done]) -> None:
    """They are for a database that has none."""
    done = run("schema", "--from", "0.1", "--reference")
    assert (done.code, done.out) == (2, "")
    assert done.sentence == "--reference is for a database without tables: leave --from out"


def test_the_sql_needs_no_driver() -> None:
    """Under the names of the library, as what `schema` prints."""
    code = (
        "import sys; sys.modules['psycopg'] = None; sys.argv[1:] = ['schema', '--from', '0.1']\n"
        "from batch_cancel.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "CREATE INDEX CONCURRENTLY" in done.stdout


def test_a_file_of_0_1_is_changed_when_it_is_opened(tmp_path: Path) -> None:
    """There is nothing to do: the tables are the current ones, and the rows are kept."""
    for name in ("old", "new"):
        with sqlite3.connect(tmp_path / name) as file:
            file.executescript(SQLITE_0_1 if name == "old" else "")
            if name == "old":
                file.execute(
                    "INSERT INTO batch_jobs VALUES (1, 'kept', NULL, 'running', '', '', '')"
                )
        store = SqliteStore(tmp_path / name)
        store.add_job("job", "running")
        cancel_rows("job", uow=store)
    with sqlite3.connect(tmp_path / "old") as old, sqlite3.connect(tmp_path / "new") as new:
        select = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name"
        assert [*map(bare, old.execute(select))] == [*map(bare, new.execute(select))]
        assert old.execute("SELECT id FROM batch_jobs").fetchall() == [("job",), ("kept",)]


def bare(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what SQLite keeps of a table, without line breaks."""
    return (*row[:3], " ".join(str(row[3]).split()))


def test_the_shape_of_0_1_is_not_the_current_one() -> None:
    """Else nothing above would be tested."""
    assert POSTGRES_0_1.count("CREATE TABLE") == SQLITE_0_1.count("batch_cancellations (\n") == 1
    assert "taken_at" in POSTGRES_0_1
