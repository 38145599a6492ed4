"""
Rounds of two calls on two nodes of Galera, whose commits are forced together.

In each round a cancel and a worker's step meet on a job of their own, each on another node. Both
wait right before their first COMMIT until the other is there as well, or has ended without one: so
neither has seen what the other writes. On the third node a worker then tries to start calls.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final

import attrs
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import mysql

from batch_cancel import (
    AlreadyTerminal,
    CancelFailed,
    CancelResult,
    StoreFailed,
    append_contacts,
    cancel_job,
    claim_contacts,
    expire_calls,
    finish_job,
    settle_contact,
    start_job,
)
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.adapters.sqlalchemy import (
    SqlAlchemyTables,
    SqlAlchemyUnitOfWork,
    cancellations_table,
)
from tests.data_layers import METADATA, TABLES
from tests.servers import GaleraCluster

OPEN: Final = ("pending", "queued", "no_answer", "busy", "timeout")
"""Written by hand, from the contract."""

_OLD: Final = datetime(2026, 1, 1)  # noqa: DTZ001  # As MariaDB keeps it, in UTC.
_MEETING_SECONDS: Final = 5.0


def _in_seconds() -> SqlAlchemyTables:
    """Return the tables with times in whole seconds, as DATETIME keeps them by default."""
    metadata = sa.MetaData()
    for table in METADATA.sorted_tables:
        if table in {TABLES.jobs, TABLES.contacts}:
            copy = table.to_metadata(metadata, name=f"{table.name}_in_seconds")
            copy.c.updated_at.type = mysql.DATETIME()
    jobs, contacts = (
        metadata.tables[f"{it.name}_in_seconds"] for it in (TABLES.jobs, TABLES.contacts)
    )
    return SqlAlchemyTables(
        jobs=jobs,
        contacts=contacts,
        cancellations=cancellations_table(metadata, name="in_seconds"),
    )


IN_SECONDS: Final = _in_seconds()


@attrs.frozen
class Pair:
    """
    Two calls that meet.

    Arguments:
        name: names them.
        job: the job's status at first.
        contact: the status of its contact at first.
        step: the step, on the job of this id and the contact of this id.
        other: what meets it.
        tables: the tables.
        needs_guard: whether the step needs the guard.
    """

    name: str
    job: str
    contact: str
    step: Callable[[str, str, SqlAlchemyUnitOfWork], object]
    other: Callable[[str, str, SqlAlchemyUnitOfWork], object]
    tables: SqlAlchemyTables = TABLES
    needs_guard: bool = False


def _cancel(job: str, _: str, uow: SqlAlchemyUnitOfWork) -> object:
    return cancel_job(job, uow=uow, scheduler=MemoryScheduler(), operation_id="op")


def _append(job: str, _: str, uow: SqlAlchemyUnitOfWork) -> object:
    return append_contacts(job, [{"label": "added"}], uow=uow)


def _settled(outcome: str) -> Callable[[str, str, SqlAlchemyUnitOfWork], object]:
    return lambda job, contact, uow: settle_contact(job, contact, outcome, uow=uow)  # type: ignore[arg-type]  # A str is converted.


PAIRS: Final = (
    Pair("append", "running", "completed", _append, _cancel, needs_guard=True),
    Pair("append-in-seconds", "running", "busy", _append, _cancel, IN_SECONDS, needs_guard=True),
    Pair("settle", "running", "dialing", _settled("no_answer"), _cancel, needs_guard=True),
    Pair("settle-finally", "running", "dialing", _settled("completed"), _cancel),
    Pair(
        "claim",
        "running",
        "pending",
        lambda job, _, uow: list(claim_contacts(job, uow=uow, limit=5)),
        _cancel,
    ),
    Pair("start", "scheduled", "pending", lambda job, _, uow: start_job(job, uow=uow), _cancel),
    Pair(
        "expire",
        "running",
        "dialing",
        lambda job, _, uow: expire_calls(job, timedelta(hours=1), uow=uow),
        _cancel,
        needs_guard=True,
    ),
    Pair("finish", "running", "completed", lambda job, _, uow: finish_job(job, uow=uow), _cancel),
    Pair(
        "cancel",
        "running",
        "busy",
        lambda job, _, uow: cancel_job(
            job, uow=uow, scheduler=MemoryScheduler(), operation_id="other"
        ),
        _cancel,
    ),
    Pair(
        "append-finish",
        "running",
        "completed",
        _append,
        lambda job, _, uow: finish_job(job, uow=uow),
        needs_guard=True,
    ),
)


class _Meeting:
    """Where two threads wait for each other before their first COMMIT."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: set[int] = set()
        self._gone = 0

    def arrive(self) -> None:
        """Wait for the other, at the first COMMIT of this thread."""
        with self._changed:
            me = threading.get_ident()
            if me in self._waiting:
                return
            self._waiting.add(me)
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: len(self._waiting) + self._gone > 1, timeout=_MEETING_SECONDS
            )

    def leave(self) -> None:
        """Wait no more, and let the other go on."""
        with self._changed:
            if threading.get_ident() not in self._waiting:
                self._gone += 1
                self._changed.notify_all()

    @property
    def took_place(self) -> bool:
        """Whether both were about to commit."""
        return len(self._waiting) > 1


