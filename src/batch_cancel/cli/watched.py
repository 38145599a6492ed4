"""A scheduler and a hook that keep their faults for the report of a command."""

from __future__ import annotations

from typing import Any

import attrs

from batch_cancel import CancelResult
from batch_cancel.domain.cancellation import removal_of
from batch_cancel.domain.errors import SchedulerUnavailable
from batch_cancel.domain.statuses import Removal
from batch_cancel.ports import AsyncScheduler, Scheduler
from batch_cancel.use_cases.announcement import AsyncOnCancelled, OnCancelled
from batch_cancel.use_cases.kinds import returned, returned_async
from batch_cancel.use_cases.unexpected import described


@attrs.define
class _Kept:
    """The fault of a scheduler's last answer that confirmed nothing."""

    fault: str | None = attrs.field(default=None, kw_only=True)

    def _judged(self, answer: bool) -> bool:  # noqa: FBT001  # What a scheduler answers.
        if removal_of(answer) is Removal.PENDING:
            self.fault = f"it answered with {type(answer).__name__}, not with a bool"
        return answer


@attrs.define
class Watched(_Kept):
    """A scheduler whose fault is kept."""

    scheduler: Scheduler

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """Remove the deferred start."""
        try:
            answer = returned(self.scheduler.cancel(deferred_id, operation_id))
            return self._judged(answer)
        except Exception as error:
            self.fault = fault_of(error)
            raise


@attrs.define
class AsyncWatched(_Kept):
    """As `Watched`, awaited."""

    scheduler: AsyncScheduler

    async def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """As `Watched.cancel`, awaited."""
        try:
            answer = await returned_async(self.scheduler.cancel(deferred_id, operation_id))
            return self._judged(answer)
        except Exception as error:
            self.fault = fault_of(error)
            raise


@attrs.define
class Hook:
    """A hook whose failures are counted, and the last of them kept."""

    hook: OnCancelled
    failed: int = 0
    fault: str | None = None

    def __call__(self, result: CancelResult) -> object:
        """Call the hook."""
        try:
            answer: Any = self.hook(result)
            return returned(answer)
        except BaseException as error:
            self.failed += 1
            self.fault = described(error)
            raise


@attrs.define
class AsyncHook:
    """As `Hook`, awaited."""

    hook: AsyncOnCancelled
    failed: int = 0
    fault: str | None = None

    async def __call__(self, result: CancelResult) -> object:
        """As `Hook.__call__`, awaited."""
        try:
            answer: Any = self.hook(result)
            return await returned_async(answer)
        except BaseException as error:
            self.failed += 1
            self.fault = described(error)
            raise


def fault_of(error: Exception) -> str:
    """Return a fault in words."""
    if isinstance(error, SchedulerUnavailable):
        return error.reason
    return f"it raised {described(error)}"
