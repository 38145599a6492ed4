"""
Deferred starts that are APScheduler jobs (version 3) with a date.

Between reading what is due and the start, the scheduler has a job in its memory, and crashes if
the job is removed meanwhile. So the start gate decides, in the job's first line:

    def start_campaign(job_id, deferred_id):
        if not gate.may_start(deferred_id):
            return
        ...

    gate.arm(deferred_id, at)
    arguments = [job_id, deferred_id]
    scheduler.add_job(start_campaign, "date", arguments, run_date=at, id=deferred_id)

    cancel_job(job_id, uow=uow, scheduler=ApschedulerScheduler(gate, client))

With any job store, `scheduler=gate` is enough: a cancelled job fires, finds the gate closed and
does nothing. This adapter also removes it from a RedisJobStore, unless it is due soon.

A job that repeats (cron, interval) passes the gate each time once it has passed it. After its
first run the answer is False, and only a run that is more than five seconds ahead is removed.

If the gate does not answer, or does not know the start, `may_start` raises. The job then ends with
that error in APScheduler's log. A job with a date is not retried: arm and add it again if it still
should start.

The id of a deferred start is the job's id. An id is used once. APScheduler is not needed here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Set as AbstractSet
from datetime import timedelta
from typing import Final

from batch_cancel.adapters.missing_extra import missing_extra

try:
    import redis
    import redis.asyncio
except ModuleNotFoundError as _missing:
    raise missing_extra(__name__, "apscheduler", _missing) from _missing

from batch_cancel.adapters.redis import AsyncStartGate, StartGate
from batch_cancel.adapters.redis.deadline_async import connection_to_async
from batch_cancel.adapters.redis.deadline_sync import connection_to
from batch_cancel.adapters.redis.encoding import decoded, encoded
from batch_cancel.adapters.redis.health import checked
from batch_cancel.adapters.redis.script_runner import Executor, script
from batch_cancel.domain.defaults import SCHEDULER_BUDGET
from batch_cancel.ports import SchedulerUnavailable
from batch_cancel.use_cases.run_blocking import run

__all__ = ["ApschedulerScheduler", "AsyncApschedulerScheduler"]

_TIDY: Final = script("tidy", package=__name__)
_CHECK: Final = script("native_check", "check")
_WAITING_AMONG: Final = script("waiting_among")
_SECONDS_AHEAD: Final = b"5"
"""More than the difference of two clocks."""
_PAGE_SIZE: Final = 1000


class _JobStore:
    """A RedisJobStore beside the gate, on a client of either kind."""

    def __init__(self, executor: Executor, *keys: str) -> None:
        self._executor = executor
        self._keys = [encoded(it) for it in keys]

    async def tidy(self, deferred_id: str) -> None:
        """Remove a job that is not due soon; one that stays fires, and finds the gate closed."""
        with contextlib.suppress(SchedulerUnavailable):
            arguments = (encoded(deferred_id), _SECONDS_AHEAD)
            await self._executor.run(_TIDY, self._keys, arguments)

    async def waiting_among(self, deferred_ids: AbstractSet[str]) -> set[str]:
        """Return those of the starts that wait here."""
        ids: set[str] = set()
        listed = [encoded(it) for it in sorted(deferred_ids)]
        for first in range(0, len(listed), _PAGE_SIZE):
            page = listed[first : first + _PAGE_SIZE]
            waiting = await self._executor.run(_WAITING_AMONG, self._keys[1:], page)
            ids.update(map(decoded, waiting))
        return ids

    async def check(self) -> list[str]:
        """Return what is missing."""
        return await checked(self._executor, _CHECK, [self._keys[::-1]])


class ApschedulerScheduler:
    """
    Cancels jobs of APScheduler in a RedisJobStore.

    Arguments:
        gate: the gate that the jobs pass.
        client: for the Redis of the job store, one server or a Sentinel's master. Its owner closes
            it.
        jobs_key: the job store's `jobs_key`.
        run_times_key: the job store's `run_times_key`.
        budget: how long the removal from the job store may take, after the gate has answered.

    Raises:
        TypeError: the client is of the other kind, blocking or asyncio, or for a cluster.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        gate: StartGate,
        client: redis.Redis,
        *,
        jobs_key: str = "apscheduler.jobs",
        run_times_key: str = "apscheduler.run_times",
        budget: timedelta = SCHEDULER_BUDGET,
    ) -> None:
        _refuse_cluster(client)
        self._gate = gate
        executor = Executor(connection_to(client), budget)
        self._jobs = _JobStore(executor, jobs_key, run_times_key)

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """
        Close the gate for good, unless the start has passed it, and remove the job.

        Returns:
            True if this operation closed it for an armed start; the same answer on every repeat.

        Raises:
            SchedulerUnavailable: no answer of the gate in time; retry with the same operation.
        """
        taken_back = self._gate.cancel(deferred_id, operation_id)
        run(self._jobs.tidy(deferred_id))
        return taken_back

    def waiting_among(self, deferred_ids: AbstractSet[str]) -> set[str]:
        """
        Return those of the deferred starts that wait in the job store and may pass the gate.

        A start that was cancelled shortly before it is due stays in the job store, and finds the
        gate closed.

        Raises:
            SchedulerUnavailable: no answer in time; each page of a thousand has the whole budget.
        """
        ids = run(self._jobs.waiting_among(deferred_ids))
        return self._gate.waiting_among(ids) if ids else ids

    def check(self) -> list[str]:
        """
        Return in sentences what the gate and the job store miss in their Redis, without a change.

        An empty list means that it is fit: check when your program starts.
        """
        found = [*self._gate.check(), *run(self._jobs.check())]
        return [*dict.fromkeys(found)]


class AsyncApschedulerScheduler:
    """As `ApschedulerScheduler`, awaited."""

    def __init__(
        self,
        gate: AsyncStartGate,
        client: redis.asyncio.Redis,
        *,
        jobs_key: str = "apscheduler.jobs",
        run_times_key: str = "apscheduler.run_times",
        budget: timedelta = SCHEDULER_BUDGET,
    ) -> None:
        _refuse_cluster(client)
        self._gate = gate
        executor = Executor(connection_to_async(client), budget)
        self._jobs = _JobStore(executor, jobs_key, run_times_key)

    async def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """As `ApschedulerScheduler.cancel`, awaited."""
        taken_back = await self._gate.cancel(deferred_id, operation_id)
        await self._jobs.tidy(deferred_id)
        return taken_back

    async def waiting_among(self, deferred_ids: AbstractSet[str]) -> set[str]:
        """As `ApschedulerScheduler.waiting_among`, awaited."""
        ids = await self._jobs.waiting_among(deferred_ids)
        return await self._gate.waiting_among(ids) if ids else ids

    async def check(self) -> list[str]:
        """As `ApschedulerScheduler.check`, awaited."""
        found = [*await self._gate.check(), *await self._jobs.check()]
        return [*dict.fromkeys(found)]


def _refuse_cluster(client: object) -> None:
    if isinstance(client, redis.RedisCluster | redis.asyncio.RedisCluster):
        msg = (
            "APScheduler spreads the keys of a job over the slots of a cluster, so no script "
            "reaches them all: pass a client for one server or a Sentinel's master"
        )
        raise TypeError(msg)