class Rounds:
    """
    The rounds of pairs, on the nodes of a cluster.

    Arguments:
        cluster: the nodes.
        database: a database of theirs.
    """

    def __init__(self, cluster: GaleraCluster, database: str) -> None:
        self._meeting: _Meeting | None = None
        self.seen: Counter[str] = Counter()
        self.engines = [
            sa.create_engine(it.url(database), poolclass=sa.QueuePool, pool_size=3)
            for it in cluster.nodes
        ]
        for engine in self.engines:
            event.listen(engine, "commit", self._about_to_commit)
        METADATA.create_all(self.engines[0])
        IN_SECONDS.jobs.metadata.create_all(self.engines[0])
        TABLES.known.clear()
        IN_SECONDS.known.clear()

    def _about_to_commit(self, _: sa.Connection) -> None:
        if self._meeting is not None:
            self._meeting.arrive()

    def close(self) -> None:
        """Close all connections."""
        for engine in self.engines:
            engine.dispose()

    def uow(self, pair: Pair, node: int) -> SqlAlchemyUnitOfWork:
        """Return a unit of work on a node."""
        return SqlAlchemyUnitOfWork(self.engines[node % len(self.engines)], pair.tables)

    def run(self, pair: Pair, rounds: int) -> list[str]:
        """Run so many rounds of a pair; return what is wrong after them."""
        jobs = [f"{pair.name}-{number}" for number in range(rounds)]
        contacts = self._seeded(pair, jobs)
        wrong: list[str] = []
        with ThreadPoolExecutor(2) as threads:
            for number, job in enumerate(jobs):
                wrong += self._round(pair, number, job, contacts[job], threads)
        return wrong

    def _seeded(self, pair: Pair, jobs: Sequence[str]) -> dict[str, str]:
        """Add jobs with a contact each; return the contacts' ids by job."""
        tables = pair.tables
        with self.engines[0].begin() as connection:
            connection.execute(
                sa.insert(tables.jobs),
                [{"id": it, "status": pair.job, "scheduled_job_id": None} for it in jobs],
            )
            connection.execute(
                sa.insert(tables.contacts),
                [{"batch_job_id": it, "status": pair.contact, "updated_at": _OLD} for it in jobs],
            )
            of = tables.contacts.c
            found = connection.execute(
                sa.select(of.batch_job_id, of.id).where(of.batch_job_id.in_(jobs))
            )
            return {job: str(contact) for job, contact in found}

    def _round(
        self, pair: Pair, number: int, job: str, contact: str, threads: ThreadPoolExecutor
    ) -> list[str]:
        if pair.tables is IN_SECONDS:
            self._touch(pair, job)
        meeting = _Meeting()

        def called(call: Callable[[str, str, Any], object], node: int) -> object:
            uow = self.uow(pair, node)
            try:
                return call(job, contact, uow)
            except (AlreadyTerminal, CancelFailed, StoreFailed) as error:
                return error
            finally:
                meeting.leave()

        # Every thread of a pool may be new to a round: its first COMMIT is the round's.
        self._meeting = meeting
        one = threads.submit(called, pair.step, number)
        two = threads.submit(called, pair.other, number + 1)
        answers = (one.result(), two.result())
        self._meeting = None
        self.seen[f"{pair.name}: met"] += meeting.took_place
        return [f"{job}: {it}" for it in self._found(pair, number, job, answers)]

    def _touch(self, pair: Pair, job: str) -> None:
        """Let the job's last change be of this second, on all nodes."""
        of = pair.tables.jobs
        changed = sa.update(of).where(of.c.id == job).values(updated_at=sa.func.utc_timestamp())
        with self.engines[0].begin() as connection:
            connection.execute(changed)
        for engine in self.engines[1:]:
            with engine.connect() as connection:
                connection.exec_driver_sql("SET STATEMENT wsrep_sync_wait=1 FOR SELECT 1")

    def _found(
        self, pair: Pair, number: int, job: str, answers: tuple[object, object]
    ) -> Generator[str]:
        """Yield what is wrong, and count what was seen."""
        for answer in answers:
            kind = type(answer).__name__
            self.seen[f"{pair.name}: {kind if isinstance(answer, Exception) else 'done'}"] += 1
            if isinstance(answer, StoreFailed | CancelFailed) and answer.outcome != "unchanged":
                yield f"the outcome is {answer.outcome}: {answer}"
        late = self.uow(pair, number + 2)
        cancelled = [it for it in answers if isinstance(it, CancelResult)]
        if cancelled and (start_job(job, uow=late) or claim_contacts(job, uow=late, limit=5)):
            yield "a call was started after a 200"
        status, contacts, counts = self._rows(pair, job)
        left = sum(it in OPEN for it in contacts)
        if left and status in {"cancelled", "completed"}:
            yield f"{left} open contacts under a {status} job"
        if len(cancelled) > 1:
            yield "two operations cancelled one job"
        if bool(cancelled) != (status == "cancelled"):
            yield f"the answers are {answers}, and the job is {status}"
        if [it.contacts_cancelled for it in cancelled] != counts:
            yield f"the answers are {answers}, and the records count {counts}"
        if counts and counts[0] > contacts.count("cancelled"):
            yield f"{counts[0]} contacts were counted, and they are {contacts}"
        self.seen[f"{pair.name}: {status}, {'+'.join(sorted(contacts))}"] += 1

    def _rows(self, pair: Pair, job: str) -> tuple[str, list[str], list[int]]:
        """Return a job's status, those of its contacts, and what its records count."""
        tables = pair.tables
        ours, of = tables.cancellations.c, tables.contacts.c
        with self.engines[0].connect() as connection:
            connection.exec_driver_sql("SET STATEMENT wsrep_sync_wait=1 FOR SELECT 1")
            status = connection.execute(
                sa.select(tables.jobs.c.status).where(tables.jobs.c.id == job)
            ).scalar_one()
            contacts = connection.execute(sa.select(of.status).where(of.batch_job_id == job))
            counts = connection.execute(
                sa.select(ours.contacts_cancelled).where(ours.batch_job_id == job)
            )
            return str(status), [*contacts.scalars()], [*counts.scalars()]


@contextmanager
def opened(cluster: GaleraCluster, database: str) -> Generator[Rounds]:
    """Yield rounds on the nodes of a cluster."""
    rounds = Rounds(cluster, database)
    try:
        yield rounds
    finally:
        rounds.close()
