"""
Hand the deferred starts that are due to whatever runs them: a native store becomes a scheduler.

The pump claims what is due, gives each start to a callable of yours, which typically enqueues an
immediate task with your own broker, and acknowledges it once the callable has returned. One call
is one round: there is no loop and no clock in here. Yours is two lines, with a `threading.Event`:

    while not stopping.is_set():
        pump(store, deliver) or stopping.wait(1.0)

Delivery is at least once. What was not acknowledged within its lease (the callable raised, the
process died, the store was out of reach) is handed out again, to any pump; so the callable must
bear to be given the same start twice, as a compare-and-set from "scheduled" to "running" does.

A start whose delivery ends the process each time holds up no other: when the leases have ended,
the start that was in delivery comes after all others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Protocol

from batch_cancel.domain.defaults import PUMP_LEASE, PUMP_LIMIT
from batch_cancel.domain.deferred_start import Claimed, check_lease
from batch_cancel.domain.worker_rules import check_limit
from batch_cancel.use_cases import kinds, log
from batch_cancel.use_cases.run_blocking import (
    Blocking,
    BlockingHook,
    check_hook,
    check_starts,
    run,
)

Deliver = Callable[[Claimed], object]
"""Takes a start over; when it returns, the start is in good hands."""

AsyncDeliver = Callable[[Claimed], Awaitable[object] | object]
"""Takes a start over; when it returns, or what it returns was awaited, it is in good hands."""


class DeferredStore(Protocol):
    """What the pump needs of a native store."""

    def claim(self, limit: int, lease: timedelta, /) -> list[Claimed]:
        """
        Take the starts that are due, each for the time of `lease`.

        A start that is not acknowledged within its lease is handed out again, and comes last if
        it may have ended its owner: the pump delivers in the order of the list.
        """
        ...

    def ack(self, deferred_id: str, token: str, /) -> bool:
        """Finish a start that was claimed; False if the lease is no longer the caller's."""
        ...


class AsyncDeferredStore(Protocol):
    """What the pump needs of a native store."""

    async def claim(self, limit: int, lease: timedelta, /) -> list[Claimed]:
        """As `DeferredStore.claim`, awaited."""
        ...

    async def ack(self, deferred_id: str, token: str, /) -> bool:
        """As `DeferredStore.ack`, awaited."""
        ...


class _BlockingStarts(Blocking[DeferredStore]):
    """A store of deferred starts that looks awaited."""

    async def claim(self, limit: int, lease: timedelta, /) -> list[Claimed]:
        return kinds.returned(self.port.claim(limit, lease))

    async def ack(self, deferred_id: str, token: str, /) -> bool:
        return kinds.returned(self.port.ack(deferred_id, token))


def pump(
    store: DeferredStore,
    deliver: Deliver,
    *,
    limit: int = PUMP_LIMIT,
    lease: timedelta = PUMP_LEASE,
) -> int:
    """
    Deliver the starts that are due, one after the other, and acknowledge each.

    A start whose delivery raises an exception is left for its lease to end, and does not stop the
    others.

    Arguments:
        store: where the deferred starts wait.
        deliver: takes one start over.
        limit: how many to take at most.
        lease: within which all of them must be delivered; what takes longer is handed out again.

    Returns:
        the number of starts delivered.

    Raises:
        SchedulerUnavailable: the store did not answer when asked what is due.
        TypeError: `store` or `deliver` is of the wrong kind; nothing was asked of them.
        ValueError: `lease` is negative, or longer than a century; `limit` is not 0 to 1,000,000.
    """
    return run(pump_async(_BlockingStarts(store), BlockingHook(deliver), limit=limit, lease=lease))


async def pump_async(
    store: AsyncDeferredStore,
    deliver: AsyncDeliver,
    *,
    limit: int = PUMP_LIMIT,
    lease: timedelta = PUMP_LEASE,
) -> int:
    """As `pump`, awaited."""
    check_starts(store)
    check_hook(deliver)
    check_limit(limit)
    check_lease(lease)
    delivered = 0
    for start in await kinds.returned_async(store.claim(limit, lease)):
        try:
            await kinds.tell(deliver, start)
        except Exception as error:  # noqa: BLE001  # Whatever it is, the others are due as well.
            log.not_delivered(start, "was not delivered", error)
            continue
        delivered += 1
        try:
            await kinds.returned_async(store.ack(start.deferred_id, start.token))
        except Exception as error:  # noqa: BLE001  # It is handed out again, which is allowed for.
            log.not_delivered(start, "was delivered but not acknowledged", error)
    return delivered
