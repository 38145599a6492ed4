"""A scheduler and a hook that keep their faults for the report of a command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import attrs

from batch_cancel import CancelResult
from batch_cancel.domain.cancellation import removal_of
from batch_cancel.domain.errors import SchedulerUnavailable
from batch_cancel.domain.statuses import Removal
from batch_cancel.ports import AsyncBulkScheduler, AsyncScheduler
from batch_cancel.use_cases.announcement import AsyncOnCancelled
from batch_cancel.use_cases.kinds import call_hook, returned_async
from batch_cancel.use_cases.run_blocking import removes_many
from batch_cancel.use_cases.unexpected import described


class Stopped(BaseException):
    """A pass of reconcile was asked to stop before it is finished."""


def go_on() -> None:
    """Let the pass go on."""


@attrs.define
class Watched:
    """
    A scheduler; `fault` is the fault of its last answer that confirmed nothing.

    Arguments:
        scheduler: the scheduler.
        check: called before the scheduler is; it raises `Stopped` to end the pass.
    """

    scheduler: AsyncScheduler
    check: Callable[[], None] = go_on
    fault: str | None = None

    async def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """Remove the deferred start."""
        self.check()
        try:
            answer = await returned_async(self.scheduler.cancel(deferred_id, operation_id))
        except Exception as error:
            self.fault = fault_of(error)
            raise
        if removal_of(answer) is Removal.PENDING:
            self.fault = f"it answered with {type(answer).__name__}, not with a bool"
        return answer


class WatchedTogether(Watched):
    """As `Watched`, of a scheduler that removes many at once."""

    async def cancel_many(self, starts: Sequence[tuple[str, str]]) -> Sequence[bool | None]:
        """Remove many deferred starts; each that is not confirmed is asked for alone."""
        self.check()
        scheduler = cast("AsyncBulkScheduler", self.scheduler)
        return await returned_async(scheduler.cancel_many(starts))


def watched(scheduler: AsyncScheduler, check: Callable[[], None] = go_on) -> Watched:
    """Return a scheduler that keeps its faults; arguments as those of `Watched`."""
    kind = Watched if removes_many(scheduler) is None else WatchedTogether
    return kind(scheduler, check)


@attrs.define
class Hook:
    """
    A hook whose failures are counted, and the last of them kept.

    Arguments:
        hook: the hook.
        check: called before the hook is; it raises `Stopped` to end the pass.
    """

    hook: AsyncOnCancelled
    check: Callable[[], None] = go_on
    failed: int = 0
    fault: str | None = None

    async def __call__(self, result: CancelResult) -> None:
        """Call the hook."""
        self.check()
        try:
            await call_hook(self.hook, result)
        except BaseException as error:
            self.failed += 1
            self.fault = described(error)
            raise


def fault_of(error: Exception) -> str:
    """Return a fault in words."""
    if isinstance(error, SchedulerUnavailable):
        return error.reason
    return f"it raised {described(error)}"
