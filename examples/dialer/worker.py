"""
A worker: run as many as you like, each as `python -m examples.dialer.worker`.

It may be killed at any moment. What it was calling is ended by another worker once it is older
than the longest call, and what it had claimed is called later. SIGTERM ends it after its call.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import psycopg
from psycopg_pool import ConnectionPool

from batch_cancel import (
    ContactStatus,
    JobKey,
    StoreFailed,
    claim_contacts,
    expire_calls,
    finish_job,
    settle_contact,
    still_running,
)
from examples.dialer import tables
from examples.dialer.telephone import dial

CLAIMED_TOGETHER: Final = 5
ATTEMPTS_MAX: Final = 3
RETRY_AFTER: Final = timedelta(seconds=0.1)  # An hour, in earnest.
IDLE_SECONDS: Final = 0.1
_LOG: Final = logging.getLogger(__name__)

RETRIED: Final = {ContactStatus.NO_ANSWER, ContactStatus.BUSY}


class Worker:
    """One worker, and whether it was asked to stop."""

    def __init__(self, pool: ConnectionPool[psycopg.Connection]) -> None:
        self.pool = pool
        self.uow = tables.unit_of_work(pool.connection)
        self.is_stopping = False
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)

    def _stop(self, *_: object) -> None:
        self.is_stopping = True

    def run(self) -> None:
        """Work until asked to stop. While the database is down, try again."""
        while not self.is_stopping:
            try:
                with self.pool.connection() as rows:
                    while not self.is_stopping:
                        if not self.work_on_all(rows):
                            time.sleep(IDLE_SECONDS)
            except (psycopg.Error, StoreFailed) as error:
                _LOG.warning("the database failed (%s)", type(error).__name__)
                time.sleep(IDLE_SECONDS)

    def work_on_all(self, rows: psycopg.Connection) -> bool:
        """End dead calls, and call some contacts of each running job; return whether any."""
        for dead in tables.jobs_with_dead_calls(rows):
            expire_calls(
                dead.batch_job_id,
                tables.LONGEST_CALL,
                uow=self.uow,
                organization_id=dead.organization_id,
            )
        running = tables.jobs_to_work_on(rows)
        worked = [self.work_on(rows, job) for job in running if not self.is_stopping]
        return any(worked)

    def work_on(self, rows: psycopg.Connection, job: JobKey) -> bool:
        """Call some contacts of a job; return whether there were any."""
        job_id, organization = job.batch_job_id, job.organization_id
        claimed = claim_contacts(
            job_id,
            uow=self.uow,
            organization_id=organization,
            limit=CLAIMED_TOGETHER,
            returning=("phone", "attempts"),
        )
        if claimed.is_over:  # Never again: not merely nothing now.
            finish_job(job_id, uow=self.uow, organization_id=organization)
        for contact_id, contact in zip(claimed, claimed.rows, strict=True):
            end = self.call(rows, job, contact_id, contact)
            if end is not None:
                outcome, retry_at = end
                settle_contact(
                    job_id,
                    contact_id,
                    outcome,
                    uow=self.uow,
                    organization_id=organization,
                    retry_at=retry_at,
                )
        return bool(claimed)

    def call(
        self, rows: psycopg.Connection, job: JobKey, contact_id: str, contact: Mapping[str, object]
    ) -> tuple[ContactStatus, datetime | None] | None:
        """Call one contact; return how it ended and when it is called again, None if not ours."""
        job_id, organization = job.batch_job_id, job.organization_id
        attempts = int(str(contact["attempts"]))
        if attempts >= ATTEMPTS_MAX:  # Those that a dead worker has used up count, too.
            return ContactStatus.FAILED, None
        if self.is_stopping or not still_running(
            job_id, uow=self.uow, organization_id=organization
        ):
            return ContactStatus.QUEUED, None  # It never rang; in a cancelled job: cancelled.
        if not tables.count_attempt(rows, contact_id, attempts):
            return None
        outcome = dial(rows, contact["phone"])
        if outcome not in RETRIED:
            return outcome, None
        if attempts + 1 >= ATTEMPTS_MAX:
            return ContactStatus.FAILED, None
        return outcome, datetime.now(UTC) + RETRY_AFTER


def make_pool() -> ConnectionPool[psycopg.Connection]:
    """Return a pool with a connection for this module's own SQL, and one for the library's."""
    return ConnectionPool(
        tables.STORE, min_size=1, max_size=2, timeout=5, kwargs={"autocommit": True}, open=False
    )


if __name__ == "__main__":
    with make_pool() as opened:
        Worker(opened).run()
