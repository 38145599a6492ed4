"""A part of the campaign: generated schemas on which every step is right, or refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import islice

import pytest

from tests.schemas import campaign, dimensions, sqlalchemy_cases, sqlite_cases
from tests.schemas.dimensions import Case
from tests.schemas.outcomes import Outcome
from tests.schemas.postgres import Databases
from tests.schemas.report import Family, text
from tests.servers import PostgresServer

SEED = 1

Try = Callable[[Case, Databases, asyncio.Runner], Outcome]


@pytest.fixture
def databases(postgres_server: PostgresServer) -> Iterator[Databases]:
    """Yield databases of all encodings."""
    with Databases(postgres_server) as made:
        yield made


@pytest.mark.repeats
@pytest.mark.parametrize(
    ("name", "drawn", "number", "try_it"),
    [
        ("Postgres", dimensions.cases(SEED), 40, campaign.run_postgres),
        ("SQLAlchemy", sqlalchemy_cases.drawn(SEED), 20, sqlalchemy_cases.run),
        ("SQLite", sqlite_cases.drawn(SEED), 15, sqlite_cases.run),
    ],
)
def test_every_step_is_right_or_refused(
    databases: Databases, name: str, drawn: Iterator[Case], number: int, try_it: Try
) -> None:
    """No schema comes to harm in silence, and none is refused that is plain and well-formed."""
    with asyncio.Runner() as runner:
        outcomes = [try_it(case, databases, runner) for case in islice(drawn, number)]
    family = Family(name, {}, {}, number, outcomes)
    assert not family.harmed, text([family])
    assert not family.refused_without_need, text([family])
    assert {it.kind for it in outcomes} == {"right", "refused"}
