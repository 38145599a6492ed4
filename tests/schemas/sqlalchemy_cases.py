"""Cases for SQLAlchemy: those of Postgres with its mappings and drivers, and some on SQLite."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import attrs

from tests.schemas import sqlite_ddl
from tests.schemas.campaign import new_contact, stranger
from tests.schemas.dimensions import PLAIN, Case, cases
from tests.schemas.names import quoted
from tests.schemas.outcomes import Outcome, run_programme
from tests.schemas.plans import Plan, Table, plan
from tests.schemas.postgres import Databases, Dumper, furnished
from tests.schemas.programme import Programme, knowledge
from tests.schemas.sqlalchemy_store import IS_ASYNC, SqlAlchemyStore, our_ddl
from tests.schemas.sqlite_files import IN_MEMORY, SqliteDumper
from tests.schemas.steps import Performer, Starts

_MODELS: Final = ("table", "class", "class with version", "single-table inheritance")

ON_POSTGRES: Final[Mapping[str, tuple[str, ...]]] = {
    "driver": ("psycopg", "asyncpg"),
    "model": _MODELS,
}
ON_SQLITE: Final[Mapping[str, tuple[str, ...]]] = {
    "driver": ("pysqlite", "aiosqlite"),
    "model": _MODELS,
    "id type": ("text", "varchar", "int", "bigint"),
    "organization": ("absent", "text", "int", "nullable", "unmapped"),
    "status type": ("text", "smallint"),
    "partitions": ("none",),
    "relation": ("table",),
    "encoding": ("UTF8",),
    "path": ("search_path",),
    "unique by": (
        *PLAIN["unique by"],
        "jobs: none",
        "jobs: partial",
        "contacts: none",
        "contacts: partial",
    ),
    "trigger": (
        *PLAIN["trigger"],
        *(
            f"{table} {action}"
            for table in ("jobs", "contacts", "cancellations")
            for action in (
                "swallow before",
                "restore after",
                "normalise after",
                "add after",
                "reject before",
                "reject after",
            )
        ),
    ),
    "rule": ("none",),
}
PLAIN_VALUES: Final = {
    **PLAIN,
    "driver": (*ON_POSTGRES["driver"], *ON_SQLITE["driver"]),
    "model": _MODELS,
}
"""All plain values of this family, by dimension."""


def drawn(seed: int) -> Iterator[Case]:
    """Draw cases without end: three on Postgres, one on SQLite, and so on."""
    plain = {
        name: tuple(it for it in values if it in PLAIN_VALUES[name])
        for name, values in ON_SQLITE.items()
    }
    # Fewer schemas than for psycopg, and as many twists to be seen.
    postgres = cases(seed, ON_POSTGRES, twisted=frozenset({0, 2, 4}))
    sqlite = cases(seed, plain, twists=ON_SQLITE)
    for index in itertools.count():
        case = next(sqlite if index % 4 == 3 else postgres)
        yield attrs.evolve(case, index=index)


def run(case: Case, databases: Databases, runner: asyncio.Runner) -> Outcome:
    """Try one case."""
    outcome = Outcome(case, "sqlalchemy")
    made = plan(case, f"case{case.index}")
    outcome.story.append(f"mapping: {made.mapping}")
    if case["driver"] in ON_SQLITE["driver"]:
        with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
            _run_on_sqlite(outcome, made, str(Path(folder) / "jobs.db"), runner)
        return outcome
    dsn, admin = databases.of(case["encoding"])
    with furnished(made, admin) as said:
        outcome.story[:0] = said
        dumper = Dumper(made, admin)
        _run(outcome, made, dsn, runner, dumper=dumper, own=dumper.own)
    return outcome


def _run(
    outcome: Outcome, made: Plan, place: str, runner: asyncio.Runner, *, dumper: Any, own: Any
) -> None:
    case = made.case
    try:
        store = SqlAlchemyStore(made, place)
    except (TypeError, ValueError) as error:
        outcome.refusals.append(("mapping", f"{type(error).__name__}: {error}"))
        return
    starts = Starts({job.deferred for job in made.world.jobs})
    if case["deferred id"] != "mapped":
        starts.waiting |= {job.id for job in made.world.jobs}
    programme = Programme(
        case,
        made.world,
        target=made.target,
        asked=made.asked_organization,
        stranger=stranger(case),
        new_contact=lambda number: _typed(new_contact(made, number)),
        kinds=IS_ASYNC[case["driver"]],
    )
    known = knowledge(
        case,
        made.world,
        unmapped=case["organization"] == "unmapped",
        organization_of_contacts=case["contact organization"] == "mapped",
    )
    try:
        run_programme(
            outcome,
            programme,
            Performer(store, starts, runner),
            dump=dumper.dump,
            known=known,
            own=own,
        )
    finally:
        runner.run(store.close())


def _typed(contact: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as SQLAlchemy's types take them."""
    return {
        name: UUID(value) if isinstance(value, str) and value.count("-") == 4 else value
        for name, value in contact.items()
    }


def _run_on_sqlite(outcome: Outcome, made: Plan, path: str, runner: asyncio.Runner) -> None:
    dumper = SqliteDumper(path, _queries(made))
    try:
        made_by = [
            *sqlite_ddl.tables(made),
            *our_ddl(made),
            *sqlite_ddl.rows(made),
            *sqlite_ddl.triggers(made),
        ]
        outcome.story[:0] = made_by
        dumper.run("PRAGMA synchronous = off")
        for statement in made_by:
            dumper.run(statement)

        def own(contacts: tuple[str, ...], job: int) -> None:
            base = quoted(made.contacts.base)
            # A trigger on contacts must not see this: it is none of the library's doing.
            names = dumper.rows("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
            for name, _ in names:
                dumper.run(f"DROP TRIGGER {quoted(name)}")
            dumper.run(f"UPDATE {base} SET owner = {job} WHERE rid IN ({', '.join(contacts)})")
            for _, sql in names:
                dumper.run(sql)

        _run(outcome, made, path, runner, dumper=dumper, own=own)
    finally:
        dumper.close()


def _queries(made: Plan) -> dict[str, str]:
    def query(table: Table, hidden: str) -> str:
        columns = ", ".join(f"{quoted(it.name)} AS {quoted(it.role)}" for it in table.columns)
        return f"SELECT {hidden}, {columns} FROM {quoted(table.base)}"

    announced = "CASE is_announced WHEN 1 THEN 't' ELSE 'f' END"
    return {
        "jobs": query(made.jobs, "rid"),
        "contacts": query(made.contacts, "rid, owner, origin"),
        "audit_log": "SELECT rid, what FROM audit_log",
        "cancellations": (
            "SELECT organization_id || char(10) || batch_job_id AS rid, operation_id, "
            "previous_status, contacts_cancelled, actor, reason, cancelled_at, deferred_id, "
            f"removal, {announced} AS is_announced, taken_at FROM {quoted(made.cancellations)}"
        ),
    }
