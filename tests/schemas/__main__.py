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
    is_full = not any(numbers.values())
    if is_full:
        numbers = {"postgres": 500, "sqlalchemy": 200, "sqlite": 100}
    logging.getLogger().addHandler(logging.NullHandler())  # What it warns of is done to it here.
    begun = time.monotonic()
    families = run({name: n or 0 for name, n in numbers.items()}, given.seed, given.only)
    minutes, seconds = divmod(round(time.monotonic() - begun), 60)
    is_full = is_full and given.only is None
    sys.stdout.write(f"{text(families, is_full=is_full)}\nin {minutes} min {seconds} s\n")
    wrong = any(it.harmed or it.refused_without_need for it in families)
    return 1 if wrong or (is_full and any(it.unseen() for it in families)) else 0


def run(numbers: dict[str, int], seed: int, only: int | None = None) -> list[Family]:
    """
    Run so many schemas of each family.

    Arguments:
        numbers: how many, by family.
        seed: of the random choices.
        only: the number of the only schema to be run; None for all.
    """
    families: list[Family] = []
    with PostgresServer.find() as server, Databases(server) as databases:
        with asyncio.Runner() as runner:

            def add(
                name: str, drawn: Iterator[Case], try_it: Callable[[Case], Outcome], **values: dict
            ) -> None:
                some = islice(drawn, numbers[name])
                chosen = [it for it in some if only is None or it.index == only]
                if chosen:
                    outcomes = [_told(name, try_it, case) for case in chosen]
                    families.append(Family(values.pop("title"), **values, outcomes=outcomes))

            add(
                "postgres",
                dimensions.cases(seed),
                lambda case: campaign.run_postgres(case, databases, runner),
                title="Postgres",
                plain=dimensions.PLAIN,
                others=dimensions.others(dimensions.PLAIN),
            )
            add(
                "sqlalchemy",
                sqlalchemy_cases.drawn(seed),
                lambda case: sqlalchemy_cases.run(case, databases, runner),
                title="SQLAlchemy",
                plain=sqlalchemy_cases.PLAIN_VALUES,
                others=dimensions.others(dimensions.PLAIN),
            )
            add(
                "sqlite",
                sqlite_cases.drawn(seed),
                lambda case: sqlite_cases.run(case, runner),
                title="SQLite",
                plain=sqlite_cases.VALUES,
                others=sqlite_cases.OTHERS,
            )
    return families


def _told(name: str, try_it: Callable[[Case], Outcome], case: Case) -> Outcome:
    if case.index % 50 == 0 and sys.stderr.isatty():
        sys.stderr.write(f"{name}: schema {case.index}\n")
    return try_it(case)


if __name__ == "__main__":
    sys.exit(main())
