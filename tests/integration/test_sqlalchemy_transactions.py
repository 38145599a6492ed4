"""
What holds in the transactions that SQLAlchemy's store opens or joins, and why one can't be had.

A cancel is refused where the database would not keep what it promises.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import attrs
import psycopg
import pytest
import sqlalchemy as sa
from psycopg.conninfo import make_conninfo
from sqlalchemy import event
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import StaticPool

from batch_cancel import (
    CancelFailed,
    JobNotFound,
    cancel_rows,
    cancel_rows_async,
)
from batch_cancel.adapters.sqlalchemy import (
    AsyncSqlAlchemyUnitOfWork,
    SqlAlchemyUnitOfWork,
    joining,
)
from batch_cancel.domain.errors import Fault, StoreFailed
from tests import data_layers
from tests.data_layers import TABLES, Layer
from tests.integration.own_tables import with_options
from tests.integration.sqlalchemy_layers import (
    BLOCKING,
    DONE,
    OPEN,
    POSTGRES,
    layer,
    seed,
    statuses,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers import PostgresServer

__all__ = ["layer"]


@pytest.fixture
def layer_dsn(postgres_server: PostgresServer) -> Iterator[str]:
    """Yield an empty schema of Postgres."""
    with postgres_server.schema() as dsn:
        yield dsn


# What holds in it --------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["psycopg"], indirect=True)
def test_a_joined_transaction_is_durable(layer: Layer) -> None:
    """For itself, though the session has it off."""
    with layer.engine.connect() as connection:
        connection.exec_driver_sql("SET synchronous_commit = off")
        connection.commit()
        with pytest.raises(JobNotFound):
            cancel_rows("missing", uow=joining(connection, TABLES))
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
        connection.commit()
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "off"


def test_a_joined_transaction_is_durable_whatever_the_default(layer_dsn: str) -> None:
    """The connection's own default is off."""
    engine = data_layers.postgres_engine(with_options(layer_dsn, "synchronous_commit=off"))
    seed(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
        cancel_rows("j1", uow=joining(connection, TABLES))
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
        connection.rollback()
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "off"
    engine.dispose()


def test_a_table_that_is_missing_is_named(layer: Layer) -> None:
    """With those that a cancel needs, as the connection finds them."""
    with layer.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE batch_contacts")
    with pytest.raises(CancelFailed) as failure:
        layer.call("cancel_rows", "j1", tables=TABLES)
    assert str(failure.value.__cause__) in {
        (
            f"a table is missing among {of}batch_jobs, {of}batch_contacts, "
            f"{of}batch_cancellations: create it, or check the search path of the "
            "connection"
        )
        for of in ("", "main.")
    }


@POSTGRES
def test_a_temporary_table_hides_none_of_the_adopters(layer: Layer) -> None:
    """In a transaction of our own it comes last; in the caller's, that is refused."""
    engine = layer.engine if layer.asyncio_engine is None else layer.asyncio_engine.sync_engine

    def stage(connection: sa.Connection) -> None:
        connection.exec_driver_sql(
            "CREATE TEMPORARY TABLE IF NOT EXISTS batch_contacts (LIKE batch_contacts)"
        )

    event.listen(engine, "begin", stage)
    with pytest.raises(CancelFailed, match="a temporary table batch_contacts of this session"):
        layer.call("cancel_rows", "j1", tables=attrs.evolve(TABLES), joined=True)
    layer.call("cancel_rows", "j1", tables=attrs.evolve(TABLES))
    event.remove(engine, "begin", stage)
    layer.engine.dispose()  # The temporary table is its connection's.
    assert statuses(layer.engine) == {"j1": DONE, "j2": OPEN}


@BLOCKING
def test_an_empty_search_path_is_kept(layer: Layer) -> None:
    """Tables may be named with their schema, and then it needs none."""
    if layer.is_postgres:
        [(schema,)] = layer.rows("SELECT current_schema")
        translated = layer.engine.execution_options(schema_translate_map={None: schema})
        event.listen(translated, "begin", lambda it: it.exec_driver_sql("SET search_path = ''"))
    else:
        translated = layer.engine.execution_options(schema_translate_map={None: "main"})
    cancel_rows("j1", uow=SqlAlchemyUnitOfWork(translated, TABLES))
    layer.engine.dispose()  # The search path is its connection's.
    assert statuses(layer.engine)["j1"] == DONE


@pytest.mark.parametrize("layer", ["pysqlite"], indirect=True)
@pytest.mark.parametrize("joined", [False, True], ids=["own", "joined"])
def test_a_temporary_table_of_sqlite_is_refused(layer: Layer, *, joined: bool) -> None:
    """SQLite always takes it for the one that is meant."""
    engine = sa.create_engine(layer.engine.url, poolclass=StaticPool)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TEMPORARY TABLE batch_contacts AS SELECT * FROM batch_contacts WHERE 0"
        )
    message = "a temporary table batch_contacts of this session hides yours"
    with ExitStack() as stack:
        uow: Any = SqlAlchemyUnitOfWork(engine, TABLES)
        if joined:
            uow = joining(stack.enter_context(engine.connect()), TABLES)
        with pytest.raises(CancelFailed, match=message):
            cancel_rows("j1", uow=uow)
    engine.dispose()
    assert statuses(layer.engine) == {"j1": OPEN, "j2": OPEN}


