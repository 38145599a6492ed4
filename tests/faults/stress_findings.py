"""What must hold after each round of the stress, and what a run has found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

import attrs

CHECKS: Final[Mapping[str, str]] = {
    "calls started after the 200": """
        SELECT job_id FROM calls JOIN answers USING (job_id)
        WHERE pg_xact_commit_timestamp(calls.xid) > answered_at
    """,
    "calls started after the cancel's commit": """
        SELECT calls.job_id FROM calls JOIN batch_cancellations AS record
        ON record.batch_job_id = calls.job_id
        WHERE pg_xact_commit_timestamp(calls.xid) > pg_xact_commit_timestamp(record.xmin)
    """,
    "open contacts left at rest": """
        SELECT batch_job_id FROM batch_contacts JOIN answers ON job_id = batch_job_id
        WHERE status IN ('pending', 'queued', 'no_answer', 'busy', 'timeout')
    """,
    "cancelled jobs that did not stay so": """
        SELECT job_id FROM answers JOIN batch_jobs ON id = job_id WHERE status <> 'cancelled'
    """,
    "completed jobs with work left": """
        SELECT batch_job_id FROM batch_contacts
        JOIN batch_jobs AS job ON job.id = batch_job_id AND job.status = 'completed'
        WHERE batch_contacts.status
              IN ('pending', 'queued', 'no_answer', 'busy', 'timeout', 'dialing')
    """,
    "records with another count": """
        SELECT batch_job_id FROM batch_cancellations AS record WHERE NOT is_swept
        OR contacts_cancelled <> (SELECT count(*) FROM cancels WHERE job_id = batch_job_id)
    """,
    "live calls at rest": "SELECT batch_job_id FROM batch_contacts WHERE status = 'dialing'",
}
"""What must give no row once a round is at rest: the numbers of the jobs that break a promise."""


@attrs.define
class Found:
    """
    What a run has found.

    Arguments:
        rounds: how many were played.
        seconds: how long they took, without the server's start.
        wrong: how many rounds broke each promise.
        first: the first round that broke any, counted from 1; None if none did.
        seen: how often each interesting thing happened.
        deadlocks: how many Postgres has counted.
        errors: what steps raised that they may not raise.
    """

    rounds: int = 0
    seconds: float = 0.0
    wrong: Counter[str] = attrs.field(factory=Counter)
    first: int | None = None
    seen: Counter[str] = attrs.field(factory=Counter)
    deadlocks: int = 0
    errors: list[str] = attrs.field(factory=list)

    @property
    def is_right(self) -> bool:
        """Whether every promise was kept."""
        return not self.wrong and not self.deadlocks and not self.errors
