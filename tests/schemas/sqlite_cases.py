"""Cases for SQLite files: `SqliteStore`, and joined connections of all kinds."""

from __future__ import annotations

import asyncio
import itertools
import random
import sqlite3
import tempfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import attrs

from batch_cancel.adapters.sqlite import SqliteStore, joining
from tests.schemas.dimensions import PLAIN, Case
from tests.schemas.facts import Knowledge
from tests.schemas.names import literal
from tests.schemas.outcomes import Outcome, run_programme
from tests.schemas.postgres import Databases
from tests.schemas.programme import Programme, knowledge
from tests.schemas.sqlite_ddl import OUR_ROW, Target, hostile, log_each
from tests.schemas.sqlite_files import IN_MEMORY, SqliteDumper
from tests.schemas.steps import AtCommit, Performer, Starts
from tests.schemas.worlds import ContactRow, Ids, World, furnish, status_names

_ACTIONS: Final = (
    "swallow before",
    "restore after",
    "normalise after",
    "add after",
    "reject before",
    "reject after",
)

VALUES: Final[Mapping[str, tuple[str, ...]]] = {
    "organization": ("absent", "text", "nullable"),
    "columns": ("ours", "more", "more and an index"),
    "connection": ("default", "BEGIN", "row factory"),
    "journal": ("delete", "wal"),
    "foreign keys": ("off", "on"),
    "trigger": ("none", "audit"),
}
"""By dimension, the values with which everything must work."""

OTHERS: Final[Mapping[str, tuple[str, ...]]] = {
    "columns": ("one cancelled contact",),
    "connection": ("text factory of bytes", "text factory", "temp tables", "temp views"),
    "trigger": tuple(
        f"{table} {action}"
        for table in ("jobs", "contacts", "cancellations")
        for action in _ACTIONS
    ),
}
"""Those with which a step may be refused."""

_FIXED: Final = {
    "contact organization": "absent",
    "soft deletion": "none",
    "version": "unmapped",
    "times": "updated",
    "next attempt": "mapped",
    "deferred id": "mapped",
    "relation": "table",
    "key": "id",
    "contact key": "id",
}
_ORGANIZATIONS: Final[Mapping[str, tuple[str | None, ...]]] = {
    "absent": (None,),
    "text": ("org-a", "org-b", "org-c"),
    "nullable": ("org-a", None, "org-b"),
}


def drawn(seed: int) -> Iterator[Case]:
    """Draw cases without end, every second with one value that may keep it from working."""
    rng = random.Random(seed)  # noqa: S311  # No secret.
    plain = {**PLAIN, **VALUES}
    every = [(dimension, value) for dimension, values in OTHERS.items() for value in values]
    twists = itertools.chain.from_iterable(
        rng.sample(every, len(every)) for _ in itertools.count()
    )
    for index in itertools.count():
        values = {dimension: rng.choice(among) for dimension, among in VALUES.items()}
        if index % 2:
            values |= [next(twists)]
        yield Case(seed, index, {**values, **_FIXED}, plain)


class FileStore:
    """A file and a connection of the caller's to it."""

    def __init__(self, path: str, case: Case) -> None:
        self._path, self._case = path, case

    def alone(self) -> SqliteStore:
        """Return a unit of work with transactions of its own."""
        return SqliteStore(self._path)

    @contextmanager
    def joined(self, *, commits: bool) -> Generator[Any]:
        """Yield a unit of work within a transaction that is then committed, or rolled back."""
        kind = self._case["connection"]
        level: Any = None if kind == "BEGIN" else ""
        connection = sqlite3.connect(self._path, isolation_level=level)
        try:
            connection.execute(f"PRAGMA foreign_keys = {self._case['foreign keys']}")
            self._prepare(connection, kind)
            yield joining(connection)
            if commits:
                try:
                    connection.commit()
                except sqlite3.Error as error:
                    raise AtCommit(type(error).__name__) from error
        finally:
            connection.close()

    def alone_async(self) -> Any:
        """Return nothing: there is no such store for asyncio."""
        raise NotImplementedError

    def joined_async(self, *, commits: bool) -> AbstractAsyncContextManager[Any]:
        """Return nothing: there is no such store for asyncio."""
        raise NotImplementedError

    def _prepare(self, connection: sqlite3.Connection, kind: str) -> None:
        match kind:
            case "BEGIN":
                connection.execute("BEGIN")
            case "row factory":
                connection.row_factory = sqlite3.Row
            case "text factory of bytes":
                connection.text_factory = bytes
            case "text factory":
                connection.text_factory = lambda it: it.decode().upper()
            case "temp tables" | "temp views":
                what = "TABLE" if kind == "temp tables" else "VIEW"
                for table in ("batch_jobs", "batch_contacts"):
                    connection.execute(f"CREATE TEMP {what} {table} AS SELECT * FROM main.{table}")
                connection.commit()
            case _:
                pass


