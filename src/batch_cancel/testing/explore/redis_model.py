"""
The scheduler as Redis keeps it: each operation in one step, as a script in Redis runs.

The rules are those of `domain/deferred_start.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from batch_cancel.domain import deferred_start
from batch_cancel.domain.deferred_start import Claimed, Deferred, DeferredState
from batch_cancel.domain.statuses import JobStatus
from batch_cancel.testing.explore.rows import (
    LATER,
    NOW,
    First,
)
from batch_cancel.testing.explore.steps import (
    Ask,
    Starts,
)


class ExploredScheduler:
    """
    Where deferred starts wait; also the store that a pump asks for what is due.

    Arguments:
        token: names the leases that this actor is given.
    """

    def __init__(self, token: str) -> None:
        self._token = token

    async def cancel(self, deferred_id: str, operation_id: str, /) -> bool:
        """Remove the deferred start for good."""
        return await Ask(
            f"takes back {deferred_id}",
            lambda starts: _cancelled(starts, deferred_id, operation_id),
        )

    async def cancel_many(self, starts: Sequence[tuple[str, str]], /) -> Sequence[bool]:
        """Remove the deferred starts for good, all at one moment."""

        def do(now: Starts) -> tuple[Starts, tuple[bool, ...]]:
            removed = list[bool]()
            for deferred_id, operation_id in starts:
                now, is_removed = _cancelled(now, deferred_id, operation_id)
                removed.append(is_removed)
            return now, tuple(removed)

        return await Ask(f"takes back {len(starts)} at once", do)

    async def schedule(self, deferred_id: str, at: datetime) -> bool:
        """Schedule a start, or move one that still waits."""

        def do(starts: Starts) -> tuple[Starts, bool]:
            states = dict(starts)
            state = deferred_start.schedule(states.get(deferred_id), at, b"")
            return _with(states, deferred_id, state), state is not None

        return await Ask(f"schedules {deferred_id}", do)

    async def claim(self, limit: int, _lease: timedelta, /) -> list[Claimed]:
        """Take the starts that are due; a lease may run out at any moment."""

        def do(starts: Starts) -> tuple[Starts, tuple[str, ...]]:
            states, claimed = dict(starts), list[str]()
            for deferred_id, state in starts:
                handed_out = deferred_start.claim(state, NOW, self._token, NOW)
                if handed_out and len(claimed) < limit:
                    states[deferred_id] = handed_out
                    claimed.append(deferred_id)
            return tuple(sorted(states.items(), key=_by_id)), tuple(claimed)

        return [Claimed(it, b"", self._token) for it in await Ask("takes what is due", do)]

    async def ack(self, deferred_id: str, token: str, /) -> bool:
        """Finish a start that was claimed."""

        def do(starts: Starts) -> tuple[Starts, bool]:
            states = dict(starts)
            state = deferred_start.acknowledge(states.get(deferred_id), token)
            return _with(states, deferred_id, state), state is not None

        return await Ask(f"acknowledges {deferred_id}", do)


def _cancelled(starts: Starts, deferred_id: str, operation_id: str) -> tuple[Starts, bool]:
    states = dict(starts)
    state = deferred_start.cancel(states.get(deferred_id), operation_id)
    after = _with(states, deferred_id, state)
    return after, deferred_start.was_removed_by(dict(after)[deferred_id], operation_id)


def _by_id(start: tuple[str, Deferred]) -> str:
    return start[0]


def _with(states: dict[str, Deferred], deferred_id: str, state: Deferred | None) -> Starts:
    if state is not None:
        states[deferred_id] = state
    return tuple(sorted(states.items(), key=_by_id))


def first_starts(job: First, second: First | None = None) -> Starts:
    """Return what waits at the beginning; all starts but that of the first job are for later."""
    starts = {"start-of-theirs": Deferred(DeferredState.DUE, LATER)}
    for first, at in ((job, NOW), (second, LATER)):
        if first is not None and first.deferred_id is not None:
            is_waiting = first.status == JobStatus.SCHEDULED
            fired = Deferred(DeferredState.FINISHED)
            starts[first.deferred_id] = Deferred(DeferredState.DUE, at) if is_waiting else fired
    return tuple(sorted(starts.items(), key=_by_id))
