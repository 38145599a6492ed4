"""
Transactions that SQLAlchemy's store opens or joins: whose they are, and what holds in them.

A cancel never ends a transaction of somebody else's, never shares a connection with another
cancel, and is refused where the database would not keep what it promises.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import attrs
import psycopg
import pytest
import sqlalchemy as sa
from psycopg.conninfo import make_conninfo
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from batch_cancel import (
    CancelFailed,
    JobKey,
    JobNotFound,
    cancel_rows,
    cancel_rows_async,
)
from batch_cancel.adapters.sqlalchemy import (
    AsyncSqlAlchemyUnitOfWork,
    SqlAlchemyUnitOfWork,
    joining,
    joining_async,
)
from batch_cancel.domain.errors import Fault, StoreFailed
from tests import data_layers
from tests.data_layers import CONTACTS, DRIVERS, JOBS, METADATA, TABLES, Layer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers import PostgresServer

BLOCKING = pytest.mark.parametrize("layer", ["psycopg", "pysqlite"], indirect=True)
ASYNCIO = pytest.mark.parametrize("layer", ["asyncpg", "aiosqlite"], indirect=True)
POSTGRES = pytest.mark.parametrize("layer", ["psycopg", "asyncpg"], indirect=True)


@pytest.fixture(params=DRIVERS)
def layer(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, tmp_path: Path
) -> Iterator[Layer]:
    """Lend the reference tables with two running jobs of a contact each, by each driver."""
    with data_layers.layer(request.param, postgres_server, tmp_path) as lent:
        seed(lent.engine)
        yield lent


def seed(engine: sa.Engine) -> None:
    """Make the reference tables and two running jobs of a contact each."""
    METADATA.create_all(engine)
    with engine.begin() as connection:
        for number, job_id in enumerate(("j1", "j2")):
            connection.execute(sa.insert(JOBS).values(id=job_id, status="running"))
            contact = {"id": number, "batch_job_id": job_id, "status": "pending"}
            connection.execute(sa.insert(CONTACTS).values(contact))


def statuses(engine: sa.Engine) -> dict[str, tuple[str, str]]:
    """Return the status of each job and of its contact."""
    asked = sa.select(JOBS.c.id, JOBS.c.status, CONTACTS.c.status).join_from(
        JOBS, CONTACTS, JOBS.c.id == CONTACTS.c.batch_job_id
    )
    with engine.connect() as connection:
        return {row[0]: (row[1], row[2]) for row in connection.execute(asked)}


OPEN, DONE = ("running", "pending"), ("cancelled", "cancelled")


# One after the other -----------------------------------------------------------------------------


@ASYNCIO
@pytest.mark.parametrize("second", ["j2", "missing", "j1"])
def test_tasks_that_join_one_connection_are_refused_but_for_one(layer: Layer, second: str) -> None:
    """One cancel is whole, the other did nothing, and the caller's commit keeps the one."""

    async def main() -> list[Any]:
        assert layer.asyncio_engine is not None
        async with layer.asyncio_engine.connect() as connection:
            uow = joining_async(connection, TABLES)
            cancels = (cancel_rows_async(it, uow=uow) for it in ("j1", second))
            answers = await asyncio.gather(*cancels, return_exceptions=True)
            await connection.commit()
            return answers

    first, refusal = asyncio.run(main())
    assert first.record.contacts_cancelled == 1
    assert isinstance(refusal, CancelFailed)
    assert refusal.outcome == "unchanged"
    assert "must follow each other" in str(refusal)
    assert statuses(layer.engine) == {"j1": DONE, "j2": OPEN}
    assert layer.rows("SELECT batch_job_id, contacts_cancelled FROM batch_cancellations") == [
        ("j1", 1)
    ]


