"""
The dialer of the examples on Postgres and arq: from the start to the cancel, and killed.

Some of its jobs belong to organizations.
"""

from __future__ import annotations

import random
import signal
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from batch_cancel import ContactStatus, Removal, claim_contacts, expire_calls
from examples.dialer import tables, worker
from tests.integration.dialer_at_work import (
    BESIDE_ARQ,
    LONGEST_CALL_SECONDS,
    OTHERS,
    WORKERS,
    Dialer,
    at_random,
)
from tests.processes import wait_until
from tests.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def dialer(postgres_schema: str) -> Iterator[Dialer]:
    """Yield a dialer with a Redis of its own; nothing of it runs yet."""
    with RedisServer.own() as server, Dialer(postgres_schema, server.url()) as dialer:
        yield dialer


def test_jobs_are_called_paused_resumed_cancelled_and_finished(dialer: Dialer) -> None:
    """Their starts fire by arq; a cancel in the middle stops the calls; SIGTERM stops workers."""
    for job_id, contacts, organization in JOBS:
        dialer.add_job(job_id, contacts, organization=organization)
    dialer.schedule(0, "whole", "cut", "rest")
    dialer.schedule(3600, "never")
    dialer.start(*WORKERS, *OTHERS)

    dialer.wait_for_calls("cut", 3)
    cut = dialer.cancel("cut")
    assert (cut.removal, dialer.status("cut")) == (Removal.ABSENT, "cancelled")  # It had fired.
    assert cut.contacts_cancelled > 200

    dialer.wait_for_calls("rest", 1)
    assert tables.pause(dialer.rows, "rest")
    paused = claim_contacts(
        "rest", uow=dialer.uow, organization_id="acme", limit=9, returning=("phone",)
    )
    assert (paused, paused.is_over) == ([], False)
    time.sleep(0.2)  # Claimed calls come to their end.
    before = dialer.calls("rest")
    never = dialer.cancel("never")
    assert (never.removal, never.redis_job_cancelled) == (Removal.REMOVED, True)
    assert dialer.redis.zcard("arq:queue") == 0
    dialer.wait_for("whole", "completed")
    assert (dialer.calls("rest"), dialer.status("rest")) == (before, "paused")
    assert tables.resume(dialer.uow, "rest", "acme")

    dialer.wait_for_calls("rest", before + len(WORKERS))
    for name in WORKERS:
        dialer.end(name, signal.SIGTERM)
    assert dialer.one(LIVE) == (0,)  # They were amid their calls, and have settled what they had.
    assert dialer.status("rest") == "running"
    dialer.start(*WORKERS)
    dialer.wait_for("rest", "completed")

    wait_until(lambda: dialer.one(LIVE) == (0,), "no call is live")
    for name in (*WORKERS, *OTHERS):
        dialer.end(name, signal.SIGTERM)
    assert dialer.complaints() == []
    assert dialer.calls("never") == 0
    assert dialer.calls("rest") >= 120


def test_of_two_workers_that_took_a_contact_one_calls_it(dialer: Dialer) -> None:
    """The first was held up for longer than the longest call, so a second one got it, too."""
    dialer.add_job("j", 1, "running")
    claims = list[str]()
    for _ in range(2):
        claims += claim_contacts("j", uow=dialer.uow, limit=1)
        assert expire_calls("j", timedelta(microseconds=1), uow=dialer.uow) == 1
    assert not tables.count_attempt(dialer.rows, claims[0], 0)  # It is nobody's now.
    claims += claim_contacts("j", uow=dialer.uow, limit=1)
    counted = [tables.count_attempt(dialer.rows, contact_id, 0) for contact_id in claims]
    assert counted == [True, False, False]


