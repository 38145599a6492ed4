"""
What the generator puts into a schema, and what it knows of it: which row belongs to which job.

Rule 1: a row is known by `rid`, a column that no mapping names. A contact's `owner` is the `rid`
        of its job: nobody finds that out by a query over the mapped columns.
Rule 2: where the keys allow it, all organizations have jobs of the same ids, and all jobs contacts
        of the same ids.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Final, Literal

import attrs

from batch_cancel.testing.strategies import ENDED_CONTACTS, ENDED_JOBS, LIVE_JOBS, OPEN_CONTACTS

JOB_STATUSES: Final = (*LIVE_JOBS, *ENDED_JOBS)
CONTACT_STATUSES: Final = (*OPEN_CONTACTS, "dialing", *ENDED_CONTACTS)
UNKNOWN: Final = "weird"

JOBS: Final = {
    "scheduled": "scheduled",
    "pending": "pending",
    "running": "running",
    "joined": "running",
    "rolled back": "running",
    "ended": "completed",
    "work": "running",
    "finish": "running",
    "calling": "running",
    "start": "pending",
    "cancelled": "cancelled",
    "unknown": UNKNOWN,
    "deleted": "running",
}
"""The jobs of each organization, by what is done to them, and their statuses."""

Moment = Literal["none", "past", "future", "old", "new"]


@attrs.frozen
class JobRow:
    """A row of jobs as the generator made it."""

    rid: int
    role: str
    id: str
    organization: str | None
    reference: str
    """What its contacts hold: the id, or the surrogate key."""
    raw: str
    deferred: str
    is_deleted: bool
    created: str


@attrs.frozen
class ContactRow:
    """A row of contacts as the generator made it."""

    rid: int
    owner: JobRow
    id: str
    raw: str | None
    next_attempt: Moment
    updated: Moment
    since: Moment
    is_deleted: bool
    created: str


@attrs.frozen
class Ids:
    """
    How ids are made.

    Arguments:
        kind: of what type they are: text, number or uuid.
        per_organization: whether two organizations have jobs of the same ids.
        contacts: whether contact ids are unique in all, in the job's reference, in the job, or
            not even there.
    """

    kind: Literal["text", "number", "uuid"]
    per_organization: bool
    contacts: Literal["all", "reference", "job", "none"]

    def job(self, number: int, organization: int) -> str:
        """Return the id of a job."""
        return self._made("job", number + (0 if self.per_organization else 1000 * organization))

    def contact(self, rid: int, number: int, organization: int) -> str:
        """Return the id of a contact, the n-th of its job."""
        match self.contacts:
            case "all":
                number = rid
            case "reference" if self.per_organization:
                number += 1000 * (organization + 1)
            case "none" if number == len(_CONTACTS) - 1:
                number = 0
            case _:
                pass
        return self._made("c", number)

    def new_contact(self, number: int) -> str:
        """Return the id of a contact that is not there yet."""
        return self._made("new", 700_000 + number)

    def _made(self, prefix: str, number: int) -> str:
        match self.kind:
            case "text":
                return f"{prefix}-{number}"
            case "number":
                return str(number + 1)
            case "uuid":
                return f"00000000-0000-4000-8000-{number:012d}"


@attrs.frozen
class StatusNames:
    """The names of the statuses in a table: one or more for each, and one that is not mapped."""

    jobs: Mapping[str, tuple[str, ...]]
    contacts: Mapping[str, tuple[str, ...]]
    unmapped: tuple[str, ...]
    are_numbers: bool = False

    def job_status(self, raw: str | None) -> str:
        """Return the contract's word for what a row of jobs holds."""
        return _read(self.jobs, raw)

    def contact_status(self, raw: str | None) -> str:
        """Return the contract's word for what a row of contacts holds."""
        return _read(self.contacts, raw)


def _read(status_names: Mapping[str, tuple[str, ...]], raw: str | None) -> str:
    found = [status for status, each in status_names.items() if raw in each]
    return found[0] if found else UNKNOWN


