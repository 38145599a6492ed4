"""
Sessions of the adopter's own: loaders, formats, temporary tables, shared connections, isolation.

What a session is set to changes no answer, or is refused before anything is changed.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import psycopg
import pytest
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Format

from batch_cancel import (
    BatchCancelError,
    CancelFailed,
    JobNotFound,
    cancel_job,
    cancel_rows,
    cancel_rows_async,
    claim_contacts,
    expire_calls,
    inspect,
    reconcile,
)
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.adapters.postgres import (
    PostgresSchema,
    PostgresUnitOfWork,
    guards_ddl,
    joining,
    joining_async,
)
from batch_cancel.adapters.postgres_transactions import check_isolation
from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.job import JobKey
from tests.integration.own_tables import with_options
from tests.pairs import create_reference_tables
from tests.servers import PostgresServer


@attrs.define
class Database:
    """The reference tables: jobs `a` and `b`, running, of five open contacts each."""

    dsn: str
    connection: psycopg.Connection[Any]

    def uow(self, schema: PostgresSchema | None = None) -> PostgresUnitOfWork:
        """Return a unit of work of its own connections."""
        return PostgresUnitOfWork(lambda: psycopg.connect(self.dsn), schema or PostgresSchema())

    def state(self, job: str) -> tuple[str, list[str], list[int]]:
        """Return a job's status, those of its contacts, and the count in its record."""
        (status,) = self._rows("SELECT status FROM batch_jobs WHERE id = %s", job)
        contacts = self._rows(
            "SELECT status FROM batch_contacts WHERE batch_job_id = %s ORDER BY id", job
        )
        records = self._rows(
            "SELECT contacts_cancelled FROM batch_cancellations WHERE batch_job_id = %s", job
        )
        return status, contacts, records

    def _rows(self, query: str, job: str) -> list[Any]:
        return [row[0] for row in self.connection.execute(query.encode(), [job])]


UNTOUCHED = ("running", ["pending"] * 5, list[int]())
CANCELLED = ("cancelled", ["cancelled"] * 5, [5])


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[Database]:
    """Yield the reference tables."""
    with (
        postgres_server.schema() as dsn,
        closing(psycopg.connect(dsn, autocommit=True)) as connection,
    ):
        create_reference_tables(connection)
        connection.execute(
            "INSERT INTO batch_jobs (id, status) VALUES ('a', 'running'), ('b', 'running');"
            "INSERT INTO batch_contacts (batch_job_id, status) "
            "SELECT id, 'pending' FROM batch_jobs, generate_series(1, 5)"
        )
        yield Database(dsn, connection)


# Formats and loaders -----------------------------------------------------------------------------


class AsText(Loader):
    """A loader of the adopter's that leaves everything a text."""

    def load(self, data: Any) -> str:
        """Load what Postgres sent."""
        return f"theirs: {bytes(data)!r}"


class AsBinary(AsText):
    """The same for the binary format."""

    format = Format.BINARY


@pytest.mark.parametrize("is_joined", [False, True], ids=["own", "joined"])
@pytest.mark.parametrize("kind", ["text", "int8", "bool", "timestamptz", "datestyle"])
def test_a_session_loads_as_it_likes(database: Database, kind: str, *, is_joined: bool) -> None:
    """The moment, the count and the retry are right all the same; `check` finds nothing."""
    dsn = with_options(database.dsn, "datestyle=German", "timezone=Asia/Kathmandu")

    def connect() -> psycopg.Connection[Any]:
        connection = psycopg.connect(dsn if kind == "datestyle" else database.dsn)
        if kind != "datestyle":
            for loader in (AsText, AsBinary):
                connection.adapters.register_loader(kind, loader)
        return connection

    own = PostgresUnitOfWork(connect)
    assert own.check() == []
    with closing(connect()) as connection:
        for is_replayed in (False, True):
            uow: Any = joining(connection) if is_joined else own
            cancellation = cancel_rows("a", uow=uow, operation_id="op")
            connection.commit()
            record = cancellation.record
            assert (record.contacts_cancelled, cancellation.replayed) == (5, is_replayed)
            assert abs(record.cancelled_at - datetime.now(UTC)) < timedelta(minutes=1)
            assert record.cancelled_at.utcoffset() == timedelta(0)
    assert claim_contacts("b", uow=own, limit=5)
    assert expire_calls("b", timedelta(days=1), uow=own) == 0
    assert inspect(uow=own, scheduler=MemoryScheduler()).contacts_open == ()
    assert reconcile(uow=own, scheduler=MemoryScheduler(), lease=timedelta(0)) == []


