"""
Hypothesis strategies for jobs and contacts, and the statuses and ids that tests should try.

Everything is written out from the contract; nothing is taken from the code that it tests.
"""

from __future__ import annotations

from typing import Final

import attrs
from hypothesis import strategies as st

LIVE_JOBS: Final = ("scheduled", "pending", "running")
ENDED_JOBS: Final = ("completed", "failed", "cancelled")
OPEN_CONTACTS: Final = ("pending", "queued", "no_answer", "busy", "timeout")
RETRYABLE: Final = OPEN_CONTACTS[1:]
ENDED_CONTACTS: Final = (
    "completed",
    "failed",
    "blocked",
    "invalid_number",
    "carrier_error",
    "cancelled",
)

HOSTILE_IDS: Final = (
    "%",
    "%s",
    "%(batch_job_id)s",
    "*",
    "{}",
    "{bc:0}:due",
    " job ",
    "job ",
    "JOB",
    "'; DROP TABLE batch_jobs; --",
    '"',
    "../../etc/passwd",
    "a\nb\r\nc",
    " ",
    "\ufeffjob",
    "\u202ejob",
    "عربي",
    "💣" * 100,
    "x" * 1020,
)
"""Ids that a store may hold, and must take for what they are."""

IMPOSSIBLE_IDS: Final = ("", "\0", "job\0", "\ud800", "job\udcff", "x" * 1025, "x" * 1_000_000)
"""Ids that no store can hold."""


@attrs.frozen
class JobSeed:
    """
    A job to put into a store.

    Arguments:
        status: the job's.
        contacts: their statuses.
        is_scheduled: whether it has a deferred start that waits.
    """

    status: str
    contacts: list[str]
    is_scheduled: bool


def job_statuses() -> st.SearchStrategy[str]:
    """Return any of the six statuses of a job, live ones more often."""
    return st.sampled_from([*LIVE_JOBS, *LIVE_JOBS, *ENDED_JOBS])


def contact_statuses() -> st.SearchStrategy[str]:
    """Return any of the twelve statuses of a contact."""
    return st.sampled_from([*OPEN_CONTACTS, "dialing", *ENDED_CONTACTS])


def jobs(*, contacts_max: int = 6) -> st.SearchStrategy[JobSeed]:
    """
    Return jobs.

    Arguments:
        contacts_max: how many contacts at most.
    """
    return st.builds(
        JobSeed,
        status=job_statuses(),
        contacts=st.lists(contact_statuses(), max_size=contacts_max),
        is_scheduled=st.booleans(),
    )


def call_ends() -> st.SearchStrategy[str]:
    """Return any of the ways in which a call ends."""
    return st.sampled_from([*OPEN_CONTACTS[1:], *ENDED_CONTACTS[:-1]])
