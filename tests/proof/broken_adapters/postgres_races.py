"""Bugs on Postgres that only two at once can show: what looks first, and then writes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg

from batch_cancel.domain.job import JobKey
from batch_cancel.domain.statuses import ContactStatus
from batch_cancel.testing.conformance import StoreConformance
from tests.proof.broken_adapters.planting import SECOND, plant
from tests.proof.broken_adapters.postgres_statements import (
    LockingUnitOfWork,
    OnPostgres,
    ReadingUnitOfWork,
    UnlockedUnitOfWork,
)


class StartsByCheckThenAct(OnPostgres):
    """It looks, and then writes."""

    def start(self, key: JobKey) -> bool:
        """Start a job that was startable a moment ago."""
        status = "SELECT FROM batch_jobs WHERE id = %s AND status IN ('scheduled', 'pending')"
        if not self.send(status, [key.batch_job_id]):
            return False
        update = "UPDATE batch_jobs SET status = 'running' WHERE id = %s"
        return self.send(update, [key.batch_job_id]) == 1


class FinishesByCheckThenAct(OnPostgres):
    """It looks, and then writes."""

    def finish(self, key: JobKey) -> bool:
        """Finish a job that had nothing left to do a moment ago."""
        status = "SELECT FROM batch_jobs WHERE id = %s AND status = 'running'"
        if not self.send(status, [key.batch_job_id]):
            return False
        update = "UPDATE batch_jobs SET status = 'completed' WHERE id = %s"
        return self.send(update, [key.batch_job_id]) == 1


class SettlesWithoutTheLock(OnPostgres):
    """It reads the job's status in the statement that writes."""

    def settle(self, key: JobKey, contact_id: str, outcome: ContactStatus) -> int:
        """Settle by the status from before."""
        update = (
            "UPDATE batch_contacts SET status = CASE WHEN (SELECT status FROM batch_jobs WHERE "
            "id = %s) = 'cancelled' AND %s::text IN ('queued', 'no_answer', 'busy', 'timeout') "
            "THEN 'cancelled' ELSE %s END WHERE id = %s AND status = 'dialing'"
        )
        return self.send(update, [key.batch_job_id, outcome, outcome, int(contact_id)])


class SettlesWithoutLookingAtTheJob(OnPostgres):
    """It writes how the call ended, whatever became of the job."""

    def settle(self, key: JobKey, contact_id: str, outcome: ContactStatus) -> int:
        """Settle by the outcome alone."""
        update = "UPDATE batch_contacts SET status = %s WHERE id = %s AND status = 'dialing'"
        return self.send(update, [outcome, int(contact_id)])


class AppendsWithoutTheLock(OnPostgres):
    """It inserts if the job was live a moment ago."""

    def append(self, key: JobKey) -> int:
        """Insert by the status from before."""
        insert = (
            "INSERT INTO batch_contacts (batch_job_id) SELECT id FROM batch_jobs "
            "WHERE id = %s AND status IN ('scheduled', 'pending', 'running')"
        )
        if not self.send(insert, [key.batch_job_id]):
            msg = "the job has ended"
            raise RuntimeError(msg)
        return 1


class AppendsToACancelledJob(OnPostgres):
    """It does not look at the job."""

    def append(self, key: JobKey) -> int:
        """Insert."""
        return self.send(
            "INSERT INTO batch_contacts (batch_job_id) VALUES (%s)", [key.batch_job_id]
        )


class ClaimsWhatItWaitedFor(OnPostgres):
    """It chooses its contacts first, and takes them in another statement, whatever they are."""

    def claim(self, key: JobKey, limit: int) -> list[str]:
        """Take what was open a moment ago."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            chosen = connection.execute(
                "SELECT contact.id FROM batch_contacts contact JOIN batch_jobs job "
                "ON job.id = batch_job_id WHERE job.id = %s AND job.status = 'running' "
                "AND contact.status IN ('pending', 'queued', 'no_answer', 'busy', 'timeout') "
                "ORDER BY contact.id LIMIT %s",
                [key.batch_job_id, limit],
            ).fetchall()
            taken = connection.execute(
                "UPDATE batch_contacts SET status = 'dialing' WHERE id = ANY(%s) "
                "RETURNING id::text",
                [[contact_id for (contact_id,) in chosen]],
            )
            return [contact_id for (contact_id,) in taken]


class ExpiresWithoutTheLock(OnPostgres):
    """It reads the job's status in the statement that writes."""

    def expire(self, key: JobKey, older_than: timedelta) -> int:
        """Expire by the status from before."""
        update = (
            "UPDATE batch_contacts SET status = CASE WHEN (SELECT status FROM batch_jobs WHERE "
            "id = %s) = 'cancelled' THEN 'cancelled' ELSE 'timeout' END "
            "WHERE batch_job_id = %s AND status = 'dialing' AND updated_at < now() - %s"
        )
        return self.send(update, [key.batch_job_id, key.batch_job_id, older_than])


