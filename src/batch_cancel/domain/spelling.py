"""
How the adopter's tables spell the statuses, both ways.

Rule 1: a status is known by its spelling in the adopter's table. Where that is not the contract's,
        the contract's means nothing there.
Rule 2: every status has a spelling of its own, or all have the contract's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from batch_cancel.domain.model import ContactStatus, JobStatus

_Status = TypeVar("_Status", JobStatus, ContactStatus)


def job_spellings(given: Mapping[JobStatus, str]) -> dict[JobStatus, str]:
    """
    Give the spelling of each of the six statuses of a job; where none is given, the contract's.

    Raises:
        ValueError: a status is without a spelling, or has that of another.
    """
    return _spelled(JobStatus, given)


def contact_spellings(given: Mapping[ContactStatus, str]) -> dict[ContactStatus, str]:
    """
    Give the spelling of each of the twelve statuses of a contact, as `job_spellings` does.

    Raises:
        ValueError: a status is without a spelling, or has that of another.
    """
    return _spelled(ContactStatus, given)


def read_job_status(spellings: Mapping[JobStatus, str], text: str | None) -> str | None:
    """Give the contract's word for what a table says; what is unknown stays unknown."""
    for status, known in spellings.items():
        if known == text:
            return status
    # A job that says "running" is not running where "running" is spelled otherwise.
    return f"{text} (not among job_statuses)" if text in spellings else text


def _spelled(kind: type[_Status], given: Mapping[Any, object]) -> dict[_Status, str]:
    """Read the spellings of these statuses; none at all are the contract's."""
    known = {status.value: status for status in kind}
    spellings: dict[_Status, str] = {}
    for name, spelling in (given or known).items():
        if name not in known:
            msg = f"{name!r} is no status: the statuses are {', '.join(known)}"
            raise ValueError(msg)
        if not isinstance(spelling, str) or "\0" in spelling:
            msg = f"the spelling of {known[name].value} must be a text, got {spelling!r}"
            raise ValueError(msg)
        for other, taken in spellings.items():
            if taken == spelling:
                msg = (
                    f"{other.value} and {known[name].value} have one spelling, {spelling!r}: each "
                    "status needs its own"
                )
                raise ValueError(msg)
        spellings[known[name]] = str(spelling)
    lacking = [name for name, status in known.items() if status not in spellings]
    if lacking:
        msg = (
            f"no spelling is given for {', '.join(lacking)}: give one for every status, also for "
            "those that your table never has"
        )
        raise ValueError(msg)
    return spellings
