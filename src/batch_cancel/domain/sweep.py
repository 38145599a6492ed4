"""
The sweep: the contacts of a very large job are cancelled after the job, in chunks.

Rule 1: the job is cancelled first, alone (the flip): its record says that contacts are still to be
        swept. From then on no contact of it becomes open, so the open ones only get fewer.
Rule 2: a chunk and its count in the record are one transaction, so the count is exact at any
        moment, whoever sweeps and however often.
Rule 3: a chunk that found fewer contacts than it may take was the last. What it found decides,
        not what it cancelled: a worker may have claimed one of them meanwhile.
Rule 4: until then nothing is reported as done: no answer, and no `on_cancelled` hook.
"""

from __future__ import annotations

from typing import Final

import attrs

from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.job import CancellationRecord

EMPTY_MAX: Final = 100
"""How many chunks in a row may cancel no contact, because workers have claimed what they found."""

_GONE: Final = (
    "its record is gone: another cancellation of the job has replaced it, or something deletes "
    "records that are pending"
)
_STUCK: Final = (
    "its open contacts stay open, however often they are cancelled: look for a trigger, a rule or "
    "a policy on the contacts that keeps them"
)


@attrs.frozen
class Chunk:
    """
    One chunk of a sweep.

    Arguments:
        found: how many open contacts it found.
        cancelled: how many of them it cancelled.
        limit: how many it may find at most.
    """

    found: int
    cancelled: int
    limit: int

    @property
    def is_last(self) -> bool:
        """Whether no open contact is left after it."""
        return self.found < self.limit


def check_sweep_above(value: object) -> None:
    """
    Check how many contacts a store cancels in one transaction.

    Raises:
        TypeError: it is neither an int nor None.
        ValueError: it is less than 1.
    """
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        msg = f"sweep_above must be a number of contacts or None, got {type(value).__name__}"
        raise TypeError(msg)
    if value < 1:
        msg = f"sweep_above must be 1 or more contacts, or None for no sweep, got {value}"
        raise ValueError(msg)


@attrs.frozen
class Sweep:
    """
    How far the sweep of a cancellation got.

    Arguments:
        record: the record of the cancellation.
        empty: how many chunks in a row have cancelled no contact.
    """

    record: CancellationRecord
    empty: int = 0

    @property
    def is_pending(self) -> bool:
        """Whether another chunk is to be cancelled; none of a job that was set back."""
        return not (self.record.is_swept or self.record.is_undone)

    def found(self, current: CancellationRecord | None) -> Sweep:
        """
        Return the sweep as it is now.

        Arguments:
            current: the same cancellation as it was read now; None if it is gone.

        Raises:
            StoreFailed: it is gone, so that the count is not known.
        """
        if current is None:
            raise StoreFailed(_GONE)
        record = attrs.evolve(
            self.record,
            contacts_cancelled=current.contacts_cancelled,
            is_swept=current.is_swept,
            is_undone=current.is_undone,
        )
        return attrs.evolve(self, record=record)

    def after(self, chunk: Chunk) -> Sweep:
        """
        Return the sweep after a chunk.

        Raises:
            StoreFailed: too many chunks in a row have cancelled no contact.
        """
        empty = 0 if chunk.cancelled else self.empty + 1
        if empty > EMPTY_MAX:
            raise StoreFailed(_STUCK)
        record = attrs.evolve(
            self.record,
            contacts_cancelled=self.record.contacts_cancelled + chunk.cancelled,
            is_swept=chunk.is_last,
        )
        return Sweep(record, empty)
