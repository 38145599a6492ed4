"""The libraries, and our adapters for them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from batch_cancel.adapters.arq import ArqScheduler, AsyncArqScheduler
from batch_cancel.adapters.huey import AsyncHueyScheduler, HueyScheduler
from batch_cancel.adapters.redis import AsyncRedisScheduler, RedisScheduler
from batch_cancel.adapters.rq import AsyncRqScheduler, RqScheduler
from batch_cancel.adapters.saq import AsyncSaqScheduler, SaqScheduler
from tests.schedulers.rig import Library

PATIENCE: Final = timedelta(seconds=10)
"""A budget that a loaded machine keeps: these tests are of answers, not of delays."""

_ELDER: Final[dict[str, Any]] = {"scheduled": "rq:scheduler:scheduled_jobs", "budget": PATIENCE}

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
}
