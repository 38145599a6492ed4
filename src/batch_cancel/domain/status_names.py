"""
How the adopter's tables spell the statuses, both ways.

Rule 1: a status is known by its spellings in the adopter's table. Where the contract's word is not
        among them, it means nothing there.
Rule 2: every status has at least one spelling, or all have the contract's. No spelling stands for
        two statuses.
Rule 3: all spellings of a status are read; the first is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from batch_cancel.domain.statuses import ContactStatus, JobStatus

_Status = TypeVar("_Status", JobStatus, ContactStatus)

Spelling = str | int
"""What a status column holds: a text, or a number where the column is one of integers."""

Given = Spelling | Sequence[Spelling]
"""A spelling, or several of which the first is written."""

JobSpellings = Mapping[JobStatus, tuple[Spelling, ...]]
ContactSpellings = Mapping[ContactStatus, tuple[Spelling, ...]]


def job_spellings(
    given: Mapping[JobStatus, Given] | Mapping[str, Given],
) -> dict[JobStatus, tuple[Spelling, ...]]:
    """
    Return the spellings of each of a job's six statuses; where none are given, the contract's.

    Arguments:
        given: one spelling or several by status; the keys are statuses or the contract's words.

    Raises:
        ValueError: a status is without a spelling, or has that of another.
    """
    return _spelled(JobStatus, given)


def contact_spellings(
    given: Mapping[ContactStatus, Given] | Mapping[str, Given],
) -> dict[ContactStatus, tuple[Spelling, ...]]:
    """
    Return the spellings of each of the twelve statuses of a contact, as `job_spellings` does.

    Raises:
        ValueError: a status is without a spelling, or has that of another.
    """
    return _spelled(ContactStatus, given)


def read_job_status(spellings: JobSpellings, text: str | None) -> str | None:
    """Return the contract's word for what a table holds; what is unknown stays unknown."""
    for status, known in spellings.items():
        if text in {str(spelling) for spelling in known}:
            return status
    # A job that says "running" is not running where "running" is spelled otherwise.
    return f"{text} (not among job_statuses)" if text in spellings else text


def read_contact_status(spellings: ContactSpellings, text: str | None) -> ContactStatus | None:
    """Return the status that a table spells so; None if it is the spelling of none."""
    for status, known in spellings.items():
        if text in {str(spelling) for spelling in known}:
            return status
    return None


def all_spellings(
    spellings: Mapping[_Status, tuple[Spelling, ...]], statuses: Iterable[_Status]
) -> list[Spelling]:
    """Return every spelling of these statuses, in a fixed order."""
    return sorted((it for status in statuses for it in spellings[status]), key=_order)


def _order(spelling: Spelling) -> tuple[str, str]:
    return type(spelling).__name__, str(spelling)


def _spelled(
    kind: type[_Status], given: Mapping[Any, Given]
) -> dict[_Status, tuple[Spelling, ...]]:
    """Read the spellings of these statuses; none at all are the contract's."""
    known = {status.value: status for status in kind}
    spellings: dict[_Status, tuple[Spelling, ...]] = {}
    taken: dict[str, _Status] = {}
    for name, value in (given or known).items():
        if name not in known:
            msg = f"{name!r} is no status: the statuses are {', '.join(known)}"
            raise ValueError(msg)
        status = known[name]
        spellings[status] = _listed(status, value)
        for spelling in map(str, spellings[status]):
            other = taken.setdefault(spelling, status)
            if other is not status:
                msg = (
                    f"{other.value} and {status.value} have one spelling, {spelling!r}: each "
                    "status needs its own"
                )
                raise ValueError(msg)
    lacking = [name for name, status in known.items() if not spellings.get(status)]
    if lacking:
        msg = (
            f"no spelling is given for {', '.join(lacking)}: give one for every status, also for "
            "those that your table never has"
        )
        raise ValueError(msg)
    return spellings


def _listed(status: JobStatus | ContactStatus, given: object) -> tuple[Spelling, ...]:
    """Return the spellings of one status, each once and as a plain text or number."""
    several = [given]
    if isinstance(given, Sequence) and not isinstance(given, str | bytes):
        several = list(cast("Sequence[object]", given))
    listed: dict[Spelling, None] = {}
    for spelling in several:
        # A bool is an int to Python, and no status to anybody.
        if isinstance(spelling, str) and "\0" not in spelling:
            listed[str(spelling)] = None
        elif isinstance(spelling, int) and not isinstance(spelling, bool):
            listed[int(spelling)] = None
        else:
            msg = f"a spelling of {status.value} must be a text or an integer, got {spelling!r}"
            raise ValueError(msg)
    return tuple(listed)