# Temporary tables --------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["batch_jobs", "batch_contacts", "batch_cancellations"])
def test_a_temporary_table_never_stands_in_for_the_real_one(
    database: Database, table: str
) -> None:
    """A session's staging table of the same name: passed over, or refused in a joined one."""
    with closing(psycopg.connect(database.dsn)) as connection:
        connection.execute(f"CREATE TEMP TABLE {table} AS SELECT * FROM {table}".encode())
        connection.commit()
        with pytest.raises(CancelFailed, match=f"temporary table {table} of this session hides"):
            cancel_rows("a", uow=joining(connection))
        connection.commit()
        assert database.state("a") == UNTOUCHED
        [(namespace,)] = connection.execute("SELECT current_schema()").fetchall()
        qualified = PostgresSchema(
            jobs=(namespace, "batch_jobs"),
            contacts=(namespace, "batch_contacts"),
            cancellations=(namespace, "batch_cancellations"),
        )
        cancel_rows("b", uow=joining(connection, qualified))
        connection.commit()
        assert database.state("b") == CANCELLED
        cancel_rows("a", uow=PostgresUnitOfWork(lambda: _kept(connection)))
    assert database.state("a") == CANCELLED


class _kept:  # noqa: N801  # Reads as a function does.
    """A connection that stays open, as a pool's does."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    def __enter__(self) -> psycopg.Connection[Any]:
        return self.connection

    def __exit__(self, *_: object) -> None:
        return None


def test_the_guards_find_the_real_table(database: Database) -> None:
    """Whatever temporary table the writer's session has."""
    database.connection.execute(guards_ddl(PostgresSchema()).encode())
    cancel_rows("a", uow=database.uow())
    with psycopg.connect(database.dsn) as writer:
        [(namespace,)] = writer.execute("SELECT current_schema()").fetchall()
        writer.execute("CREATE TEMP TABLE batch_jobs (id text, status text)")
        writer.execute("INSERT INTO batch_jobs VALUES ('a', 'running')")
        writer.execute(
            f"INSERT INTO {namespace}.batch_contacts (batch_job_id, status) "
            "VALUES ('a', 'pending')".encode()
        )
    status, contacts, _ = database.state("a")
    assert (status, contacts) == ("cancelled", ["cancelled"] * 6)


# One connection, several calls -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("jobs", "operations"),
    [(["a", "b"], ["1", "2"]), (["a", "none"], ["1", "2"]), (["a", "a"], ["1", "1"])],
)
def test_cancels_joined_to_one_connection_at_once_are_refused(
    database: Database, jobs: list[str], operations: list[str]
) -> None:
    """One goes through, the other changes nothing: never half of either."""

    async def both() -> list[Any]:
        async with await psycopg.AsyncConnection.connect(database.dsn) as connection:
            return await asyncio.gather(
                *(
                    cancel_rows_async(job, uow=joining_async(connection), operation_id=operation)
                    for job, operation in zip(jobs, operations, strict=True)
                ),
                return_exceptions=True,
            )

    first, second = asyncio.run(both())
    assert first.record.contacts_cancelled == 5
    assert isinstance(second, CancelFailed)
    assert second.outcome == "unchanged"
    assert "another call of this library is using this connection" in str(second)
    assert (database.state("a"), database.state("b")) == (CANCELLED, UNTOUCHED)


def test_a_transaction_that_has_failed_is_named(database: Database) -> None:
    """A statement of the caller's failed before, and its error was caught."""
    with psycopg.connect(database.dsn) as connection:
        with suppress(psycopg.errors.UndefinedTable):
            connection.execute("SELECT FROM nowhere")
        with pytest.raises(CancelFailed, match="in this transaction has failed: roll it back"):
            cancel_rows("a", uow=joining(connection))
    assert database.state("a") == UNTOUCHED


def test_threads_on_one_connection_are_refused(database: Database) -> None:
    """The second is told so before it sends anything."""
    with psycopg.connect(database.dsn) as connection:
        uow, told = joining(connection), list[BaseException]()

        def meanwhile() -> None:
            with pytest.raises(CancelFailed) as failure:
                cancel_rows("b", uow=joining(connection))
            told.append(failure.value)

        with uow.begin():
            thread = threading.Thread(target=meanwhile)
            thread.start()
            thread.join()
        assert "one after another" in str(told[0])
        cancel_rows("a", uow=uow)
        with pytest.raises(JobNotFound):
            cancel_rows("none", uow=uow)
        cancel_rows("b", uow=uow)
    assert (database.state("a"), database.state("b")) == (CANCELLED, CANCELLED)


def test_a_savepoint_that_cannot_be_left_is_unknown(database: Database) -> None:
    """Somebody else ended it: what was done in it may be committed, or not."""
    with closing(psycopg.connect(database.dsn)) as connection:
        begun = joining(connection).begin()
        begun.__enter__().work.status(JobKey("a"))
        connection.execute("ROLLBACK")
        connection.execute("BEGIN")
        with pytest.raises(StoreFailed) as failure:
            begun.__exit__(None, None, None)
        assert failure.value.outcome == "unknown"
        assert "savepoint" in str(failure.value)


