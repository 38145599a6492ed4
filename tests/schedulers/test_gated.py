"""A worker that gets no answer from the gate starts nothing, and tries again."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import uuid4

import attrs
import pytest

from batch_cancel.adapters.redis import StartGate
from tests.fault_proxy import FaultProxy
from tests.processes import HOST, wait_until
from tests.schedulers.catalogue import LIBRARIES, PATIENCE
from tests.schedulers.rig import Rig
from tests.servers import RedisServer

SAID = {"celery": "Retry in", "dramatiq": "StartGateUnavailable"}
"""What a worker writes into its log when it could not ask."""


@contextmanager
def behind_a_proxy(name: str) -> Generator[tuple[Rig, FaultProxy]]:
    """Yield a library at work, its gate behind a proxy."""
    with RedisServer.own() as server, FaultProxy(server.port) as proxy:
        places = {"gate": f"redis://{HOST}:{proxy.port}"}
        library = attrs.evolve(LIBRARIES[name], workers=1, places=places)
        with Rig(library, {"redis": server.url()}) as rig:
            rig.start_workers()
            yield rig, proxy


@pytest.mark.parametrize("name", SAID)
def test_without_an_answer_nothing_starts_until_there_is_one(name: str) -> None:
    """It fails closed; when the gate answers again, the start is not lost."""
    start = f"start-{uuid4().hex}"
    with behind_a_proxy(name) as (rig, proxy):
        gate = StartGate(rig.redis, budget=PATIENCE)
        gate.arm(start, datetime.now(UTC))
        proxy.refuse()
        rig.ask("send", start, time.time())
        wait_until(lambda: SAID[name] in rig._workers[0].log(), "a worker could not ask")
        assert rig.ran(start) == 0
        proxy.heal()
        rig.wait_ran(start)
        assert rig.ran(start) == 1


@pytest.mark.parametrize("name", SAID)
def test_a_start_that_the_gate_does_not_know_waits_to_be_armed(name: str) -> None:
    """Its state is lost, the broker's is not: nothing starts until somebody arms it again."""
    start = f"start-{uuid4().hex}"
    library = attrs.evolve(LIBRARIES[name], workers=1)
    with RedisServer.own() as server, Rig(library, {"redis": server.url()}) as rig:
        rig.start_workers()
        gate = StartGate(rig.redis, budget=PATIENCE)
        gate.arm(start, datetime.now(UTC))
        rig.redis.delete(f"bc:gate:{start}")
        rig.ask("send", start, time.time())
        said = f"does not know the start '{start}'"
        wait_until(lambda: said in rig._workers[0].log(), "a worker was refused")
        assert rig.ran(start) == 0
        assert gate.arm(start, datetime.now(UTC)) is True
        rig.wait_ran(start)
        assert rig.ran(start) == 1


def test_apscheduler_runs_no_job_that_the_gate_does_not_know() -> None:
    """It has no retries: the job ends with an error in its log."""
    start = f"start-{uuid4().hex}"
    library = attrs.evolve(LIBRARIES["apscheduler"], workers=1)
    with RedisServer.own() as server, Rig(library, {"redis": server.url()}) as rig:
        rig.start_workers()
        rig.ask("send", start, time.time())
        said = f"does not know the start '{start}'"
        wait_until(lambda: said in rig._workers[0].log(), "the job was refused")
        assert rig.ran(start) == 0


def test_an_error_of_ours_prints_as_the_result_of_a_celery_task() -> None:
    """Celery keeps results as JSON, and restores an error from the texts of its arguments."""
    key = "\"JobKey(batch_job_id='job-1', organization_id='acme')\""
    library = attrs.evolve(LIBRARIES["celery"], workers=0)
    with RedisServer.own() as server, Rig(library, {"redis": server.url()}) as rig:
        assert rig.ask("restored_errors") == [
            f"JobNotFound: there is no batch job {key} in this organization",
            f"AlreadyTerminal: batch job {key} is already cancelled",
            (
                f"UnknownJobStatus: batch job {key} has the status 'paused', which is mapped to "
                "none of scheduled, pending, running, completed, failed, cancelled; nothing was "
                "changed"
            ),
            (
                f"CancelFailed: batch job {key}: it broke; it may have been cancelled: retry with "
                "the same operation id"
            ),
            "StoreFailed: it broke",
            "SchedulerUnavailable: no answer",
        ]


def test_apscheduler_s_job_store_is_tidied_only_of_what_is_not_due_soon() -> None:
    """Its scheduler dies of a job that vanishes while it starts it."""
    library = attrs.evolve(LIBRARIES["apscheduler"], workers=0)
    with RedisServer.own() as server, Rig(library, {"redis": server.url()}) as rig:
        ours = library.scheduler(rig.redis)
        for start, seconds in (("later", 3600), ("soon", 3)):
            rig.schedule(start, time.time() + seconds)
            assert ours.cancel(start, "operation") is True
        assert rig.redis.hkeys("apscheduler.jobs") == ["soon"]
        assert rig.redis.zrange("apscheduler.run_times", 0, -1) == ["soon"]


def test_taskiq_sends_nothing_from_a_copy_that_is_out_of_date() -> None:
    """Its scheduler still holds what was cancelled, and does not send it."""
    library = attrs.evolve(LIBRARIES["taskiq"], places={"reads once": "yes"})
    with RedisServer.own() as server, Rig(library, {"redis": server.url()}) as rig:
        if (seconds := time.time() % 60) > 30:
            time.sleep(60 - seconds)  # What is read once is the minute that it is.
        due = time.time() + 20
        rig.schedule("cancelled", due)
        rig.schedule("witness", due + 1)
        rig.start_workers()
        assert library.scheduler(rig.redis).cancel("cancelled", "operation") is True
        assert time.time() < due
        rig.wait_ran("witness")
        assert rig.ran("cancelled") == 0
