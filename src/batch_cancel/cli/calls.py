"""
The use cases as the commands call them, on a blocking or an asyncio application.

Each command is one coroutine, so that an asyncio application runs it under one event loop. On a
blocking application it runs without any, as in `batch_cancel.use_cases.run_blocking`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Protocol, runtime_checkable

import attrs

from batch_cancel import (
    CancelResult,
    Drift,
    JobKey,
    JobNotFound,
    cancel_job_async,
    expire_calls_async,
    inspect_async,
    reconcile_async,
)
from batch_cancel.cli.store_calls import StoreCalls
from batch_cancel.cli.watched import Hook, fault_of, go_on, watched
from batch_cancel.domain.defaults import CALL_AGE_SUSPECT
from batch_cancel.domain.diagnosis import Diagnosis
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS, Removal
from batch_cancel.ports import (
    AsyncInspectableScheduler,
    AsyncScheduler,
    InspectableScheduler,
    Scheduler,
    UnitOfWork,
)
from batch_cancel.use_cases.announcement import AsyncOnCancelled, OnCancelled
from batch_cancel.use_cases.kinds import opened_async, returned, returned_async
from batch_cancel.use_cases.run_blocking import (
    BlockingHook,
    BlockingInspectable,
    BlockingScheduler,
    BlockingStore,
    own,
)

_NOBODY: Final = frozenset({"batch-cancel check"})
"""A deferred start that does not exist, to see whether a scheduler answers."""


@attrs.frozen
class Cancelled:
    """
    A job that was cancelled.

    Arguments:
        result: of the cancellation.
        fault: why the scheduler did not answer; None if it did, or was not asked.
        hook_fault: what on_cancelled raised; None if it returned, or was not called.
    """

    result: CancelResult
    fault: str | None
    hook_fault: str | None


@attrs.frozen
class Pass:
    """
    A pass of reconcile.

    Arguments:
        results: of the cancellations that were taken.
        removals_pending: how many removals are pending after it, up to the limit.
        sweeps_pending: how many cancellations have contacts still to be swept, likewise.
        hooks_failed: how many calls of the application's hook failed; None if it has no hook.
        fault: why the scheduler did not answer; None if it did, or was not asked.
        hook_fault: what on_cancelled raised last; None if it did not.
        set_back: the jobs that are not cancelled any more.
    """

    results: list[CancelResult]
    removals_pending: int
    sweeps_pending: int
    hooks_failed: int | None
    fault: str | None
    hook_fault: str | None
    set_back: list[JobKey]


@attrs.frozen
class Check:
    """
    Whether a store and a scheduler are fit.

    Arguments:
        store: what was found of the store.
        scheduler: what the scheduler misses.
        notes: what could not be checked.
        fault: why the scheduler did not answer; None if it did, or was not asked.
    """

    store: Diagnosis
    scheduler: list[str]
    notes: list[str]
    fault: str | None


@runtime_checkable
class Examinable(Protocol):
    """A store that reports what fits as well."""

    def examine(self) -> Diagnosis | Awaitable[Diagnosis]:
        """Examine the store."""
        ...


@attrs.frozen
class Calls(StoreCalls):
    """The use cases, with an application's ports: asyncio ones, or blocking ones in wrappers."""

    scheduler: AsyncScheduler
    on_cancelled: AsyncOnCancelled | None = None

    @classmethod
    def blocking(
        cls, uow: UnitOfWork, scheduler: Scheduler, on_cancelled: OnCancelled | None = None
    ) -> Calls:
        """Return the use cases with blocking ports: coroutines that never suspend."""
        hook = None if on_cancelled is None else BlockingHook(on_cancelled)
        return cls(BlockingStore(uow), BlockingScheduler(scheduler), hook)

    async def cancel(self, key: JobKey, named: Mapping[str, str | None]) -> Cancelled:
        """Cancel a job; its operation, actor and reason come by name."""
        scheduler = watched(self.scheduler)
        hook = None if self.on_cancelled is None else Hook(self.on_cancelled)
        result = await cancel_job_async(
            key.batch_job_id,
            uow=self.uow,
            scheduler=scheduler,
            organization_id=key.organization_id,
            operation_id=named["operation_id"],
            actor=named["actor"],
            reason=named["reason"],
            on_cancelled=hook,
        )
        return Cancelled(result, scheduler.fault, None if hook is None else hook.fault)

    async def reconcile(
        self, limit: int, lease: timedelta, check: Callable[[], None] = go_on
    ) -> Pass:
        """
        Finish what cancellations left pending, and count what is still pending.

        Raises:
            Stopped: `check`, which is called before scheduler and hook are, has raised it.
        """
        scheduler = watched(self.scheduler, check)
        hook = None if self.on_cancelled is None else Hook(self.on_cancelled, check)
        results = await reconcile_async(
            uow=self.uow, scheduler=scheduler, on_cancelled=hook, limit=limit, lease=lease
        )
        removals, sweeps = await self._pending(limit)
        failed, hook_fault = (None, None) if hook is None else (hook.failed, hook.fault)
        back = await self._set_back(
            [it for it in results if sweeps or (removals and it.removal is Removal.PENDING)]
        )
        return Pass(results, removals, sweeps, failed, scheduler.fault, hook_fault, back)

    async def inspect(self, limit: int, calls_older_than: timedelta) -> Drift:
        """Compare store and scheduler."""
        inspectable = self._inspectable()
        return await inspect_async(
            uow=self.uow,
            scheduler=self.scheduler if inspectable is None else inspectable,
            limit=limit,
            calls_older_than=calls_older_than,
        )

    async def expire(self, key: JobKey, older_than: timedelta) -> int:
        """
        End a job's calls, and return how many.

        Raises:
            JobNotFound: there is no such job.
        """
        ended = await expire_calls_async(
            key.batch_job_id, older_than, uow=self.uow, organization_id=key.organization_id
        )
        if not ended and not await self._is_there(key):
            raise JobNotFound(key)
        return ended

    async def examine(self) -> Diagnosis:
        """Examine the store."""
        uow = own(self.uow)
        if isinstance(uow, Examinable):
            found: Diagnosis = await self._returned(uow.examine())
            return found
        check: Any = getattr(uow, "check", None)
        if check is None:
            return Diagnosis(notes=(_unchecked("store", uow),))
        return Diagnosis(missing=tuple(await self._returned(check())))

    async def check(self) -> Check:
        """Check store and scheduler."""
        store = await self.examine()
        scheduler = own(self.scheduler)
        check: Any = getattr(scheduler, "check", None)
        if check is None:
            return Check(store, [], [_unchecked("scheduler", scheduler)], await self._silence())
        try:
            problems: list[str] = await self._returned(check())
        except Exception as error:  # noqa: BLE001  # That it does not answer is what was found.
            return Check(store, [], [], fault_of(error))
        fault = await self._silence() if problems else None
        # It has answered, if only with a refusal; or it is the store's own file, reported already.
        if fault not in problems or fault in store.problems:
            return Check(store, problems, [], None)
        return Check(store, [it for it in problems if it != fault], [], fault)

    async def _returned(self, answer: Any) -> Any:  # noqa: ANN401  # Of methods that few have.
        """Return what a method of the application's own port has answered."""
        return returned(answer) if self.is_blocking else await returned_async(answer)

    def _inspectable(self) -> AsyncInspectableScheduler | None:
        """Return the scheduler if it can report what waits."""
        scheduler = own(self.scheduler)
        if self.is_blocking and isinstance(scheduler, InspectableScheduler):
            return BlockingInspectable(scheduler)
        return scheduler if isinstance(scheduler, AsyncInspectableScheduler) else None

    async def _silence(self) -> str | None:
        """Return why the scheduler does not answer; None if it does, or cannot be asked."""
        inspectable = self._inspectable()
        if inspectable is None:
            return None
        try:
            await returned_async(inspectable.waiting_among(_NOBODY))
        except Exception as error:  # noqa: BLE001  # That it does not answer is what was found.
            return fault_of(error)
        return None

    async def _set_back(self, results: Sequence[CancelResult]) -> list[JobKey]:
        """Return the jobs that something has set back after their cancellation."""
        keys = (JobKey(it.batch_job_id, it.organization_id) for it in results)
        records = [await self.cancellation(it) for it in keys]
        return [it.key for it in records if it is not None and it.is_undone]

    async def _pending(self, limit: int) -> tuple[int, int]:
        """Count the removals and the sweeps that are still pending, up to a limit."""
        async with opened_async(self.uow) as repositories:
            if repositories.inspection is None:
                return 0, 0
            inventory = await repositories.inspection.look(
                limit, CANCELLABLE_CONTACTS, CALL_AGE_SUSPECT
            )
            return len(inventory.removals_pending), len(inventory.sweeps_pending)

    async def _is_there(self, key: JobKey) -> bool:
        if not key.can_exist:
            return False
        async with opened_async(self.uow) as repositories:
            return await repositories.jobs.lock(key) is not None


def _unchecked(what: str, port: object) -> str:
    return f"the {what} was not checked: {type(port).__name__} has no check()"
