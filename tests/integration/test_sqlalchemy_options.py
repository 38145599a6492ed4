"""Execution options of an adopter's engine or connection, and repositories of one's own."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Connection

from batch_cancel import CancelFailed, cancel_rows, cancel_rows_async
from batch_cancel.adapters.sqlalchemy import (
    AsyncSqlAlchemyUnitOfWork,
    SqlAlchemyUnitOfWork,
    joining,
    joining_async,
)
from tests import data_layers
from tests.data_layers import DRIVERS, Layer
from tests.integration.test_sqlalchemy_keys import STEPS, UNIQUE, create, dump, take

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterator, Mapping
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.servers import PostgresServer

STREAMING: tuple[Mapping[str, Any], ...] = ({"stream_results": True}, {"yield_per": 1})


@pytest.fixture(params=DRIVERS)
def layer(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, tmp_path: Path
) -> Iterator[Layer]:
    """Yield a database with two jobs by each driver in turn."""
    with data_layers.layer(request.param, postgres_server, tmp_path) as lent:
        create(lent, *UNIQUE["by organization"][1:])
        yield lent


@pytest.mark.parametrize("options", STREAMING, ids=list)
@pytest.mark.parametrize("joined", [False, True], ids=["own", "joined"])
@pytest.mark.parametrize("step", STEPS)
def test_an_engine_that_streams_its_results_will_do(
    layer: Layer, step: str, options: Mapping[str, Any], *, joined: bool
) -> None:
    """A result that is streamed has no number of rows, and a cursor takes no UPDATE."""
    if step == "inspect" and joined:
        pytest.skip("declared: inspect opens a transaction of its own")
    kind, *_ = UNIQUE["by organization"]
    if layer.asyncio_engine is not None:
        layer.asyncio_engine = layer.asyncio_engine.execution_options(**options)
    else:
        layer.engine = layer.engine.execution_options(**options)
    before = dump(layer)
    answer = take(layer, step, kind, joined=joined)
    assert (dump(layer) == before) == (step in {"finish_job", "inspect"})
    if step == "cancel_rows":
        assert answer.record.contacts_cancelled == 2


@pytest.mark.parametrize("options", STREAMING, ids=list)
def test_a_connection_that_streams_does_so_after_a_cancel(
    layer: Layer, options: Mapping[str, Any]
) -> None:
    """Its options are the caller's."""
    kind, *_ = UNIQUE["by organization"]
    if layer.asyncio_engine is None:
        with layer.engine.begin() as connection:
            connection.execution_options(**options)
            cancel_rows("job", uow=joining(connection, kind), organization_id="a")
            found = dict(connection.get_execution_options())
    else:

        async def joined(engine: AsyncEngine) -> dict[str, Any]:
            async with engine.begin() as begun:
                connection = await begun.execution_options(**options)
                uow = joining_async(connection, kind)
                await cancel_rows_async("job", uow=uow, organization_id="a")
                return dict(await connection.run_sync(Connection.get_execution_options))

        found = asyncio.run(joined(layer.asyncio_engine))
    assert {name: found[name] for name in options} == options


@pytest.mark.parametrize("layer", ["psycopg"], indirect=True)
def test_a_connection_that_streams_does_so_after_a_refusal(layer: Layer) -> None:
    """Nothing of the caller's is changed."""
    kind, *_ = UNIQUE["by organization"]
    with layer.engine.connect() as connection:
        connection.execution_options(stream_results=True, isolation_level="SERIALIZABLE")
        with pytest.raises(CancelFailed, match="READ COMMITTED"):
            cancel_rows("job", uow=joining(connection, kind), organization_id="a")
        assert connection.get_execution_options()["stream_results"]


class Blocking(SqlAlchemyUnitOfWork):
    """A store whose transactions have repositories of its own."""

    @contextmanager
    def begin(self) -> Generator[Any]:
        """Yield those of a cancel alone."""
        with super().begin() as its:
            yield SimpleNamespace(
                jobs=its.jobs, contacts=its.contacts, outbox=None, inspection=None, work=None
            )


class Asyncio(AsyncSqlAlchemyUnitOfWork):
    """As `Blocking`, awaited."""

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[Any]:
        """As `Blocking.begin`, awaited."""
        async with super().begin() as its:
            yield SimpleNamespace(
                jobs=its.jobs, contacts=its.contacts, outbox=None, inspection=None, work=None
            )


def test_a_store_with_repositories_of_its_own_is_checkable(layer: Layer) -> None:
    """Whatever they are, its jobs are the adapter's."""
    kind, *_ = UNIQUE["by organization"]
    if layer.asyncio_engine is None:
        found = Blocking(layer.engine, kind).check()
    else:
        found = asyncio.run(Asyncio(layer.asyncio_engine, kind).check())
    assert not [it for it in found if "index" not in it]
