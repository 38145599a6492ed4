"""Jobs on a real Postgres, to be cancelled while something goes wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults import cut_connections
from tests.faults.cut_connections import Line
from tests.faults.fault_table import SCHEDULED
from tests.faults.setups import Stage
from tests.faults.theatre import HALVES, Theatre, opened
from tests.servers import PostgresServer


@pytest.fixture(params=HALVES)
def half(request: pytest.FixtureRequest) -> str:
    """Name the half of the library that is played."""
    return str(request.param)


@pytest.fixture
def theatre(postgres_server: PostgresServer, half: str) -> Iterator[Theatre]:
    """Yield a job on the Postgres that all tests share."""
    with opened(postgres_server, half) as theatre:
        yield theatre


@pytest.fixture
def burning(postgres_to_break: PostgresServer, half: str) -> Iterator[Theatre]:
    """Yield a job on a durable Postgres that may be hurt."""
    with opened(postgres_to_break, half) as theatre:
        yield theatre


@pytest.fixture(params=["postgres", "postgres-async"])
def line(request: pytest.FixtureRequest) -> Iterator[Line]:
    """Yield a stage on Postgres, a new connection for each transaction, through a proxy."""
    with cut_connections.open_line(request.param, request) as line:
        line.stage.set_up(SCHEDULED)
        yield line


@pytest.fixture
def stage(line: Line) -> Stage:
    """Yield the stage alone."""
    return line.stage


@pytest.fixture(params=["redis", "redis-async"])
def redis_line(request: pytest.FixtureRequest) -> Iterator[Line]:
    """Yield a stage on Redis, through a proxy."""
    with cut_connections.open_line(request.param, request) as line:
        line.stage.set_up(SCHEDULED)
        yield line
