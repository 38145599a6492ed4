"""The steps of a worker as the library does them, and as workers are written everywhere."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Final, TypeVar

import psycopg

from batch_cancel import (
    AlreadyTerminal,
    ContactStatus,
    append_contacts,
    cancel_rows,
    claim_contacts,
    finish_job,
    settle_contact,
    start_job,
)
from batch_cancel.adapters.postgres import PostgresUnitOfWork

_T = TypeVar("_T")


RETRYABLE: Final = ("no_answer", "busy", "timeout", "queued")


@contextmanager
def lent(connection: psycopg.Connection[Any]) -> Generator[psycopg.Connection[Any]]:
    """Yield a connection that stays open."""
    yield connection


class Steps:
    """The steps as the library does them, over one connection."""

    call_seconds: ClassVar[float] = 0
    """How long a call takes at least."""

    sweep_above: ClassVar[int | None] = None
    """How many contacts a cancel changes in one transaction; None for all."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.uow = PostgresUnitOfWork(lambda: lent(connection), sweep_above=self.sweep_above)

    def start(self, job: str) -> bool:
        """Start the job."""
        return start_job(job, uow=self.uow)

    def claim(self, job: str, limit: int) -> list[str]:
        """Take contacts to dial."""
        return claim_contacts(job, uow=self.uow, limit=limit)

    def settle(self, job: str, contact: str, outcome: str) -> str | None:
        """End a call."""
        return settle_contact(job, contact, ContactStatus(outcome), uow=self.uow)

    def append(self, job: str) -> bool:
        """Add a contact; False if the job was ended."""
        try:
            return append_contacts(job, [{}], uow=self.uow) == 1
        except AlreadyTerminal:
            return False

    def finish(self, job: str) -> bool:
        """Complete the job."""
        return finish_job(job, uow=self.uow)

    def cancel(self, job: str) -> str:
        """Cancel the job; return the status that it was cancelled from, or had ended in."""
        try:
            return f"cancelled from {cancel_rows(job, uow=self.uow).record.previous_status}"
        except AlreadyTerminal as refusal:
            return f"found {refusal.status}"

    def _status(self, job: str) -> str:
        rows = self.connection.execute("SELECT status FROM batch_jobs WHERE id = %s", [job])
        ((status,),) = rows.fetchall()
        return str(status)


class Sweeping(Steps):
    """As the library does them for a very large job; here it is one with more than two."""

    sweep_above = 2


def _repeated(step: Callable[[], _T]) -> _T:
    """Do a step again when Postgres has ended it to solve a deadlock, as every worker should."""
    while True:
        try:
            return step()
        except psycopg.errors.DeadlockDetected:
            continue


class StartWithoutCompareAndSet(Steps):
    """Looks, then starts."""

    def start(self, job: str) -> bool:
        """Start the job."""
        if self._status(job) not in {"scheduled", "pending"}:
            return False
        self.connection.execute("UPDATE batch_jobs SET status = 'running' WHERE id = %s", [job])
        return True


class SettleWithoutLock(Steps):
    """Reads the job's status, then writes the contact's."""

    def settle(self, job: str, contact: str, outcome: str) -> str | None:
        """End a call."""
        return _repeated(lambda: self._settle(job, contact, outcome))

    def _settle(self, job: str, contact: str, outcome: str) -> str | None:
        with self.connection.transaction():
            if outcome in RETRYABLE and self._status(job) == "cancelled":
                outcome = "cancelled"
            rows = self.connection.execute(
                "UPDATE batch_contacts SET status = %s WHERE id = %s AND status = 'dialing' "
                "RETURNING status",
                [outcome, contact],
            ).fetchall()
        return str(rows[0][0]) if rows else None


class SettleBySubselect(Steps):
    """Does it in one statement, which reads the job from before a cancel that it waits for."""

    def settle(self, job: str, contact: str, outcome: str) -> str | None:
        """End a call."""
        if outcome not in RETRYABLE:
            return super().settle(job, contact, outcome)
        return _repeated(lambda: self._settle(job, contact, outcome))

    def _settle(self, job: str, contact: str, outcome: str) -> str | None:
        rows = self.connection.execute(
            "UPDATE batch_contacts SET status = CASE "
            "(SELECT status FROM batch_jobs WHERE id = %s) WHEN 'cancelled' THEN 'cancelled' "
            "ELSE %s END WHERE id = %s AND status = 'dialing' RETURNING status",
            [job, outcome, contact],
        ).fetchall()
        return str(rows[0][0]) if rows else None


class AppendByPlainInsert(Steps):
    """Looks, then adds; the foreign key does not help."""

    def append(self, job: str) -> bool:
        """Add a contact; False if the job was ended."""
        if self._status(job) in {"completed", "failed", "cancelled"}:
            return False
        self.connection.execute("INSERT INTO batch_contacts (batch_job_id) VALUES (%s)", [job])
        return True


class CancelWithoutLock(Steps):
    """Cancels the contacts, then the job, and locks nothing before."""

    def cancel(self, job: str) -> str:
        """Cancel the job; return the status that it was cancelled from, or had ended in."""
        # Contacts first, the job second, is the wrong order: it does meet deadlocks.
        return _repeated(lambda: self._cancel(job))

    def _cancel(self, job: str) -> str:
        with self.connection.transaction():
            status = self._status(job)
            if status in {"completed", "failed", "cancelled"}:
                return f"found {status}"
            self.connection.execute(
                "UPDATE batch_contacts SET status = 'cancelled' WHERE batch_job_id = %s "
                "AND status IN ('pending', 'queued', 'no_answer', 'busy', 'timeout')",
                [job],
            )
            self.connection.execute(
                "UPDATE batch_jobs SET status = 'cancelled' WHERE id = %s", [job]
            )
        return f"cancelled from {status}"


class FinishInOneStatement(Steps):
    """Compares and sets, but waits for an append with the eyes shut."""

    def finish(self, job: str) -> bool:
        """Complete the job."""
        return (
            self.connection.execute(
                "UPDATE batch_jobs SET status = 'completed' WHERE id = %s AND status = 'running' "
                "AND NOT EXISTS (SELECT FROM batch_contacts WHERE batch_job_id = %s AND status "
                "IN ('pending', 'queued', 'no_answer', 'busy', 'timeout', 'dialing'))",
                [job, job],
            ).rowcount
            == 1
        )


class Naive(StartWithoutCompareAndSet, SettleWithoutLock, AppendByPlainInsert):
    """
    Does everything wrong that a worker can do wrong, for the triggers to repair.

    Its calls take longer than a cancel, as calls do. One that is claimed while the cancel is
    changing the contacts, and has ended before it is done, meets the cancel in a deadlock: the
    trigger can't lock the job before the contact. Postgres solves it, and both try again.
    """

    call_seconds = 0.05

    def append(self, job: str) -> bool:
        """Add a contact; False if the job was ended."""
        return _repeated(lambda: super(Naive, self).append(job))


PLANTS: Final[Mapping[str, type[Steps]]] = {
    "start-without-compare-and-set": StartWithoutCompareAndSet,
    "settle-without-lock": SettleWithoutLock,
    "settle-by-subselect": SettleBySubselect,
    "append-by-plain-insert": AppendByPlainInsert,
    "cancel-without-lock": CancelWithoutLock,
    "finish-in-one-statement": FinishInOneStatement,
}
