"""
A cancel by SQLAlchemy's store beside others, and beside whoever uses its connection.

It never ends a transaction of somebody else's, and never shares a connection with another cancel.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, registry
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
from batch_cancel.domain.errors import StoreFailed
from tests import data_layers
from tests.data_layers import JOBS, METADATA, TABLES, Layer
from tests.integration.sqlalchemy_layers import (
    ASYNCIO,
    BLOCKING,
    DONE,
    OPEN,
    layer,
    seed,
    statuses,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers import PostgresServer


__all__ = ["layer"]


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
    assert "one after another" in str(refusal)
    assert statuses(layer.engine) == {"j1": DONE, "j2": OPEN}
    assert layer.rows("SELECT batch_job_id, contacts_cancelled FROM batch_cancellations") == [
        ("j1", 1)
    ]


@ASYNCIO
@pytest.mark.parametrize("is_begun", [True, False])
def test_tasks_that_share_one_session_are_refused_but_for_one(
    layer: Layer, *, is_begun: bool
) -> None:
    """A session serves one task at a time; the refusal says what to do."""

    async def main() -> list[Any]:
        assert layer.asyncio_engine is not None
        async with AsyncSession(layer.asyncio_engine) as session:
            if is_begun:
                await session.scalar(sa.select(1))
            uow = joining_async(session, TABLES)
            cancels = (cancel_rows_async(it, uow=uow) for it in ("j1", "j2"))
            answers = await asyncio.gather(*cancels, return_exceptions=True)
            await session.commit()
            return answers

    done, refused = asyncio.run(main())
    assert done.record.contacts_cancelled == 1
    assert isinstance(refused, CancelFailed)
    assert refused.outcome == "unchanged"
    assert "one after another" in str(refused)
    assert statuses(layer.engine) == {"j1": DONE, "j2": OPEN}


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
            with pytest.raises(CancelFailed, match="one after another"):
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
            with pytest.raises(CancelFailed, match="commits after each statement"):
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


@pytest.mark.parametrize("layer", ["psycopg"], indirect=True)
def test_a_transaction_that_has_failed_is_named(layer: Layer) -> None:
    """A statement of the caller's failed before, and its error was caught."""
    with layer.engine.connect() as connection:
        with suppress(exc.ProgrammingError):
            connection.execute(sa.text("SELECT 1 FROM nowhere"))
        with pytest.raises(CancelFailed, match="in this transaction has failed: roll it back"):
            cancel_rows("j1", uow=joining(connection, TABLES))
    assert statuses(layer.engine)["j1"] == ("running", "pending")


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
        with pytest.raises(CancelFailed, match="a single connection") as failure:
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
            with pytest.raises(CancelFailed, match="a single connection"):
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
    """Yield an empty schema of Postgres."""
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


def test_a_session_that_routes_by_class_is_told_the_class(tmp_path: Path) -> None:
    """As SQLAlchemy's manual has it: some classes are kept in another database."""
    theirs, others = (data_layers.sqlite_engine(tmp_path / it) for it in ("theirs", "others"))
    for engine in (theirs, others):
        seed(engine)

    class Campaign:
        pass

    registry().map_imperatively(Campaign, JOBS)

    class RoutingSession(Session):
        def get_bind(self, mapper: Any = None, **_: Any) -> Any:
            return theirs if mapper is not None and mapper.class_ is Campaign else others

    with RoutingSession() as session:
        cancel_rows("j1", uow=joining(session, attrs.evolve(TABLES, jobs=Campaign)))
        session.commit()
    assert statuses(theirs) == {"j1": DONE, "j2": OPEN}
    assert statuses(others) == {"j1": OPEN, "j2": OPEN}
