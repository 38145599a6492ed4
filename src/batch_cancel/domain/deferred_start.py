r"""
The life of a deferred start in a native store, as pure functions.

    (none) --schedule--> DUE --claim--> CLAIMED --ack--> FINISHED
       |                  |  \__cancel__  |  \__cancel__
       |               schedule         | claim, once     |
       +--cancel--> BARRED       \     its lease ended    |
                             CANCELLED             CANCELLED_LATE

Rule 1: only a start that is due in the future or now, and was not handed out, can be taken back:
        the cancel that does so is told True, and is told True again when it repeats.
Rule 2: cancelling is for ever. What was cancelled is never scheduled and never handed out again,
        and neither is an id that was cancelled before anybody scheduled it.
Rule 3: a start is handed out to one owner at a time; if it is not finished within the lease, it is
        handed out again.
Rule 4: a start that ends its owner's process holds up no other. What is handed out together is
        delivered in that order, so the first that is left of a claim may have ended its owner: it
        comes last when it is handed out again.

Every function gives the next state, or None where nothing changes. The stores keep the states,
each in its own way; a store that runs a script on its server repeats these rules there, and is
tested against them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import attrs

from batch_cancel.domain.defaults import CENTURY
from batch_cancel.domain.job import ID_BYTES_MAX, is_storable


class DeferredState(StrEnum):
    """Where in its life a deferred start is."""

    DUE = "due"
    """Waiting for its time, or for somebody to claim it."""

    CLAIMED = "claimed"
    """Handed out; the owner holds a lease."""

    CANCELLED = "cancelled"
    """Taken back before it fired."""

    CANCELLED_LATE = "cancelled_late"
    """Cancelled after it was handed out: it has fired, and is not handed out again."""

    BARRED = "barred"
    """Cancelled before it was ever scheduled."""

    FINISHED = "finished"
    """Handed out, and acknowledged."""


@attrs.frozen
class Deferred:
    """
    A deferred start.

    Arguments:
        state: where in its life it is.
        at: DUE: when to fire. CLAIMED: when the lease ends.
        payload: what its owner is given.
        token: CLAIMED: names the lease.
        operation_id: cancelled or barred: the operation that did it.
    """

    state: DeferredState
    at: datetime | None = None
    payload: bytes = attrs.field(default=b"", repr=False)
    token: str | None = None
    operation_id: str | None = None


@attrs.frozen
class Claimed:
    """
    A deferred start that was handed out.

    Arguments:
        deferred_id: its id.
        payload: what was scheduled with it; not in the repr, for it may hold personal data.
        token: names the lease; show it to acknowledge.
    """

    deferred_id: str
    payload: bytes = attrs.field(repr=False)
    token: str


def check_lease(lease: object) -> None:
    """
    Refuse a lease that makes no sense.

    Raises:
        TypeError: `lease` is no timedelta.
        ValueError: `lease` is negative, or longer than a century.
    """
    if not isinstance(lease, timedelta):
        msg = f"lease must be a timedelta, got {type(lease).__name__}"
        raise TypeError(msg)
    if not timedelta(0) <= lease <= CENTURY:
        msg = f"lease must not be negative, and at most {CENTURY.days} days, got {lease}"
        raise ValueError(msg)


def check_schedulable(deferred_id: str, at: datetime) -> None:
    """
    Refuse what no store could keep.

    Raises:
        ValueError: an id that is not 1 to 1024 bytes of UTF-8 without NUL, or a naive datetime.
    """
    if not is_storable(deferred_id, ID_BYTES_MAX):
        msg = f"a deferred id must be 1 to {ID_BYTES_MAX} bytes of UTF-8 without NUL"
        raise ValueError(msg)
    if at.utcoffset() is None:
        msg = f"`at` must be an aware datetime, got {at!r}"
        raise ValueError(msg)


def schedule(current: Deferred | None, at: datetime, payload: bytes) -> Deferred | None:
    """Schedule a start, or move one that still waits."""
    if current is None or current.state is DeferredState.DUE:
        return Deferred(DeferredState.DUE, at=at, payload=payload)
    return None


def cancel(current: Deferred | None, operation_id: str) -> Deferred | None:
    """Cancel a start, whatever its state; `was_removed_by` then tells the answer."""
    match current.state if current else None:
        case None:
            state = DeferredState.BARRED
        case DeferredState.DUE:
            state = DeferredState.CANCELLED
        case DeferredState.CLAIMED:
            state = DeferredState.CANCELLED_LATE
        case _:
            return None
    return Deferred(state, operation_id=operation_id)


def was_removed_by(current: Deferred, operation_id: str) -> bool:
    """Check whether this operation took the start back before it fired."""
    return current.state is DeferredState.CANCELLED and current.operation_id == operation_id


def claim(
    current: Deferred, now: datetime, token: str, lease_ends_at: datetime
) -> Deferred | None:
    """Hand out a start that is due, or whose last owner let its lease end."""
    if current.state not in {DeferredState.DUE, DeferredState.CLAIMED}:
        return None
    if current.at is None or current.at > now:
        return None
    return Deferred(DeferredState.CLAIMED, lease_ends_at, current.payload, token)


def in_delivery_order(starts: Sequence[tuple[str, Deferred]]) -> list[tuple[str, Deferred]]:
    """
    Sort starts that are handed out together into the order in which they are to be delivered.

    The order stays as it is, but the first start of each claim whose lease ended comes last.

    Arguments:
        starts: by id, as they are before they are handed out; in the order of `Deferred.at`.
    """
    trusted: list[tuple[str, Deferred]] = []
    suspects: list[tuple[str, Deferred]] = []
    tokens: set[str | None] = {None}
    for deferred_id, start in starts:
        (trusted if start.token in tokens else suspects).append((deferred_id, start))
        tokens.add(start.token)
    return trusted + suspects


def lease_end(lease_ends_at: datetime, starts_after: int) -> datetime:
    """
    Return when the lease of one start ends, so that starts claimed together lapse in their order.

    Arguments:
        lease_ends_at: when the lease of the last one ends.
        starts_after: how many are delivered after this one.
    """
    return lease_ends_at - starts_after * timedelta(microseconds=1)


def acknowledge(current: Deferred | None, token: str) -> Deferred | None:
    """Finish a start; only the owner of its lease can."""
    if current is None or current.state is not DeferredState.CLAIMED or current.token != token:
        return None
    return Deferred(DeferredState.FINISHED)
