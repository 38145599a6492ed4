"""
Generate schemas and mappings, call every step on each, and fail if one did harm in silence.

    python -m tests.schemas --postgres 500 --sqlalchemy 200 --sqlite 100
    python -m tests.schemas --postgres 43 --seed 7 --only 42     # one schema again, told in full
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice

from tests.schemas import campaign, dimensions, sqlalchemy_cases, sqlite_cases
from tests.schemas.dimensions import Case
from tests.schemas.outcomes import Outcome
from tests.schemas.postgres import Databases
from tests.schemas.report import Family, text
from tests.servers import PostgresServer

SEED = 13
FULL = {"postgres": 500, "sqlalchemy": 200, "sqlite": 100}

Try = Callable[[Case, Databases, asyncio.Runner], Outcome]


def main() -> int:
    """Run everything, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.schemas", description=__doc__)
    parser.add_argument("--postgres", type=int, default=None, help="schemas for psycopg")
    parser.add_argument("--sqlalchemy", type=int, default=None, help="schemas for SQLAlchemy")
    parser.add_argument("--sqlite", type=int, default=None, help="SQLite files")
    parser.add_argument("--seed", type=int, default=SEED, help="of the random choices")
    parser.add_argument("--only", type=int, default=None, help="run the schema of this number")
    given = parser.parse_args()
    numbers = {"postgres": given.postgres, "sqlalchemy": given.sqlalchemy, "sqlite": given.sqlite}
    if not any(numbers.values()):
        numbers = dict(FULL)
    logging.getLogger().addHandler(logging.NullHandler())  # What it warns of is done to it here.
    begun = time.monotonic()
    families = run({name: n or 0 for name, n in numbers.items()}, given.seed, given.only)
    minutes, seconds = divmod(round(time.monotonic() - begun), 60)
    sys.stdout.write(f"In {minutes} min {seconds} s.\n\n{text(families)}\n")
    wrong = any(it.harmed or it.refused_without_need or it.unseen() for it in families)
    return 1 if wrong else 0


def run(numbers: dict[str, int], seed: int, only: int | None = None) -> list[Family]:
    """
    Run so many schemas of each family.

    Arguments:
        numbers: how many, by family.
        seed: of the random choices.
        only: the number of the only schema to be run; None for all.
    """
    others = dimensions.others(dimensions.PLAIN)
    families: list[Family] = []
    with (
        PostgresServer.find() as server,
        Databases(server) as databases,
        asyncio.Runner() as runner,
    ):
        each: list[tuple[str, Family, Iterator[Case], Try]] = [
            (
                "postgres",
                Family("Postgres", dimensions.PLAIN, others, FULL["postgres"]),
                dimensions.cases(seed),
                campaign.run_postgres,
            ),
            (
                "sqlalchemy",
                Family("SQLAlchemy", sqlalchemy_cases.PLAIN_VALUES, others, FULL["sqlalchemy"]),
                sqlalchemy_cases.drawn(seed),
                sqlalchemy_cases.run,
            ),
            (
                "sqlite",
                Family("SQLite", sqlite_cases.VALUES, sqlite_cases.OTHERS, FULL["sqlite"]),
                sqlite_cases.drawn(seed),
                sqlite_cases.run,
            ),
        ]
        for name, family, drawn, try_it in each:
            for case in islice(drawn, numbers[name]):
                if only is None or case.index == only:
                    family.outcomes.append(try_it(case, databases, runner))
            if family.outcomes:
                families.append(family)
    return families


if __name__ == "__main__":
    sys.exit(main())
