"""arq from end to end, as a user runs it, and what its own ways to cancel do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
import redis

from batch_cancel import Removal, cancel_job
from batch_cancel.adapters.arq import ArqScheduler
from batch_cancel.adapters.memory import MemoryStore
from batch_cancel.presenter import present
from tests.schedulers.catalogue import LIBRARIES, PATIENCE
from tests.schedulers.races import race
from tests.schedulers.rig import Rig
from tests.servers import RedisServer

HOUR_SECONDS = 3600


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """Lend arq at work, its workers with their default settings."""
    library = attrs.evolve(LIBRARIES["arq"], places={})
    with RedisServer.own() as server, Rig(library, {"redis": server.url()}) as rig:
        rig.start_workers()
        yield rig


def test_a_rescheduled_campaign_is_cancelled_and_never_starts(rig: Rig) -> None:
    """Scheduled by arq's client, cancelled by an app whose redis-py arq could not be beside."""
    assert int(redis.__version__.split(".")[0]) >= 6
    scheduler = ArqScheduler(rig.redis, budget=PATIENCE)
    due = time.time() + 2
    rig.schedule("arq_job_first", due)
    # Rescheduled, as upstream does it: a new deferred job, whose id the row then holds.
    assert scheduler.cancel("arq_job_first", "reschedule") is True
    rig.schedule("arq_job_second", due)
    store = MemoryStore()
    store.add_job("batch_xyz789", "scheduled", deferred_id="arq_job_second")
    store.add_contacts("batch_xyz789", {"c1": "pending", "c2": "blocked"})

    result = cancel_job("batch_xyz789", uow=store, scheduler=scheduler)

    assert result.removal is Removal.REMOVED
    response = present(result)
    assert response.status == 200
    assert response.body == {
        "success": True,
        "message": "Scheduled job cancelled successfully",
        "batchJobId": "batch_xyz789",
        "redisJobCancelled": True,
        "contactsCancelled": 1,
    }
    rig.schedule("another", due)
    rig.wait_ran("another")
    rig.settle("rescheduled")
    assert rig.ran("arq_job_first") == rig.ran("arq_job_second") == 0


def test_a_job_that_waits_for_its_retry_is_not_retried(rig: Rig) -> None:
    """It fired once, so False; and it is gone."""
    rig.schedule("retried", time.time() + HOUR_SECONDS)
    rig.redis.set("arq:retry:retried", "1", ex=60)
    scheduler = ArqScheduler(rig.redis, budget=PATIENCE)
    assert scheduler.cancel("retried", "operation") is False
    assert rig.redis.zscore("arq:queue", "retried") is None
    assert not rig.redis.exists("arq:job:retried", "arq:retry:retried")


# What the harness shows of cancels that are not exact ----------------------------------------


def test_abort_starts_a_job_that_is_an_hour_ahead(rig: Rig) -> None:
    """Its own cancel, with default workers: the campaign starts at once, and the answer is no."""
    rig.schedule("aborted", time.time() + HOUR_SECONDS)
    assert rig.ask("cancel", "aborted") is False
    rig.wait_ran("aborted")


def test_the_races_find_a_cancel_that_lies(rig: Rig) -> None:
    """A bare removal says True of jobs that a worker is just taking: the harness can fail."""

    def zrem(deferred_id: str) -> Any:
        return rig.redis.zrem("arq:queue", deferred_id)

    for attempt in range(20):
        if race(rig, zrem, 50, f"zrem-{attempt}").ran_all_the_same:
            return
    pytest.fail("a thousand races found nothing")
