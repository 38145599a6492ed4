"""Jobs on a real Postgres, to be cancelled while something goes wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.theatre import HALVES, Theatre, opened
from tests.servers import PostgresServer


@pytest.fixture(params=HALVES)
def half(request: pytest.FixtureRequest) -> str:
    """Name the half of the library that is played."""
    return str(request.param)


@pytest.fixture
def theatre(postgres_server: PostgresServer, half: str) -> Iterator[Theatre]:
    """Lend a job on the Postgres that all tests share."""
    with opened(postgres_server, half) as theatre:
        yield theatre


@pytest.fixture
def burning(postgres_to_break: PostgresServer, half: str) -> Iterator[Theatre]:
    """Lend a job on a durable Postgres that may be hurt."""
    with opened(postgres_to_break, half) as theatre:
        yield theatre