@pytest.mark.parametrize("layer", ["psycopg"], indirect=True)
@pytest.mark.parametrize("joined", [False, True], ids=["own", "joined"])
def test_a_level_that_is_read_committed_by_name_alone_is_refused(
    layer: Layer, *, joined: bool
) -> None:
    """YugabyteDB says so in a setting of its own, for which another one stands here."""
    yugabytes = "yb_effective_transaction_isolation_level"

    def stand_in(*given: Any) -> tuple[str, Any]:
        _, _, statement, parameters, *_ = given
        return statement.replace(yugabytes, "application_name"), parameters

    event.listen(layer.engine, "before_cursor_execute", stand_in, retval=True)
    event.listen(
        layer.engine,
        "begin",
        lambda it: it.exec_driver_sql("SET LOCAL application_name = 'repeatable read'"),
    )
    with pytest.raises(CancelFailed, match="'repeatable read'"):
        layer.call("cancel_rows", "j1", tables=TABLES, joined=joined)


@pytest.mark.parametrize("layer", ["psycopg"], indirect=True)
def test_a_server_that_does_not_take_the_level_is_refused(layer: Layer) -> None:
    """It is read back, for a server may know better than what was asked for."""

    def ignore(*given: Any) -> tuple[str, Any]:
        _, _, statement, parameters, *_ = given
        return statement.replace("READ COMMITTED", "REPEATABLE READ"), parameters

    event.listen(layer.engine, "before_cursor_execute", ignore, retval=True)
    with pytest.raises(CancelFailed, match=r"grants no READ COMMITTED .* 'repeatable read'"):
        layer.call("cancel_rows", "j1", tables=TABLES)


@POSTGRES
def test_a_foreign_table_is_refused(layer: Layer) -> None:
    """Its remote transaction keeps a snapshot from before the wait for the job."""
    layer.execute(
        "CREATE EXTENSION IF NOT EXISTS postgres_fdw",
        "CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw",
        "ALTER TABLE batch_contacts RENAME TO local_contacts",
        "CREATE FOREIGN TABLE batch_contacts (id bigint, batch_job_id text, status text) "
        "SERVER elsewhere",
    )
    try:
        with pytest.raises(CancelFailed, match="batch_contacts is a foreign table"):
            layer.call("cancel_rows", "j1", tables=attrs.evolve(TABLES))
        with pytest.raises(StoreFailed, match="batch_contacts is a foreign table"):
            layer.call("start_job", "j1", tables=attrs.evolve(TABLES))
    finally:
        layer.execute("DROP EXTENSION postgres_fdw CASCADE")


# Not connected -----------------------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True], ids=["psycopg", "asyncpg"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dbname": "none_such"}, "no such database"),
        ({"user": "nobody_such"}, "refused this user"),
    ],
)
def test_why_the_server_refused_is_reported(
    layer_dsn: str, changes: dict[str, str], message: str, *, is_async: bool
) -> None:
    """What to correct, without the name of the host, the user or the database."""
    dsn = make_conninfo(layer_dsn, **changes)
    uow = data_layers.postgres_uow(dsn, is_async=is_async)
    with pytest.raises(CancelFailed, match=message) as failure:
        asyncio.run(cancel_rows_async("j1", uow=uow)) if is_async else cancel_rows("j1", uow=uow)
    assert (failure.value.outcome, failure.value.fault) == ("unchanged", Fault.REFUSED)
    assert not any(it in str(failure.value) for it in (*changes.values(), "127.0.0.1"))


@pytest.mark.parametrize(
    ("said", "message", "fault"),
    [
        ('FATAL:  password authentication failed for user "ann"', "password", Fault.REFUSED),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.1"', "pg_hba.conf", Fault.REFUSED),
        ("FATAL:  sorry, too many clients already", "no connection left", Fault.BUSY),
        ("FATAL:  the database system is starting up", "starting up", Fault.BUSY),
        ("could not translate host name", "can't be reached", Fault.BUSY),
        ("FATAL:  Passwort-Authentifizierung fehlgeschlagen", "can't be reached", Fault.BUSY),
    ],
)
def test_what_libpq_says_is_read(said: str, message: str, fault: Fault) -> None:
    """It keeps no SQLSTATE; in another language than English, the general sentence is told."""

    def connect() -> Any:
        message = f'connection to server at "10.0.0.1" failed: {said}\nmore'
        raise psycopg.OperationalError(message)

    engine = sa.create_engine("postgresql+psycopg://", creator=connect)
    with pytest.raises(CancelFailed, match=message) as failure:
        cancel_rows("j1", uow=SqlAlchemyUnitOfWork(engine, TABLES))
    assert failure.value.fault is fault
    assert "ann" not in str(failure.value)
    assert "10.0.0.1" not in str(failure.value)


def test_what_asyncpg_says_is_read() -> None:
    """By its SQLSTATE, whatever class the driver or SQLAlchemy makes of it."""
    import asyncpg

    async def connect() -> Any:
        message = 'password authentication failed for user "ann"'
        raise asyncpg.InvalidPasswordError(message)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect)
    uow = AsyncSqlAlchemyUnitOfWork(engine, TABLES)
    with pytest.raises(CancelFailed, match="refused the password") as failure:
        asyncio.run(cancel_rows_async("j1", uow=uow))
    assert failure.value.fault is Fault.REFUSED
    assert "ann" not in str(failure.value)
