"""What is known of the tables by whoever made them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import attrs

from tests.schemas.calls import Call, Dump, Row

OPEN: Final = frozenset({"pending", "queued", "no_answer", "busy", "timeout"})
RETRIED: Final = frozenset({"queued", "no_answer", "busy", "timeout"})
LIVE: Final = frozenset({"scheduled", "pending", "running"})
ENDED: Final = frozenset({"completed", "failed", "cancelled"})


@attrs.frozen
class Knowledge:
    """
    What is known of the tables by whoever made them.

    Arguments:
        job_status: the contract's word for what a row of jobs holds; anything else is unknown.
        contact_status: likewise.
        written: what the library writes for a status of a job, and of a contact: the first one.
        versions: whether version columns are mapped.
        touched: the columns of a changed row that may change with it.
        stale: since when a call counts as dead: "since", "updated", or None if nobody can know.
        has_times: whether the time of the next attempt is mapped.
        has_deferred: whether the id of the deferred start is mapped.
        is_deleted: what a deleted row holds in `deleted`.
        organization_of_contacts: whether a contact holds its organization, mapped.
        names: the id and the organization that the library is to call a job by, by its row.
        references: what a contact of a job holds for it, by the job's row.
        old: the rows of contacts that have not changed for long, by how one can know.
        later: the rows of contacts that are not due yet.
        hides_cancelled: whether a cancelled job is not to be seen, and so is not there.
        may_pass_over: whether there are contacts that may be seen and not changed; a claim passes
            over them as over locked ones.
    """

    job_status: Callable[[str | None], str]
    contact_status: Callable[[str | None], str]
    written: Callable[[str, str], str]
    versions: bool
    touched: Mapping[str, frozenset[str]]
    stale: str | None
    has_times: bool
    has_deferred: bool
    is_deleted: Callable[[str | None], bool]
    organization_of_contacts: bool
    names: Mapping[str, tuple[str, str | None]]
    references: Mapping[str, str]
    old: Mapping[str, frozenset[str]]
    later: frozenset[str]
    hides_cancelled: bool
    may_pass_over: bool


def is_hidden(row: Row, known: Knowledge) -> bool:
    """Return whether a job is none to whoever asks through this mapping."""
    if known.is_deleted(row.get("deleted")):
        return True
    return known.hides_cancelled and known.job_status(row["status"]) == "cancelled"


def is_replay(call: Call, before: Dump, known: Knowledge) -> bool:
    """Return whether this very operation has cancelled the job before."""
    record = before["cancellations"].get(record_of(call, known))
    if call.job is None or is_hidden(before["jobs"][str(call.job)], known):
        return False
    return call.step == "cancel" and (record or {}).get("operation_id") == call.operation_id


def record_of(call: Call, known: Knowledge) -> str:
    """Return the row of cancellations that is the record of this job."""
    if call.job is None:
        return ""
    job_id, organization = known.names[str(call.job)]
    return f"{organization or ''}\n{job_id}"