def status_names(status_name: str, *, numbers: bool) -> StatusNames:
    """Return the status names of a kind: contract, own or several."""

    def of(statuses: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
        if numbers:
            return {
                status: (str(number), str(number + 50))[: 2 if status_name == "several" else 1]
                for number, status in enumerate(statuses, 1)
            }
        own = {status: f"It's {status.replace('_', ' ')} 100%" for status in statuses}
        match status_name:
            case "contract":
                return {status: (status,) for status in statuses}
            case "own":
                return {status: (own[status],) for status in statuses}
            case _:
                return {status: (own[status], f"also {status}") for status in statuses}

    unmapped: tuple[str, ...] = ("99",) if numbers else (UNKNOWN,)
    if status_name != "contract" and not numbers:
        unmapped = (*unmapped, "pending", "running")
    return StatusNames(of(JOB_STATUSES), of(CONTACT_STATUSES), unmapped, numbers)


@attrs.define
class World:
    """All rows, as they were made."""

    organizations: tuple[str | None, ...]
    ids: Ids
    status_names: StatusNames
    jobs: list[JobRow] = attrs.field(factory=list[JobRow])
    contacts: list[ContactRow] = attrs.field(factory=list[ContactRow])

    def job(self, role: str, organization: str | None) -> JobRow:
        """Return the job of an organization to which this is to be done."""
        return next(
            job for job in self.jobs if (job.role, job.organization) == (role, organization)
        )

    def of_rid(self, rid: int) -> JobRow:
        """Return the job of this row number."""
        return next(job for job in self.jobs if job.rid == rid)


_Raw = Callable[[Mapping[str, tuple[str, ...]], str | None], str | None]

_CONTACTS: Final[tuple[tuple[str | None, Moment, Moment, Moment], ...]] = (
    *((status, "none", "old", "old") for status in CONTACT_STATUSES if status != "dialing"),
    (UNKNOWN, "none", "old", "old"),
    (None, "none", "old", "old"),
    ("dialing", "none", "old", "new"),
    ("dialing", "none", "new", "old"),
    ("dialing", "none", "new", "new"),
    ("queued", "past", "old", "old"),
    ("timeout", "future", "old", "old"),
    ("pending", "none", "old", "old"),  # The last: it may have the id of the first.
)
"""Of each job: status, time of the next attempt, and how old `updated` and `since` are."""

_ENDED: Final = ("completed", "failed", "blocked", "cancelled")


def furnish(
    organizations: tuple[str | None, ...],
    ids: Ids,
    status_names: StatusNames,
    *,
    surrogate: bool,
    twin: tuple[str, str | None] | None = None,
    soft: bool,
    target: str | None,
) -> World:
    """
    Make the rows.

    Arguments:
        organizations: in this order; None is a job of no organization.
        ids: how ids are made.
        status_names: the names of each status; rows take those of a status in turn.
        surrogate: whether contacts hold a number of their own for the job.
        twin: the role and the organization of jobs of which there are two, of one name.
        soft: whether rows may be deleted ones.
        target: the organization that jobs for all roles are made for; the others have fewer.
    """
    world = World(organizations, ids, status_names)
    turns = itertools.count()

    def raw(among: Mapping[str, tuple[str, ...]], status: str | None) -> str | None:
        if status is None:
            return None
        each = status_names.unmapped if status == UNKNOWN else among[status]
        return each[next(turns) % len(each)]

    for place, organization in enumerate(organizations):
        for number, (role, status) in enumerate(JOBS.items()):
            if role == "deleted" and not soft:
                continue
            for copy in range(2 if (role, organization) == twin else 1):
                rid = len(world.jobs) + 1
                job_id = ids.job(number, place)
                job = JobRow(
                    rid=rid,
                    role=role if not copy else f"{role}, twin",
                    id=job_id,
                    organization=organization,
                    reference=str(5000 + rid) if surrogate else job_id,
                    raw=raw(status_names.jobs, status) or "",
                    deferred=f"start-{rid}",
                    is_deleted=role == "deleted",
                    created=f"{2019 if copy else 2022}-01-01 00:00:00+00",
                )
                world.jobs.append(job)
                _add_contacts(world, job, place, raw, soft=soft, few=organization != target)
    return world


def _add_contacts(
    world: World, job: JobRow, place: int, raw: _Raw, *, soft: bool, few: bool
) -> None:
    for number, (status, next_attempt, updated, since) in enumerate(_CONTACTS):
        if job.role in {"finish", "calling"} and status not in _ENDED:
            is_calling = job.role == "calling" and (updated, since) == ("new", "new")
            if not is_calling:
                continue
        if few and status not in {"pending", "queued", "dialing", "timeout", "cancelled"}:
            continue
        rid = len(world.contacts) + 1
        world.contacts.append(
            ContactRow(
                rid=rid,
                owner=job,
                id=world.ids.contact(rid, number + (500 if "twin" in job.role else 0), place),
                raw=raw(world.status_names.contacts, status),
                next_attempt=next_attempt,
                updated=updated,
                since=since,
                is_deleted=soft and number == 1,
                created=f"{2020 if number == len(_CONTACTS) - 1 else 2022}-01-01 "
                f"{rid // 3600:02}:{rid // 60 % 60:02}:{rid % 60:02}+00",
            )
        )