def run(case: Case, databases: Databases, runner: asyncio.Runner) -> Outcome:
    """Try one case; it needs no server."""
    outcome = Outcome(case, "sqlite")
    organizations = _ORGANIZATIONS[case["organization"]]
    target = organizations[min(1, len(organizations) - 1)]
    world = furnish(
        organizations,
        Ids("text", per_organization=True, contacts="job"),
        status_names("contract", numbers=False),
        surrogate=False,
        soft=False,
        target=target,
    )
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        path = str(Path(folder) / "jobs.db")
        SqliteStore(path).add_job("to make the tables", "completed")
        dumper = SqliteDumper(path, _QUERIES)
        try:
            for statement in (*_rows(world), *_more(case)):
                dumper.run(statement)
                outcome.story.append(statement if len(statement) < 1000 else "the rows")
            starts = Starts({job.deferred for job in world.jobs})
            programme = Programme(
                case,
                world,
                target=target,
                asked=target,
                stranger="nobody",
                new_contact=lambda number: {"id": f"new-{number}"},
                kinds=(False,),
            )
            performer = Performer(FileStore(path, case), starts, runner)
            run_programme(
                outcome, programme, performer, dump=dumper.dump, known=_known(case, world)
            )
        finally:
            dumper.close()
    return outcome


_QUERIES: Final = {
    "jobs": (
        "SELECT number AS rid, id, organization_id AS organization, status, "
        "scheduled_job_id AS deferred, created_at, updated_at AS updated FROM batch_jobs"
    ),
    "contacts": (
        "SELECT job_number || '/' || id AS rid, job_number AS owner, job_number AS job, id, "
        "status, next_attempt_at AS next, updated_at AS updated, CASE WHEN id LIKE 'added%' "
        "THEN 'trigger' ELSE 'application' END AS origin FROM batch_contacts"
    ),
    "cancellations": (
        "SELECT coalesce(organization_id, '') || char(10) || batch_job_id AS rid, operation_id, "
        "previous_status, contacts_cancelled, actor, reason, cancelled_at, deferred_id, removal, "
        "CASE is_announced WHEN 1 THEN 't' ELSE 'f' END AS is_announced, taken_at "
        "FROM batch_cancellations"
    ),
    "audit_log": "SELECT rowid AS rid, what FROM audit_log",
}


def _rows(world: World) -> Iterator[str]:
    yield "PRAGMA synchronous = off"
    yield "DELETE FROM batch_jobs"
    yield "CREATE TABLE audit_log (what TEXT)"
    ages = {"old": timedelta(hours=-3), "new": timedelta(minutes=-1), "past": timedelta(hours=-1)}
    ages |= {"future": timedelta(hours=10)}

    def at(moment: str) -> str:
        if moment == "none":
            return "NULL"
        return literal((datetime.now(UTC) + ages[moment]).isoformat(timespec="microseconds"))

    jobs = ", ".join(
        f"({job.rid}, {literal(job.id)}, {literal(job.organization)}, {literal(job.raw)}, "
        f"{literal(job.deferred)}, {at('old')}, {at('old')})"
        for job in world.jobs
    )
    yield (
        "INSERT INTO batch_jobs (number, id, organization_id, status, scheduled_job_id, "
        f"created_at, updated_at) VALUES {jobs}"
    )
    contacts = ", ".join(
        f"({it.owner.rid}, {literal(it.id)}, {literal(it.raw)}, {at(it.next_attempt)}, "
        f"{at(it.updated)})"
        for it in world.contacts
    )
    yield (
        "INSERT INTO batch_contacts (job_number, id, status, next_attempt_at, updated_at) "
        f"VALUES {contacts}"
    )


def _more(case: Case) -> Iterator[str]:
    if case["columns"].startswith("more"):
        yield "ALTER TABLE batch_jobs ADD COLUMN name TEXT NOT NULL DEFAULT 'a job'"
        yield "ALTER TABLE batch_contacts ADD COLUMN phone TEXT"
    if case["columns"].endswith("an index"):
        yield "CREATE INDEX theirs ON batch_contacts (status, job_number)"
    if case["columns"] == "one cancelled contact":
        yield (
            "CREATE UNIQUE INDEX theirs ON batch_contacts (job_number) WHERE status = 'cancelled'"
        )
    if case["journal"] == "wal":
        yield "PRAGMA journal_mode = wal"
    targets = {
        "jobs": Target("batch_jobs", "status", "number = NEW.number"),
        "contacts": Target(
            "batch_contacts",
            "status",
            "job_number = NEW.job_number AND id = NEW.id",
            "NEW.id LIKE '%7'",
        ),
        "cancellations": Target("batch_cancellations", "operation_id", OUR_ROW),
    }
    if case["trigger"] == "audit":
        yield from (log_each(targets[table]) for table in ("jobs", "contacts"))
    elif case["trigger"] != "none":
        table, action, timing = case["trigger"].split(" ")
        which = {
            "jobs": "number = NEW.number",
            "contacts": "number = NEW.job_number",
            "cancellations": "id = NEW.batch_job_id AND organization_id IS NEW.organization_id",
        }[table]
        add = (
            "INSERT INTO batch_contacts (job_number, id, status, updated_at) "
            "SELECT number, 'added' || random(), 'pending', updated_at FROM batch_jobs "
            f"WHERE {which}"
        )
        yield hostile(targets[table], table, action, timing, add)


def _known(case: Case, world: World) -> Knowledge:
    def named(contacts: list[ContactRow]) -> frozenset[str]:
        return frozenset(f"{it.owner.rid}/{it.id}" for it in contacts)

    known = knowledge(case, world, unmapped=False, organization_of_contacts=False)
    return attrs.evolve(
        known,
        references={str(job.rid): str(job.rid) for job in world.jobs},
        old={"updated": named([it for it in world.contacts if it.updated == "old"])},
        later=named([it for it in world.contacts if it.next_attempt == "future"]),
    )
