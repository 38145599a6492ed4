"""
The names of the statuses in the adopter's tables, and how to read and write them.

Rule 1: a status is known by its names in the adopter's table. A contract's word that is not among
        them is an unknown status there.
Rule 2: every status has at least one name, or all have the contract's. No name stands for two
        statuses.
Rule 3: all names of a status are read; the first is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from batch_cancel.domain.statuses import ContactStatus, JobStatus

_Status = TypeVar("_Status", JobStatus, ContactStatus)

StatusName = str | int
"""What a status column holds: a text, or a number in an integer column."""

Given = StatusName | Sequence[StatusName]
"""One status name, or several of which the first is written."""

JobStatusNames = Mapping[JobStatus, tuple[StatusName, ...]]
ContactStatusNames = Mapping[ContactStatus, tuple[StatusName, ...]]


def job_status_names(
    given: Mapping[JobStatus, Given] | Mapping[str, Given],
) -> dict[JobStatus, tuple[StatusName, ...]]:
    """
    Return the names of each of a job's six statuses; the contract's words by default.

    Arguments:
        given: one name or several by status; the keys are statuses or the contract's words.

    Raises:
        ValueError: a status has no name, or shares one with another status.
    """
    return _named(JobStatus, given)


def contact_status_names(
    given: Mapping[ContactStatus, Given] | Mapping[str, Given],
) -> dict[ContactStatus, tuple[StatusName, ...]]:
    """
    Return the names of each of a contact's twelve statuses, as `job_status_names` does.

    Raises:
        ValueError: a status has no name, or shares one with another status.
    """
    return _named(ContactStatus, given)


def read_job_status(status_names: JobStatusNames, text: str | None) -> str | None:
    """Return the contract's word for a status name; an unknown name is returned as it is."""
    for status, known in status_names.items():
        if text in {str(status_name) for status_name in known}:
            return status
    # A job in "running" is not running where another name stands for that status.
    return f"{text} (not among job_statuses)" if text in status_names else text


def all_status_names(
    status_names: Mapping[_Status, tuple[StatusName, ...]], statuses: Iterable[_Status]
) -> list[StatusName]:
    """Return every name of these statuses, in a fixed order."""
    return sorted((it for status in statuses for it in status_names[status]), key=_order)


def _order(status_name: StatusName) -> tuple[str, str]:
    return type(status_name).__name__, str(status_name)


def _named(
    kind: type[_Status], given: Mapping[Any, Given]
) -> dict[_Status, tuple[StatusName, ...]]:
    """Return the names of these statuses; the contract's words if none are given."""
    known = {status.value: status for status in kind}
    status_names: dict[_Status, tuple[StatusName, ...]] = {}
    taken: dict[str, _Status] = {}
    for name, value in (given or known).items():
        if name not in known:
            msg = f"{name!r} is no status: the statuses are {', '.join(known)}"
            raise ValueError(msg)
        status = known[name]
        status_names[status] = _listed(status, value)
        for status_name in map(str, status_names[status]):
            other = taken.setdefault(status_name, status)
            if other is not status:
                msg = (
                    f"{other.value} and {status.value} have one name, {status_name!r}: give each "
                    "status its own"
                )
                raise ValueError(msg)
    lacking = [name for name, status in known.items() if not status_names.get(status)]
    if lacking:
        msg = (
            f"no name is given for {', '.join(lacking)}: give one for every status, also for "
            "those that your table never has"
        )
        raise ValueError(msg)
    return status_names


def _listed(status: JobStatus | ContactStatus, given: object) -> tuple[StatusName, ...]:
    """Return the names of one status, each once and as a plain text or number."""
    several = [given]
    if isinstance(given, Sequence) and not isinstance(given, str | bytes):
        several = list(cast("Sequence[object]", given))
    listed: dict[StatusName, None] = {}
    for status_name in several:
        # A bool is an int in Python, but no status name.
        if isinstance(status_name, str) and "\0" not in status_name:
            listed[str(status_name)] = None
        elif isinstance(status_name, int) and not isinstance(status_name, bool):
            listed[int(status_name)] = None
        else:
            msg = f"a name of {status.value} must be a text or an integer, got {status_name!r}"
            raise ValueError(msg)
    return tuple(listed)
