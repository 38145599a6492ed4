r"""
The life of a deferred start in a native store, as pure functions.

    (none) --schedule--> DUE --claim--> CLAIMED --ack--> FINISHED
       |                  |  \__cancel__  |  \__cancel__
       |               schedule         | claim, once     |
       +--cancel--> BARRED       \     its lease ended    |
                             CANCELLED             CANCELLED_LATE

Rule 1: only a start that was not handed out yet can be taken back. The cancel that takes it back
        gets True, and gets True again when it repeats.
Rule 2: a cancel is permanent. A cancelled start is never scheduled and never handed out again,
        even if it was cancelled before it was scheduled.
Rule 3: a start is handed out to one owner at a time. If it is not acknowledged within the lease,
        it is handed out again.
Rule 4: a start that crashes its owner does not block others. Starts of one claim are delivered in
        order, so the first one left of a claim may have crashed its owner: it comes last when it
        is handed out again.

Every function returns the next state, or None if the state does not change. Each store keeps the
states in its own way; a store whose server runs a script repeats these rules there, and is tested
against them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import attrs

from batch_cancel.domain.defaults import CENTURY
from batch_cancel.domain.job import ID_BYTES_MAX, is_storable


class DeferredState(StrEnum):
    """The state of a deferred start."""

    DUE = "due"
    """Waiting for its time, or for a claim."""

    CLAIMED = "claimed"
    """Handed out; the owner holds a lease."""

    CANCELLED = "cancelled"
    """Taken back before it fired."""

    CANCELLED_LATE = "cancelled_late"
    """Cancelled after it was handed out: it has fired, but is not handed out again."""

    BARRED = "barred"
    """Cancelled before it was ever scheduled."""

    FINISHED = "finished"
    """Handed out, and acknowledged."""


@attrs.frozen
class Deferred:
    """
    A deferred start.

    Arguments:
        state: its state.
        at: DUE: when to fire. CLAIMED: when the lease ends.
        payload: passed to its owner.
        token: CLAIMED: the name of the lease.
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
        payload: what was scheduled with it; left out of the repr, since it may hold personal data.
        token: the name of the lease; pass it to `ack`.
    """

    deferred_id: str
    payload: bytes = attrs.field(repr=False)
    token: str


def check_lease(lease: object) -> None:
    """
    Check that a lease is valid.

    Raises:
        TypeError: `lease` is not a timedelta.
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
    Check that a start can be stored.

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
    """Schedule a start, or move one that is still due."""
    if current is None or current.state is DeferredState.DUE:
        return Deferred(DeferredState.DUE, at=at, payload=payload)
    return None


def cancel(current: Deferred | None, operation_id: str) -> Deferred | None:
    """Cancel a start in any state; `was_removed_by` then returns the answer."""
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
    """Hand out a start that is due, or whose lease has ended."""
    if current.state not in {DeferredState.DUE, DeferredState.CLAIMED}:
        return None
    if current.at is None or current.at > now:
        return None
    return Deferred(DeferredState.CLAIMED, lease_ends_at, current.payload, token)


def in_delivery_order(starts: Sequence[tuple[str, Deferred]]) -> list[tuple[str, Deferred]]:
    """
    Sort the starts of one claim into their order of delivery.

    The order is kept, but the first start of each claim whose lease has ended comes last.

    Arguments:
        starts: id and start, before they are handed out, in the order of `Deferred.at`.
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
    Return when the lease of one start ends, so that leases of one claim end in their order.

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
