"""A scheduler in memory."""

from __future__ import annotations

import threading
from collections.abc import Generator
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from batch_cancel.adapters.memory.clock import Clock, utc_now
from batch_cancel.adapters.memory.failures import Answering
from batch_cancel.domain import deferred_start
from batch_cancel.domain.deferred_start import Claimed, Deferred, DeferredState


def _fires_at(entry: tuple[str, Deferred]) -> datetime:
    return entry[1].at or datetime.max.replace(tzinfo=UTC)


class _DeferredStarts(Answering):
    """
    The deferred starts of a scheduler in memory; every step is atomic across threads.

    Arguments:
        clock: returns the time, as an aware datetime. It may be replaced later.
    """

    def __init__(self, *, clock: Clock = utc_now) -> None:
        super().__init__()
        self.clock = clock
        self._by_id: dict[str, Deferred] = {}
        self._lock = threading.Lock()

    def waiting(self) -> set[str]:
        """Return the ids of the deferred starts that wait to fire."""
        with self._lock:
            return {
                deferred_id
                for deferred_id, start in self._by_id.items()
                if start.state is DeferredState.DUE
            }

    def _waiting_among(self, deferred_ids: AbstractSet[str]) -> set[str]:
        with self._asked():
            return self.waiting() & deferred_ids

    def _schedule(self, deferred_id: str, at: datetime, payload: bytes) -> bool:
        deferred_start.check_schedulable(deferred_id, at)
        with self._asked(), self._lock:
            return self._put(
                deferred_id, deferred_start.schedule(self._by_id.get(deferred_id), at, payload)
            )

    def _cancel(self, deferred_id: str, operation_id: str) -> bool:
        with self._asked(), self._lock:
            self._put(
                deferred_id, deferred_start.cancel(self._by_id.get(deferred_id), operation_id)
            )
            return deferred_start.was_removed_by(self._by_id[deferred_id], operation_id)

    def _claim(self, limit: int, lease: timedelta) -> list[Claimed]:
        deferred_start.check_lease(lease)
        now, token = self.clock(), uuid4().hex
        with self._asked(), self._lock:
            due = [
                (deferred_id, start)
                for deferred_id, start in sorted(self._by_id.items(), key=_fires_at)
                if deferred_start.claim(start, now, token, now)
            ]
            starts = deferred_start.in_delivery_order(due[: max(limit, 0)])
            for starts_after, (deferred_id, start) in enumerate(reversed(starts)):
                ends_at = deferred_start.lease_end(now + lease, starts_after)
                self._put(deferred_id, deferred_start.claim(start, now, token, ends_at))
            return [Claimed(deferred_id, start.payload, token) for deferred_id, start in starts]

    def _ack(self, deferred_id: str, token: str) -> bool:
        with self._asked(), self._lock:
            return self._put(
                deferred_id, deferred_start.acknowledge(self._by_id.get(deferred_id), token)
            )

    def _put(self, deferred_id: str, start: Deferred | None) -> bool:
        if start is None:
            return False
        self._by_id[deferred_id] = start
        return True


class Answer:
    """
    A bool that may also be awaited.

    The asyncio scheduler returns it from `schedule`: code for a networked scheduler awaits the
    answer, a test need not.
    """

    def __init__(self, value: bool) -> None:  # noqa: FBT001  # The value is the whole object.
        self._value = value

    def __bool__(self) -> bool:
        return self._value

    def __await__(self) -> Generator[None, None, bool]:
        yield from ()
        return self._value


class MemoryScheduler(_DeferredStarts):
    """
    Deferred starts in memory.

    A test lets it fail: `stop_answering`, `answer_late`, `answer_again`.

    Arguments:
        clock: returns the time, as an aware datetime. It may be replaced later.
    """

    def schedule(self, deferred_id: str, at: datetime, payload: bytes = b"") -> bool:
        """
        Schedule a start, or move one that still waits.

        Arguments:
            deferred_id: its id.
            at: when to fire, an aware datetime.
            payload: passed to the owner that claims it.

        Returns:
            False if the id was ever cancelled, handed out or finished: then nothing changed.
        """
        return self._schedule(deferred_id, at, payload)

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """
        Remove the deferred start for good.

        Returns:
            True if this operation removed it before it fired; the same answer on every repeat.
        """
        return self._cancel(deferred_id, operation_id)

    def waiting_among(self, deferred_ids: AbstractSet[str]) -> set[str]:
        """Return those of the deferred starts that wait to fire."""
        return self._waiting_among(deferred_ids)

    def claim(self, limit: int, lease: timedelta) -> list[Claimed]:
        """
        Claim the starts that are due, each for the time of `lease`.

        A start that is not acknowledged within its lease is handed out again. Deliver them in the
        returned order: a start that may have crashed its last owner comes last.

        Raises:
            ValueError: `lease` is negative, or longer than a century.
        """
        return self._claim(limit, lease)

    def ack(self, deferred_id: str, token: str) -> bool:
        """Finish a claimed start; False if the caller no longer has the lease."""
        return self._ack(deferred_id, token)


class AsyncMemoryScheduler(_DeferredStarts):
    """As `MemoryScheduler`, awaited."""

    def schedule(self, deferred_id: str, at: datetime, payload: bytes = b"") -> Answer:
        """As `MemoryScheduler.schedule`."""
        # The start is scheduled whether this is awaited or not.
        return Answer(self._schedule(deferred_id, at, payload))

    async def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """As `MemoryScheduler.cancel`, awaited."""
        return self._cancel(deferred_id, operation_id)

    async def waiting_among(self, deferred_ids: AbstractSet[str]) -> set[str]:
        """As `MemoryScheduler.waiting_among`, awaited."""
        return self._waiting_among(deferred_ids)

    async def claim(self, limit: int, lease: timedelta) -> list[Claimed]:
        """As `MemoryScheduler.claim`, awaited."""
        return self._claim(limit, lease)

    async def ack(self, deferred_id: str, token: str) -> bool:
        """As `MemoryScheduler.ack`, awaited."""
        return self._ack(deferred_id, token)
