"""
Cancel many jobs, slice by slice, each as a single cancel would.

Rule 1: which jobs is decided once, at the start, by the store. A job that appears meanwhile is not
        one of them.
Rule 2: each slice is one transaction; then its deferred starts are removed, then that is noted.
Rule 3: nothing is kept between the slices but counts. After a crash the same operation goes on:
        what it has cancelled is not cancelled again, and no hook is called again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final, cast
from uuid import uuid4

from batch_cancel.domain.bulk import (
    BulkResult,
    JobFilter,
    check_rate,
    named_jobs,
    slices,
)
from batch_cancel.domain.cancellation import Cancellation, CancelRequest, CancelResult
from batch_cancel.domain.defaults import FIND_SLICE
from batch_cancel.domain.errors import AlreadyTerminal, BatchCancelError, StoreFailed
from batch_cancel.domain.job import JobKey
from batch_cancel.ports import (
    AsyncRepositories,
    AsyncScheduler,
    AsyncUnitOfWork,
    Scheduler,
    UnitOfWork,
)
from batch_cancel.use_cases import kinds
from batch_cancel.use_cases.announcement import AsyncOnCancelled, OnCancelled
from batch_cancel.use_cases.bulk_finish import Finish
from batch_cancel.use_cases.bulk_slice import Outcome, Slices, bulk_of
from batch_cancel.use_cases.joining import is_joined
from batch_cancel.use_cases.pace import Pace
from batch_cancel.use_cases.removals import Removals
from batch_cancel.use_cases.run_blocking import (
    BlockingHook,
    BlockingScheduler,
    BlockingStore,
    check_hook,
    check_scheduler,
    check_store,
    is_blocking,
    run,
)
from batch_cancel.use_cases.worker_step import repeated

OnProgress = Callable[[BulkResult], object]
"""Called with the result so far, after each slice."""

AsyncOnProgress = Callable[[BulkResult], Awaitable[object] | object]
"""Called with the result so far, after each slice; an awaitable answer is awaited."""

_NO_BULK: Final = (
    "this store finds no jobs by a filter: its `repositories.bulk` is missing or None, so "
    "implement `BulkRepository` of batch_cancel.ports in it, or pass the ids of the jobs"
)
_JOINED: Final = (
    "cancel_jobs was called within your own transaction, and needs many of its own: call it "
    "outside, or cancel_rows for each job there, and remove_deferred after your commit"
)
_NO_JOB: Final = JobKey("-")


def cancel_jobs(
    jobs: Iterable[str] | JobFilter,
    *,
    uow: UnitOfWork,
    scheduler: Scheduler,
    organization_id: str | None = None,
    operation_id: str | None = None,
    actor: str | None = None,
    reason: str | None = None,
    on_cancelled: OnCancelled | None = None,
    progress: OnProgress | None = None,
    rate: float | None = None,
    stop: Callable[[], bool] | None = None,
) -> BulkResult:
    """
    Cancel many jobs, each as `cancel_job` would; slices of 200 in one transaction each.

    A job that cannot be cancelled does not stop the others. If the process dies, call it again
    with the same operation id: jobs that it has cancelled are counted as replayed if you pass ids,
    and no longer found if you pass a filter; removals that are pending then are finished by
    `reconcile`. A store without the bulk port cancels the jobs one by one, and takes no filter.

    Arguments:
        jobs: the ids of the jobs, or a filter. Which jobs a filter finds is decided at the start.
        uow: the store of the jobs.
        scheduler: the scheduler of the deferred starts.
        organization_id: whose jobs the ids are of; None for jobs of no organization.
        operation_id: the name of this operation; generated if None. At most 1024 bytes.
        actor: who cancels, kept for the audit. At most 4096 bytes.
        reason: why, kept for the audit. At most 4096 bytes.
        on_cancelled: called with the result of each job, as by `cancel_job`.
        progress: called after each slice with the result so far; an exception from it ends the
            call between two slices.
        rate: how many jobs a second at most, on average; None for no limit.
        stop: asked before each slice; if it returns True, the rest is left.

    Raises:
        StoreFailed: the jobs could not be found, or `uow` is within your own transaction; nothing
            was changed.
        TypeError: a store, a scheduler or a hook is of the wrong kind; none of them was called.
        TypeError, ValueError: an argument cannot be stored, or is out of its range.
    """
    return run(
        cancel_jobs_async(
            jobs,
            uow=BlockingStore(uow),
            scheduler=BlockingScheduler(scheduler),
            organization_id=organization_id,
            operation_id=operation_id,
            actor=actor,
            reason=reason,
            on_cancelled=None if on_cancelled is None else BlockingHook(on_cancelled),
            progress=None if progress is None else BlockingHook(progress),
            rate=rate,
            stop=stop,
        )
    )


async def cancel_jobs_async(
    jobs: Iterable[str] | JobFilter,
    *,
    uow: AsyncUnitOfWork,
    scheduler: AsyncScheduler,
    organization_id: str | None = None,
    operation_id: str | None = None,
    actor: str | None = None,
    reason: str | None = None,
    on_cancelled: AsyncOnCancelled | None = None,
    progress: AsyncOnProgress | None = None,
    rate: float | None = None,
    stop: Callable[[], bool] | None = None,
) -> BulkResult:
    """As `cancel_jobs`, awaited."""
    check_store(uow)
    check_scheduler(scheduler)
    check_hook(on_cancelled)
    check_hook(progress)
    if stop is not None:
        kinds.check_hook(stop)
    check_rate(rate)
    wanted = named_jobs(jobs, organization_id)
    name = uuid4().hex if operation_id is None else operation_id
    request = CancelRequest(
        _NO_JOB, name, actor=actor, reason=reason, announce=on_cancelled is not None
    )
    if is_joined(uow):
        raise StoreFailed(_JOINED)
    together = await repeated(uow, _has_bulk)
    keys = await find_jobs(wanted, uow) if isinstance(wanted, JobFilter) else wanted
    result = BulkResult(operation_id=name, jobs=len(keys), left=len(keys))
    cancelling = Slices(request, uow, together)
    finish = Finish(uow, Removals(scheduler), on_cancelled)
    pace = Pace(rate, blocks=is_blocking(uow))
    for some in slices(keys, rate, together=together):
        await pace.keep(result.done)
        if cancelling.is_given_up or (stop is not None and stop()):
            break
        result = result.after(await _finished(await cancelling.cancel(some), finish))
        if progress is not None:
            await kinds.call_hook(progress, result)
    return result


async def find_jobs(wanted: JobFilter, uow: AsyncUnitOfWork) -> tuple[JobKey, ...]:
    """
    Return the keys of the jobs that a filter finds now, each once.

    Raises:
        StoreFailed: the store failed, or cannot find jobs by this filter.
    """
    if wanted.organization_id is not None and not JobKey("-", wanted.organization_id).can_exist:
        return ()
    found = dict[JobKey, None]()
    after: JobKey | None = None
    while True:
        page = await repeated(uow, partial(_page, wanted, after))
        found |= dict.fromkeys(page)
        if len(page) < FIND_SLICE:
            return tuple(found)
        after = page[-1]


async def _page(
    wanted: JobFilter, after: JobKey | None, repositories: AsyncRepositories
) -> list[JobKey]:
    bulk = bulk_of(repositories)
    if bulk is None:
        raise StoreFailed(_NO_BULK)
    answer = cast("object", await bulk.find(wanted, after, FIND_SLICE))
    if isinstance(answer, list):
        return cast("list[JobKey]", answer)
    kinds.discard(answer)
    reason = f"the store returned {type(answer).__name__} instead of a list of keys"
    raise StoreFailed(reason)


async def _has_bulk(repositories: AsyncRepositories) -> bool:
    return bulk_of(repositories) is not None


async def _finished(
    outcomes: dict[JobKey, Outcome], finish: Finish
) -> list[CancelResult | BatchCancelError]:
    """Finish what is pending of a slice's cancellations; return what became of each job."""
    pending = {
        key: cancellation
        for key, outcome in outcomes.items()
        if (cancellation := _committed(outcome)) is not None
    }
    results = dict(zip(pending, await finish.finish(list(pending.values())), strict=True))
    return [
        results[key] if isinstance(outcome, Cancellation) else outcome
        for key, outcome in outcomes.items()
    ]


def _committed(outcome: Outcome) -> Cancellation | None:
    """Return the cancellation of a job; a refused one's too, whose removal may be pending."""
    if isinstance(outcome, AlreadyTerminal) and outcome.cancellation is not None:
        return Cancellation(outcome.cancellation, replayed=True)
    return outcome if isinstance(outcome, Cancellation) else None