@BLOCKING
@pytest.mark.parametrize("kind", ["connection", "session"])
def test_threads_that_join_one_connection_are_refused_but_for_one(layer: Layer, kind: str) -> None:
    """Before anything is sent on it; when the first is done, the next may follow."""
    engine = layer.engine
    if not layer.is_postgres:
        url = engine.url
        engine = sa.create_engine(url, connect_args={"check_same_thread": False})
    refused: list[int] = []
    sent: list[str] = []

    with Session(engine) if kind == "session" else engine.connect() as caller:
        uow = joining(caller, TABLES)

        def cancel() -> None:
            event.listen(engine, "before_cursor_execute", lambda *it: sent.append(it[2]))
            with pytest.raises(CancelFailed, match="must follow each other"):
                cancel_rows("j2", uow=uow)
            refused.append(len(sent))

        with uow.begin() as repositories:
            assert repositories.work.status(JobKey("j1", None)) == "running"
            thread = threading.Thread(target=cancel)
            thread.start()
            thread.join()
        assert refused == [0]
        for job_id in ("j1", "missing", "j2"):
            with suppress(JobNotFound):
                cancel_rows(job_id, uow=uow)
        caller.commit()
    assert statuses(layer.engine) == {"j1": DONE, "j2": DONE}
    engine.dispose()


@BLOCKING
def test_a_cancel_that_could_not_begin_lets_the_next_one(layer: Layer) -> None:
    """What was refused on the way in holds no connection."""
    engine = layer.engine.execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for _ in range(2):
            with pytest.raises(CancelFailed, match="commits by itself"):
                cancel_rows("j1", uow=joining(connection, TABLES))


@BLOCKING
@pytest.mark.parametrize("fails", [False, True], ids=["kept", "undone"])
def test_a_savepoint_that_is_gone_leaves_its_outcome_unknown(layer: Layer, *, fails: bool) -> None:
    """Nobody knows what of it went with the savepoint that somebody else has ended."""
    with layer.engine.connect() as connection:
        uow = joining(connection, TABLES)
        gone = pytest.raises(StoreFailed, match="roll your transaction back")
        with gone as failure, uow.begin():
            connection.exec_driver_sql("RELEASE SAVEPOINT sa_savepoint_1")
            if fails:
                raise JobNotFound(JobKey("j1", None))
        assert failure.value.outcome == "unknown"


@ASYNCIO
def test_a_savepoint_that_is_gone_leaves_its_outcome_unknown_to_tasks(layer: Layer) -> None:
    """The same over the drivers of asyncio."""

    async def main() -> None:
        assert layer.asyncio_engine is not None
        async with layer.asyncio_engine.connect() as connection:
            with pytest.raises(StoreFailed, match="roll your transaction back") as failure:
                async with joining_async(connection, TABLES).begin():
                    await connection.exec_driver_sql("RELEASE SAVEPOINT sa_savepoint_1")
            assert failure.value.outcome == "unknown"

    asyncio.run(main())


@BLOCKING
def test_a_statement_that_fails_within_the_savepoint_changed_nothing(layer: Layer) -> None:
    """It was undone with the savepoint."""
    with layer.engine.connect() as connection:
        uow = joining(connection, TABLES)
        with pytest.raises(StoreFailed, match="the database refused") as failure, uow.begin():
            connection.exec_driver_sql("SELECT * FROM nowhere")
        assert failure.value.outcome == "unchanged"
        cancel_rows("j1", uow=uow)
        connection.commit()
    assert statuses(layer.engine) == {"j1": DONE, "j2": OPEN}


