"""The libraries, and our adapters for them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import redis
import redis.asyncio

from batch_cancel.adapters.apscheduler import ApschedulerScheduler, AsyncApschedulerScheduler
from batch_cancel.adapters.arq import ArqScheduler, AsyncArqScheduler
from batch_cancel.adapters.docket import AsyncDocketScheduler, DocketScheduler
from batch_cancel.adapters.huey import AsyncHueyScheduler, HueyScheduler
from batch_cancel.adapters.redis import (
    AsyncRedisScheduler,
    AsyncStartGate,
    RedisScheduler,
    StartGate,
)
from batch_cancel.adapters.rq import AsyncRqScheduler, RqScheduler
from batch_cancel.adapters.saq import AsyncSaqScheduler, SaqScheduler
from batch_cancel.adapters.taskiq import AsyncTaskiqStarts, TaskiqStarts
from tests.schedulers.rig import Library

PATIENCE: Final = timedelta(seconds=10)
"""A budget that a loaded machine keeps: these tests are of answers, not of delays."""

_ELDER: Final[dict[str, Any]] = {"scheduled": "rq:scheduler:scheduled_jobs", "budget": PATIENCE}


def _gate(client: redis.Redis) -> StartGate:
    return StartGate(client, budget=PATIENCE)


def _gate_async(client: redis.asyncio.Redis) -> AsyncStartGate:
    return AsyncStartGate(client, budget=PATIENCE)


LIBRARIES: Final = {
    "native": Library(
        "native",
        lambda client: RedisScheduler(client, budget=PATIENCE),
        lambda client: AsyncRedisScheduler(client, budget=PATIENCE),
        races=1000,
        has_own_cancel=False,
        reuses_ids=False,
    ),
    "arq": Library(
        "arq",
        lambda client: ArqScheduler(client, budget=PATIENCE),
        lambda client: AsyncArqScheduler(client, budget=PATIENCE),
        races=1000,
        places={"allow abort": "yes"},
    ),
    "rq": Library(
        "rq",
        lambda client: RqScheduler(client, budget=PATIENCE),
        lambda client: AsyncRqScheduler(client, budget=PATIENCE),
        races=1000,
        reuses_ids=False,
    ),
    "rq-scheduler": Library(
        "rq",
        lambda client: RqScheduler(client, **_ELDER),
        lambda client: AsyncRqScheduler(client, **_ELDER),
        races=200,
        places={"rq-scheduler": "yes"},
        reuses_ids=False,
        workers=1,
    ),
    "saq": Library(
        "saq",
        lambda client: SaqScheduler(client, budget=PATIENCE),
        lambda client: AsyncSaqScheduler(client, budget=PATIENCE),
        races=1000,
    ),
    "huey": Library(
        "huey",
        lambda client: HueyScheduler(client, budget=PATIENCE),
        lambda client: AsyncHueyScheduler(client, budget=PATIENCE),
        races=1000,
        lead_seconds=0.2,  # A task goes through a consumer before it waits.
    ),
    "docket": Library(
        "docket",
        lambda client: DocketScheduler(client, budget=PATIENCE),
        lambda client: AsyncDocketScheduler(client, budget=PATIENCE),
        races=1000,
    ),
    "celery": Library(
        "celery",
        _gate,
        _gate_async,
        races=200,
        reuses_ids=False,
    ),
    "dramatiq": Library(
        "dramatiq",
        _gate,
        _gate_async,
        races=200,
        reuses_ids=False,
    ),
    "apscheduler": Library(
        "apscheduler",
        lambda client: ApschedulerScheduler(_gate(client), client, budget=PATIENCE),
        lambda client: AsyncApschedulerScheduler(_gate_async(client), client, budget=PATIENCE),
        races=200,
        reuses_ids=False,
        workers=1,
    ),
    "taskiq": Library(
        "taskiq",
        lambda client: TaskiqStarts(client, budget=PATIENCE),
        lambda client: AsyncTaskiqStarts(client, budget=PATIENCE),
        races=200,
        reuses_ids=False,
        workers=1,
    ),
}
