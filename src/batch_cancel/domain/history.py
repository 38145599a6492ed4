"""
The history of cancellations: in which order, and where a page begins.

Rule 1: the newest comes first. Of one moment, the ids decide, so that every record has a place.
Rule 2: a page begins after the last record of the page before it (keyset), not after a number of
        rows: what is added or forgotten meanwhile moves nothing.
Rule 3: a record is forgotten once it owes nothing, and no client asks again for its answer.
Rule 4: no organization is a value of its own, and never a wildcard.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Self, cast

import attrs
from attrs import validators

from batch_cancel.domain.cancellation import owes
from batch_cancel.domain.job import (
    ID_BYTES_MAX,
    CancellationRecord,
    check_text,
    is_storable,
    is_text,
)

_CENTURY: Final = timedelta(days=36_525)

_NO_PLACE: Final = "after must be the `next` of an earlier page"


@attrs.frozen(order=True)
class Place:
    """
    The place of a record in the history of its organization; the later one is the greater.

    Arguments:
        cancelled_at: when the job was cancelled.
        batch_job_id: the job.
        operation_id: the cancellation.
    """

    cancelled_at: datetime
    batch_job_id: str
    operation_id: str

    @classmethod
    def of(cls, record: CancellationRecord) -> Self:
        """Return the place of a record."""
        return cls(record.cancelled_at, record.key.batch_job_id, record.operation_id)

    @classmethod
    def read(cls, token: str) -> Self:
        """
        Read the token of a place.

        Raises:
            TypeError: it is no text.
            ValueError: it is none.
        """
        check_text("after", token)
        try:
            parts: object = json.loads(urlsafe_b64decode(token.encode()))
            at, job_id, operation_id = cast("list[object]", parts)
            place = cls(datetime.fromisoformat(_text(at)), _text(job_id), _text(operation_id))
        except (ValueError, TypeError) as error:
            raise ValueError(_NO_PLACE) from error
        if place.cancelled_at.utcoffset() is None:
            raise ValueError(_NO_PLACE)
        return place

    @property
    def token(self) -> str:
        """The place as a text that a client may keep, and that fits into a URL."""
        parts = [self.cancelled_at.isoformat(), self.batch_job_id, self.operation_id]
        return urlsafe_b64encode(json.dumps(parts).encode()).decode()


def _text(part: object) -> str:
    if not isinstance(part, str) or not is_storable(part, ID_BYTES_MAX):
        raise ValueError(_NO_PLACE)  # A wrong token, whatever is wrong in it.
    return part


def _is_aware(_: object, attribute: attrs.Attribute[datetime], value: datetime) -> None:
    if value.utcoffset() is None:
        msg = f"{attribute.name} must be an aware datetime, got {value!r}"
        raise ValueError(msg)


_MOMENT: Final = validators.optional(validators.and_(validators.instance_of(datetime), _is_aware))


@attrs.frozen
class Wanted:
    """
    What of the history is asked for.

    Arguments:
        organization_id: whose jobs; None for those of no organization.
        since: only cancellations of this moment or later; None for all.
        until: only cancellations before this moment; None for all.
        after: the last record of the page before; None for the first page.

    Raises:
        TypeError: the organization is no text, or a moment no datetime.
        ValueError: a moment without a time zone.
    """

    organization_id: str | None = attrs.field(validator=validators.optional(is_text))
    since: datetime | None = attrs.field(default=None, validator=_MOMENT)
    until: datetime | None = attrs.field(default=None, validator=_MOMENT)
    after: Place | None = None

    def holds(self, record: CancellationRecord) -> bool:
        """Check whether a record is among what is asked for."""
        at = record.cancelled_at
        return (
            record.key.organization_id == self.organization_id
            and (self.since is None or at >= self.since)
            and (self.until is None or at < self.until)
            and (self.after is None or Place.of(record) < self.after)
        )


def check_forgetting(before: object, retry_window: object) -> None:
    """
    Refuse to forget where it is not said sensibly what.

    Raises:
        TypeError: `before` is no datetime, or `retry_window` no timedelta.
        ValueError: `before` has no time zone; `retry_window` is negative, or more than a century.
    """
    if not isinstance(before, datetime):
        msg = f"before must be a datetime, got {type(before).__name__}"
        raise TypeError(msg)
    if before.utcoffset() is None:
        msg = f"before must be an aware datetime, got {before!r}"
        raise ValueError(msg)
    if not isinstance(retry_window, timedelta):
        msg = f"retry_window must be a timedelta, got {type(retry_window).__name__}"
        raise TypeError(msg)
    if not timedelta(0) <= retry_window <= _CENTURY:
        msg = f"retry_window must be 0 to a century, got {retry_window}"
        raise ValueError(msg)


def is_forgettable(record: CancellationRecord, before: datetime) -> bool:
    """Check whether the record of a job's cancellation may be deleted, if older ones may."""
    return record.cancelled_at < before and not owes(record, announcements=True)


@attrs.frozen
class CancellationPage:
    """
    One page of the history.

    Arguments:
        records: the cancellations, the newest first.
        next: what to pass as `after` for the page after this one; None if this is the last.
    """

    records: tuple[CancellationRecord, ...]
    next: str | None


def page(found: Sequence[CancellationRecord], limit: int) -> CancellationPage:
    """
    Return a page of what was found.

    Arguments:
        found: up to one record more than the page holds, to see whether there is another page.
        limit: how many it holds at most.
    """
    records = tuple(found[:limit])
    has_more = len(found) > limit
    return CancellationPage(records, Place.of(records[-1]).token if has_more else None)