# Whose transaction -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sqlite", "sqlite of a thread", "postgres"])
def test_one_connection_for_all_is_left_alone_while_it_is_in_use(
    name: str, layer_dsn: str
) -> None:
    """Our commit would be that of whoever uses it, and so would a rollback of ours."""
    options: dict[str, Any] = {"connect_args": {"check_same_thread": False}}
    if name == "postgres":
        engine = sa.create_engine(
            "postgresql+psycopg://",
            creator=lambda: psycopg.connect(layer_dsn),
            poolclass=StaticPool,
        )
    else:
        pool = StaticPool if name == "sqlite" else SingletonThreadPool
        engine = sa.create_engine("sqlite://", poolclass=pool, **options)
    seed(engine)
    uow = SqlAlchemyUnitOfWork(engine, TABLES)
    with Session(engine) as session:
        session.execute(sa.insert(JOBS).values(id="draft", status="pending"))
        with pytest.raises(CancelFailed, match="one connection for all") as failure:
            cancel_rows("j1", uow=uow)
        assert failure.value.outcome == "unchanged"
        assert session.execute(sa.select(sa.func.count()).select_from(JOBS)).scalar_one() == 3
        session.rollback()
    assert statuses(engine) == {"j1": OPEN, "j2": OPEN}
    with engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(JOBS)).scalar_one() == 2
    cancel_rows("j1", uow=uow)
    assert statuses(engine) == {"j1": DONE, "j2": OPEN}
    engine.dispose()


@pytest.mark.parametrize("name", ["sqlite", "postgres"])
def test_one_connection_for_all_tasks_is_left_alone_likewise(name: str, layer_dsn: str) -> None:
    """Over aiosqlite and asyncpg."""

    async def main() -> None:
        if name == "postgres":
            engine = data_layers.postgres_engine_async(layer_dsn, poolclass=StaticPool)
        else:
            engine = create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool)
        async with engine.begin() as connection:
            await connection.run_sync(METADATA.create_all)
            await connection.execute(sa.insert(JOBS).values(id="j1", status="running"))
        uow = AsyncSqlAlchemyUnitOfWork(engine, TABLES)
        async with AsyncSession(engine) as session:
            await session.execute(sa.insert(JOBS).values(id="draft", status="pending"))
            with pytest.raises(CancelFailed, match="one connection for all"):
                await cancel_rows_async("j1", uow=uow)
            await session.rollback()
        done = await cancel_rows_async("j1", uow=uow)
        assert done.record.contacts_cancelled == 0
        async with engine.connect() as connection:
            found = await connection.execute(sa.select(JOBS.c.id, JOBS.c.status))
            assert found.all() == [("j1", "cancelled")]
        await engine.dispose()

    asyncio.run(main())


@pytest.fixture
def layer_dsn(postgres_server: PostgresServer) -> Iterator[str]:
    """Lend an empty schema of Postgres."""
    with postgres_server.schema() as dsn:
        yield dsn


def test_a_session_that_routes_sends_a_cancel_to_the_writer(tmp_path: Path) -> None:
    """As SQLAlchemy's manual has it: all but a flush, an UPDATE and a DELETE go elsewhere."""
    leader, follower = (data_layers.sqlite_engine(tmp_path / it) for it in ("leader", "follower"))
    for engine in (leader, follower):
        seed(engine)

    class RoutingSession(Session):
        def get_bind(self, mapper: Any = None, *, clause: Any = None, **_: Any) -> Any:
            is_writing = self._flushing or isinstance(clause, sa.Update | sa.Delete)
            return leader if is_writing else follower

    with RoutingSession() as session:
        cancel_rows("j1", uow=joining(session, TABLES))
        session.commit()
    assert statuses(leader) == {"j1": DONE, "j2": OPEN}
    assert statuses(follower) == {"j1": OPEN, "j2": OPEN}


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
        others = {
            name: "application_name" if value == yugabytes else value
            for name, value in dict(parameters or {}).items()
        }
        return statement, others

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
    with pytest.raises(CancelFailed, match="runs the transaction as 'repeatable read'"):
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
        ({"dbname": "none_such"}, "no database of this name"),
        ({"user": "nobody_such"}, "refused the role"),
    ],
)
def test_why_the_server_refused_is_told(
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
        ("FATAL:  the database system is starting up", "starts up", Fault.BUSY),
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