class ExpiresWhatItRead(OnPostgres):
    """It chooses its contacts first, and writes them in another statement, whatever they are."""

    def expire(self, key: JobKey, older_than: timedelta) -> int:
        """End what was live a moment ago."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            chosen = connection.execute(
                "SELECT id, pg_sleep(0.05) FROM batch_contacts WHERE batch_job_id = %s "
                "AND status = 'dialing' AND updated_at < now() - %s",
                [key.batch_job_id, older_than],
            ).fetchall()
            ended = connection.execute(
                "UPDATE batch_contacts SET status = 'timeout' WHERE id = ANY(%s)",
                [[contact_id for contact_id, _ in chosen]],
            )
            return ended.rowcount


class LocksTheJobToClaim(OnPostgres):
    """It locks the job before it takes contacts."""

    def claim(self, key: JobKey, limit: int) -> list[str]:
        """Take contacts of a job that is locked."""
        with psycopg.connect(self.dsn) as connection:
            connection.execute(
                "SELECT FROM batch_jobs WHERE id = %s FOR SHARE", [key.batch_job_id]
            )
            taken = connection.execute(
                "UPDATE batch_contacts SET status = 'dialing' WHERE id IN ("
                "SELECT contact.id FROM batch_contacts contact JOIN batch_jobs job "
                "ON job.id = batch_job_id WHERE job.id = %s AND job.status = 'running' "
                "AND contact.status IN ('pending', 'queued', 'no_answer', 'busy', 'timeout') "
                "ORDER BY contact.id LIMIT %s FOR UPDATE OF contact SKIP LOCKED) "
                "RETURNING id::text",
                [key.batch_job_id, limit],
            )
            return [contact_id for (contact_id,) in taken]


class TakesWhatItRead(OnPostgres):
    """It reads what is pending without a lock, and notes afterwards that it took it."""

    def uow(self) -> Any:
        """Return a unit of work with the bug."""
        uow = UnlockedUnitOfWork(self._connect, lock_timeout=SECOND)
        uow.swaps = {}
        return uow


class LocksWhatItFinds(OnPostgres):
    """It reads the record as one that is about to write it."""

    def uow(self) -> Any:
        """Return a unit of work with the bug."""
        uow = LockingUnitOfWork(self._connect, lock_timeout=SECOND)
        uow.swaps = {}
        return uow


class ClaimsWhatItRead(OnPostgres):
    """It compares the turn in one statement, and sets it in another."""

    def uow(self) -> Any:
        """Return a unit of work with the bug."""
        uow = ReadingUnitOfWork(self._connect, lock_timeout=SECOND)
        uow.swaps = {}
        return uow


for _bug, _test in (
    (LocksTheJobToClaim, "test_i14_a_claim_does_not_wait_for_the_job"),
    (TakesWhatItRead, "test_i21_of_takes_at_once_one_gets_the_record"),
    (ClaimsWhatItRead, "test_i21_of_claims_at_once_one_succeeds"),
    (ExpiresWithoutTheLock, "test_i4_calls_that_expire_beside_a_cancel_leave_nothing_open"),
    (ExpiresWhatItRead, "test_i3_a_call_that_ends_while_it_expires_ends_once"),
    (LocksWhatItFinds, "test_i16_finding_a_record_locks_nothing"),
    (StartsByCheckThenAct, "test_i2_a_start_beside_a_cancel_does_not_undo_it"),
    (FinishesByCheckThenAct, "test_i2_a_finish_beside_a_cancel_does_not_undo_it"),
    (SettlesWithoutTheLock, "test_i4_a_settlement_beside_a_cancel_leaves_nothing_open"),
    (SettlesWithoutLookingAtTheJob, "test_i4_a_call_of_a_cancelled_job_is_not_retried"),
    (AppendsWithoutTheLock, "test_i4_an_append_beside_a_cancel_leaves_nothing_open"),
    (AppendsToACancelledJob, "test_i4_an_ended_job_gets_no_contacts"),
    (ClaimsWhatItWaitedFor, "test_i1_a_claim_beside_a_cancel_takes_nothing_back"),
):
    plant(_bug.__name__, _test, _bug, StoreConformance)
