"""
The history of cancellations: its order, its pages, and what may be forgotten.

Rule 1: the newest record comes first. Records of the same time are ordered by their ids, so the
        order is total.
Rule 2: a page begins after the last record of the page before it (keyset), not after a number of
        rows: a record that is added or forgotten in between does not shift the pages.
Rule 3: a record is forgotten once it has nothing pending, and no client retries its operation.
Rule 4: organization None is a value of its own, and never a wildcard.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Self, cast

import attrs
from attrs import validators

from batch_cancel.domain.cancellation import is_pending
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
            TypeError: it is not a text.
            ValueError: it is not a token.
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
        """The place as a text that is safe in a URL."""
        parts = [self.cancelled_at.isoformat(), self.batch_job_id, self.operation_id]
        return urlsafe_b64encode(json.dumps(parts).encode()).decode()


def _text(part: object) -> str:
    if not isinstance(part, str) or not is_storable(part, ID_BYTES_MAX):
        raise ValueError(_NO_PLACE)  # One sentence for every kind of wrong token.
    return part


def _is_aware(_: object, attribute: attrs.Attribute[datetime], value: datetime) -> None:
    if value.utcoffset() is None:
        msg = f"{attribute.name} must be an aware datetime, got {value!r}"
        raise ValueError(msg)


_MOMENT: Final = validators.optional(validators.and_(validators.instance_of(datetime), _is_aware))


@attrs.frozen
class Wanted:
    """
    The records of the history that are wanted.

    Arguments:
        organization_id: whose jobs; None for jobs without an organization.
        since: only cancellations at this time or later; None for all.
        until: only cancellations before this time; None for all.
        after: the last record of the page before; None for the first page.

    Raises:
        TypeError: the organization is not a text, or a time is not a datetime.
        ValueError: a time has no time zone.
    """

    organization_id: str | None = attrs.field(validator=validators.optional(is_text))
    since: datetime | None = attrs.field(default=None, validator=_MOMENT)
    until: datetime | None = attrs.field(default=None, validator=_MOMENT)
    after: Place | None = None

    def holds(self, record: CancellationRecord) -> bool:
        """Check whether a record is wanted."""
        at = record.cancelled_at
        return (
            record.key.organization_id == self.organization_id
            and (self.since is None or at >= self.since)
            and (self.until is None or at < self.until)
            and (self.after is None or Place.of(record) < self.after)
        )


def check_forgetting(before: object, retry_window: object) -> None:
    """
    Check the arguments of `forget`.

    Raises:
        TypeError: `before` is not a datetime, or `retry_window` not a timedelta.
        ValueError: `before` has no time zone; `retry_window` is negative, or more than a century.
    """
    if not isinstance(before, datetime):
        msg = f"before must be a datetime, got {type(before).__name__}"
        raise TypeError(msg)
    if before.utcoffset() is None:
        msg = f"before must be an aware datetime, got {before!r}"
        raise ValueError(msg)
    check_retry_window(retry_window)


def check_retry_window(retry_window: object) -> None:
    """
    Check for how long records are kept.

    Raises:
        TypeError: it is not a timedelta.
        ValueError: it is negative, or more than a century.
    """
    if not isinstance(retry_window, timedelta):
        msg = f"retry_window must be a timedelta, got {type(retry_window).__name__}"
        raise TypeError(msg)
    if not timedelta(0) <= retry_window <= _CENTURY:
        msg = f"retry_window must be 0 to a century, got {retry_window}"
        raise ValueError(msg)


def is_forgettable(record: CancellationRecord, before: datetime) -> bool:
    """Check whether a job's record may be deleted, if those before this time may."""
    return record.cancelled_at < before and not is_pending(record, announcements=True)


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
    Return a page of the records that were found.

    Arguments:
        found: up to one record more than the page holds, which shows that there is another page.
        limit: how many the page holds at most.
    """
    records = tuple(found[:limit])
    has_more = len(found) > limit
    return CancellationPage(records, Place.of(records[-1]).token if has_more else None)