def test_a_worker_that_is_to_stop_claims_nothing_more(
    dialer: Dialer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many jobs run: it settles what it has claimed, and leaves the rest to others."""
    before = [signal.getsignal(it) for it in (signal.SIGTERM, signal.SIGINT)]
    for job_id in ("a", "b", "c"):
        dialer.add_job(job_id, 3, "running")
    monkeypatch.setattr(tables, "STORE", dialer.dsn)
    with worker.make_pool() as pool:
        at_work = worker.Worker(pool)

        def ring(*_: object) -> ContactStatus:
            signal.raise_signal(signal.SIGTERM)
            return ContactStatus.COMPLETED

        monkeypatch.setattr(worker, "dial", ring)
        assert at_work.work_on_all(dialer.rows)
    for number, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
        signal.signal(number, handler)
    seen = dialer.rows.execute(
        "SELECT status, count(*) FROM batch_contacts WHERE dialing_since IS NOT NULL GROUP BY 1"
    )
    assert dict(seen.fetchall()) == {"completed": 1, "queued": 2}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_start_of_a_worker_that_ends_fires_again_soon(
    dialer: Dialer, how: signal.Signals
) -> None:
    """After a kill others get it after as long as it may take, which is not five minutes."""
    dialer.add_job("j", 1)
    dialer.schedule(0, "j")
    with dialer.rows.transaction():
        dialer.rows.execute("SELECT FROM batch_jobs WHERE id = 'j' FOR UPDATE")
        dialer.start("arq")
        wait_until(lambda: dialer.one(WAITING) == (1,), "the start waits for the job")
        dialer.end("arq", how)
    dialer.start("arq")
    dialer.wait_for("j", "running")
    wait_until(lambda: dialer.redis.zcard("arq:queue") == 0, "arq has done with the start")


def test_a_job_whose_start_was_never_enqueued_is_scheduled_again(dialer: Dialer) -> None:
    """The process died after it had written the row. A start that waits is not enqueued twice."""
    dialer.add_job("j", 1)
    dialer.rows.execute("UPDATE batch_jobs SET status = 'scheduled', scheduled_job_id = 'start'")
    for seconds in (60, 0):
        dialer.schedule(seconds, "j")
        assert dialer.redis.zrange("arq:queue", 0, -1) == [b"start"]
    at = dialer.redis.zscore("arq:queue", "start")
    assert isinstance(at, float)
    assert at > (time.time() + 30) * 1000


def test_a_start_that_takes_too_long_is_fired_again(dialer: Dialer) -> None:
    """Otherwise arq would forget it, and the job would never start."""
    dialer.run_beside_arq(HELD_UP)


@pytest.mark.repeats
def test_a_dialer_survives_a_hundred_kills(dialer: Dialer) -> None:
    """At random moments, by kill -9 and by SIGTERM; at rest everything is as it should be."""
    survive(dialer, 100)


def survive(dialer: Dialer, kills: int) -> None:
    """Kill and restart processes while jobs are added and cancelled; then look at what is left."""
    everything = (*WORKERS, *OTHERS)
    dialer.start(*everything)
    leave_dead_calls(dialer)
    running = ["killed"]
    for number in range(kills):
        if number % 3 == 0:
            running += [f"job-{number}", f"started-{number}"]
            organization = random.choice([None, "acme"])  # noqa: S311  # No secret.
            dialer.add_job(f"job-{number}", 30, "running", organization)
            dialer.add_job(f"started-{number}", 10, organization=organization)
            dialer.schedule(0.2, f"started-{number}")
        if number % 3 == 1:
            dialer.wait_for_calls(f"job-{number - 1}", 1)
        time.sleep(at_random())
        name = random.choice([*WORKERS, *everything])  # noqa: S311  # No secret.
        dialer.end(name, random.choice([signal.SIGKILL, signal.SIGTERM]))  # noqa: S311
        if number % 3 == 1:
            victim = running[random.randrange(len(running))]  # noqa: S311
            if dialer.status(victim) in {"running", "scheduled"}:
                dialer.cancel(victim)
        dialer.start(name)

    for job_id in running:
        dialer.wait_for(job_id, "completed", "cancelled")
    wait_until(lambda: dialer.one(OVERDUE, LONGEST_CALL_SECONDS) == (0,), "dead calls end")
    wait_until(lambda: dialer.one(LIVE) == (0,), "no call is live")
    wait_until(lambda: dialer.one(PENDING) == (0,), "reconcile has finished")
    assert dialer.complaints() == []


def leave_dead_calls(dialer: Dialer) -> None:
    """Kill the workers of a job until contacts are left dialing, and start them again."""
    dialer.add_job("killed", 60, "running")
    live = (0,)
    while live == (0,):
        dialer.wait_for_calls("killed", dialer.calls("killed") + 1)
        for name in WORKERS:
            dialer.end(name, signal.SIGKILL)
        live = dialer.one(LIVE)
        dialer.start(*WORKERS)


HELD_UP = f"""{BESIDE_ARQ}
import time
from arq import Retry
from examples.dialer import starts
starts.start_job = lambda *_, **__: time.sleep(0.1)
starts.LONGEST_START_SECONDS = 0.01
try:
    asyncio.run(starts.start({{"job_id": "start"}}, "j"))
except Retry:
    sys.exit()
sys.exit("no Retry")
"""
JOBS = [("whole", 5, "acme"), ("cut", 300, None), ("rest", 120, "acme"), ("never", 2, "other")]
LIVE = "SELECT count(*) FROM batch_contacts WHERE status = 'dialing'"
OVERDUE = (
    "SELECT count(*) FROM batch_contacts "
    "WHERE status = 'dialing' AND dialing_since < now() - make_interval(secs => %s)"
)
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"
PENDING = "SELECT count(*) FROM batch_cancellations WHERE removal = 'pending'"