def test_a_pipeline_is_refused(database: Database) -> None:
    """No answer can be waited for in it."""
    with closing(psycopg.connect(database.dsn)) as connection, connection.pipeline():
        for uow in (joining(connection), PostgresUnitOfWork(lambda: _kept(connection))):
            with pytest.raises(CancelFailed) as failure:
                cancel_rows("a", uow=uow)
            sentence = (
                "the connection is in pipeline mode, in which statements have no immediate "
                "result: leave the pipeline first"
            )
            is_named = sentence in str(failure.value)
            assert is_named
    assert database.state("a") == UNTOUCHED


# Durability, isolation, time, encoding -----------------------------------------------------------


def test_a_joined_cancel_is_on_disk_when_the_caller_has_committed(database: Database) -> None:
    """A session's `synchronous_commit = off` does not hold in that transaction."""
    with psycopg.connect(with_options(database.dsn, "synchronous_commit=off")) as connection:
        cancel_rows("a", uow=joining(connection))
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)
        connection.commit()
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("off",)


@pytest.mark.parametrize("level", ["repeatable read", "serializable", "snapshot"])
@pytest.mark.parametrize("is_joined", [False, True])
def test_another_isolation_is_refused(level: str, *, is_joined: bool) -> None:
    """Servers exist that grant another one than they were asked for."""
    with pytest.raises(StoreFailed, match="READ COMMITTED transaction, and this one is"):
        check_isolation(level, is_joined=is_joined)
    check_isolation("read committed", is_joined=is_joined)
    check_isolation("read uncommitted", is_joined=is_joined)  # It runs as READ COMMITTED.


@pytest.mark.parametrize("name", ["lock_timeout", "statement_timeout"])
def test_a_timeout_that_postgres_does_not_take_is_refused(database: Database, name: str) -> None:
    """Where it is written: for ever is at most 24.8 days."""
    settings: dict[str, Any] = {name: timedelta(days=365_000)}
    with pytest.raises(ValueError, match=f"{name} must be 0 to 2147483647 ms"):
        PostgresUnitOfWork(lambda: psycopg.connect(database.dsn), **settings)


def test_a_database_of_no_encoding_is_refused(postgres_server: PostgresServer) -> None:
    """SQL_ASCII stores bytes: psycopg would give ids as such, and compare none."""
    postgres_server.query(
        "CREATE DATABASE ascii_only ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'"
    )
    dsn = postgres_server.dsn("ascii_only")
    try:
        with psycopg.connect(dsn, autocommit=True, client_encoding="utf-8") as connection:
            create_reference_tables(connection)
            connection.execute("INSERT INTO batch_jobs (id, status) VALUES ('a', 'running')")
            for encoding in ("utf-8", "sql_ascii"):
                uow = PostgresUnitOfWork(
                    lambda encoding=encoding: psycopg.connect(dsn, client_encoding=encoding)  # type: ignore[misc]
                )
                with pytest.raises(BatchCancelError, match="SQL_ASCII"):
                    cancel_job("a", uow=uow, scheduler=MemoryScheduler())
                assert connection.execute("SELECT status FROM batch_jobs").fetchone() == (
                    "running",
                )
    finally:
        postgres_server.query("DROP DATABASE ascii_only WITH (FORCE)")


def test_foreign_tables_are_refused(database: Database, postgres_server: PostgresServer) -> None:
    """Their remote transaction keeps a snapshot from before the wait; so does a view over them."""
    there = conninfo_to_dict(database.dsn)
    [(namespace,)] = database.connection.execute("SELECT current_schema()").fetchall()
    with postgres_server.schema() as dsn, psycopg.connect(dsn, autocommit=True) as here:
        here.execute("CREATE EXTENSION IF NOT EXISTS postgres_fdw SCHEMA pg_catalog")
        server = f"far_{namespace}"
        here.execute(
            f"CREATE SERVER {server} FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host "
            f"'{there['host']}', port '{there['port']}', dbname '{there['dbname']}');"
            f"CREATE USER MAPPING FOR CURRENT_USER SERVER {server} OPTIONS (user "
            f"'{there['user']}');"
            f"IMPORT FOREIGN SCHEMA {namespace} FROM SERVER {server} INTO "
            f"{_schema_of(dsn)}; CREATE VIEW far_contacts AS SELECT * FROM batch_contacts".encode()
        )
        try:
            for schema in (
                PostgresSchema(),
                PostgresSchema(keys_are_unique=True),
                PostgresSchema(contacts="far_contacts", keys_are_unique=True),
            ):
                uow = PostgresUnitOfWork(lambda: psycopg.connect(dsn), schema)
                with pytest.raises(CancelFailed, match="is a foreign table, or reads from one"):
                    cancel_rows("a", uow=uow)
            assert database.state("a") == UNTOUCHED
        finally:
            here.execute(f"DROP SERVER {server} CASCADE".encode())


def _schema_of(dsn: str) -> str:
    options = str(conninfo_to_dict(dsn)["options"])
    return options.removeprefix("-csearch_path=")
