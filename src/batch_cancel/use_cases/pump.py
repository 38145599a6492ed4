"""
Deliver the due deferred starts of a native store to your own code.

The pump claims the starts that are due, passes each to your callable, which typically enqueues a
task with your own broker, and acknowledges it once the callable has returned. One call is one
round. The loop is yours, with a `threading.Event`:

    while not stopping.is_set():
        pump(store, deliver) or stopping.wait(1.0)

Delivery is at least once. A start that is not acknowledged within its lease (the callable raised,
the process died, the store was out of reach) is handed out again, to any pump. So the callable
must tolerate the same start twice, as a compare-and-set from "scheduled" to "running" does.

A start whose delivery always crashes the process does not block others: once the leases have
ended, the start that was being delivered comes after all others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Protocol

from batch_cancel.domain.defaults import PUMP_LEASE, PUMP_LIMIT
from batch_cancel.domain.deferred_start import Claimed, check_lease
from batch_cancel.domain.worker_rules import check_limit
from batch_cancel.use_cases import kinds, log
from batch_cancel.use_cases.awaited_repositories import Blocking
from batch_cancel.use_cases.run_blocking import (
    BlockingHook,
    check_hook,
    check_starts,
    own,
    run,
)

Deliver = Callable[[Claimed], object]
"""Delivers a start; the start is acknowledged once it has returned."""

AsyncDeliver = Callable[[Claimed], Awaitable[object] | object]
"""Delivers a start; the start is acknowledged once its answer was awaited."""


class DeferredStore(Protocol):
    """The methods of a native store that the pump calls."""

    def claim(self, limit: int, lease: timedelta, /) -> list[Claimed]:
        """
        Claim the starts that are due, each for the time of `lease`.

        A start that is not acknowledged within its lease is handed out again, last of all if it
        may have crashed its owner: the pump delivers in the order of the list.
        """
        ...

    def ack(self, deferred_id: str, token: str, /) -> bool:
        """Finish a claimed start; False if the caller no longer has the lease."""
        ...


class AsyncDeferredStore(Protocol):
    """The methods of a native store that the pump calls."""

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

    A start whose delivery raises an exception is handed out again once its lease has ended; the
    others are delivered.

    Arguments:
        store: the store of the deferred starts.
        deliver: delivers one start.
        limit: how many to claim at most.
        lease: the time in which all of them must be delivered; later ones are handed out again.

    Returns:
        the number of starts delivered.

    Raises:
        SchedulerUnavailable: the store did not answer to the claim.
        TypeError: `store` or `deliver` is of the wrong kind; neither was called.
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
    kinds.check_callable(own(deliver), "deliver")
    check_hook(deliver)
    check_limit(limit)
    check_lease(lease)
    delivered = 0
    for start in await kinds.returned_async(store.claim(limit, lease)):
        try:
            await kinds.call_hook(deliver, start)
        except Exception as error:  # noqa: BLE001  # The other starts are still delivered.
            log.not_delivered(start, "was not delivered", error)
            continue
        delivered += 1
        try:
            await kinds.returned_async(store.ack(start.deferred_id, start.token))
        except Exception as error:  # noqa: BLE001  # It is handed out again, as documented.
            log.not_delivered(start, "was delivered but not acknowledged", error)
    return delivered
