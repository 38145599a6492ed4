"""Redis down or silent, or answers lost: the answer is right, or it is `SchedulerUnavailable`."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
from redis.backoff import ConstantBackoff

from batch_cancel.ports import SchedulerUnavailable
from tests.fault_proxy import TO_CLIENT, TO_SERVER, FaultProxy
from tests.integration.redis_schedulers import (
    HOUR,
    SHORT,
    Schedulers,
    fragile,
    future,
    past,
    proxy,
    schedulers,
)

__all__ = ["fragile", "proxy", "schedulers"]


def test_a_cancel_whose_answer_is_lost_is_answered_right(
    schedulers: Schedulers, proxy: FaultProxy
) -> None:
    """It took the start back, so it is told True, however often the line dies on the way back."""
    scheduler = schedulers.make(proxy.port)
    ids = [f"job-{number}" for number in range(50)]
    for each in ids:
        scheduler.schedule(each, future())
    answers = []
    for each in ids:
        proxy.cut_after(0, TO_CLIENT)
        answers.append(scheduler.cancel(each, f"cancel {each}"))
    assert proxy.cuts == 50
    assert answers == [True] * 50
    assert [scheduler.cancel(each, "another") for each in ids] == [False] * 50


def test_a_cancel_whose_request_is_cut_short_is_sent_again(
    schedulers: Schedulers, proxy: FaultProxy
) -> None:
    """A request that arrives in part does nothing; the next one does it."""
    scheduler = schedulers.make(proxy.port)
    scheduler.schedule("a", future())
    proxy.cut_after(9, TO_SERVER)
    assert scheduler.cancel("a", "operation") is True
    assert proxy.cuts == 1


def test_a_claim_whose_answer_is_lost_is_given_the_same_starts(
    schedulers: Schedulers, proxy: FaultProxy
) -> None:
    """Nothing is left behind for a whole lease because an answer was lost."""
    scheduler = schedulers.make(proxy.port)
    for name in ("a", "b", "c"):
        scheduler.schedule(name, past(), name.encode())
    proxy.cut_after(0, TO_CLIENT)
    claimed = scheduler.claim(2, HOUR)
    assert proxy.cuts == 1
    assert sorted((start.deferred_id, start.payload) for start in claimed) == [
        ("a", b"a"),
        ("b", b"b"),
    ]
    assert [start.deferred_id for start in scheduler.claim(9, HOUR)] == ["c"]


def test_an_acknowledgement_whose_answer_is_lost_is_answered_right(
    schedulers: Schedulers, proxy: FaultProxy
) -> None:
    """The owner is told True; asked anew, there is nothing left to finish."""
    scheduler = schedulers.make(proxy.port)
    scheduler.schedule("a", past())
    [start] = scheduler.claim(1, HOUR)
    proxy.cut_after(0, TO_CLIENT)
    assert scheduler.ack("a", start.token) is True
    assert proxy.cuts == 1
    assert scheduler.ack("a", start.token) is False


def test_a_schedule_whose_answer_is_lost_is_answered_right(
    schedulers: Schedulers, proxy: FaultProxy
) -> None:
    """Scheduling twice is scheduling once."""
    scheduler = schedulers.make(proxy.port)
    scheduler.schedule("warm", future())
    proxy.cut_after(0, TO_CLIENT)
    assert scheduler.schedule("a", future()) is True
    assert proxy.cuts == 1
    assert scheduler.waiting() == {"a", "warm"}


# No answer ---------------------------------------------------------------------------------------


def test_a_server_that_is_down_is_no_answer(fragile: Schedulers) -> None:
    """Unavailable while it is down, warm connections or none; right again when it is back."""
    warm, cold = fragile.make(budget=SHORT), fragile.make(budget=SHORT)
    patient = fragile.make()
    patient.schedule("a", future())
    warm.cancel("other", "operation")
    fragile.server.kill()
    for scheduler in (warm, cold, warm):
        with pytest.raises(SchedulerUnavailable):
            scheduler.cancel("a", "operation")
    fragile.server.start()
    assert patient.cancel("a", "operation") is True


def test_a_server_that_hangs_is_no_answer(fragile: Schedulers) -> None:
    """Unavailable while it hangs; afterwards the same operation is told what became of it."""
    warm, cold = fragile.make(budget=SHORT), fragile.make(budget=SHORT)
    patient = fragile.make()
    patient.schedule("a", future())
    fragile.server.pause()
    for scheduler in (warm, cold, warm):
        with pytest.raises(SchedulerUnavailable):
            scheduler.cancel("a", "operation")
    fragile.server.resume()
    assert patient.cancel("a", "operation") is True


@pytest.mark.parametrize("direction", [TO_SERVER, TO_CLIENT])
def test_a_line_that_swallows_everything_is_no_answer(
    schedulers: Schedulers, proxy: FaultProxy, direction: Any
) -> None:
    """Neither lost requests nor lost answers are waited for beyond the budget."""
    scheduler = schedulers.make(proxy.port, SHORT)
    patient = schedulers.make()
    patient.schedule("a", future())
    patient.schedule("b", past())
    proxy.stall(direction)
    with pytest.raises(SchedulerUnavailable):
        scheduler.cancel("a", "operation")
    with pytest.raises(SchedulerUnavailable):
        scheduler.schedule("c", future())
    with pytest.raises(SchedulerUnavailable):
        scheduler.claim(1, HOUR)
    with pytest.raises(SchedulerUnavailable):
        scheduler.ack("a", "token")
    with pytest.raises(SchedulerUnavailable):
        scheduler.waiting()
    assert patient.cancel("a", "operation") is True


def test_a_client_s_own_retries_and_timeouts_do_not_count(
    schedulers: Schedulers, proxy: FaultProxy
) -> None:
    """A client that waits and retries for minutes is answered within the budget all the same."""
    scheduler = schedulers.make(
        proxy.port, SHORT, retry=schedulers.retry(ConstantBackoff(20), 2), socket_timeout=40
    )
    began = time.monotonic()
    proxy.refuse()
    with pytest.raises(SchedulerUnavailable):
        scheduler.cancel("a", "operation")
    proxy.heal()
    proxy.stall()
    with pytest.raises(SchedulerUnavailable):
        scheduler.cancel("a", "operation")
    assert time.monotonic() - began < 30  # Its own way it would have taken 40 s at least.


def test_a_late_answer_is_never_taken_for_the_next_one(
    schedulers: Schedulers, proxy: FaultProxy
) -> None:
    """What comes after the budget belongs to a question that nobody asks any more."""
    hasty, patient = schedulers.make(proxy.port, SHORT), schedulers.make()
    for number in range(20):
        patient.schedule(f"taken-{number}", future())
    hasty.cancel("warm", "operation")
    for number in range(20):
        proxy.stall(TO_CLIENT)
        with pytest.raises(SchedulerUnavailable):
            hasty.cancel(f"taken-{number}", "operation")
        proxy.heal()
        with contextlib.suppress(SchedulerUnavailable):  # On a busy machine 100 ms may pass.
            assert hasty.cancel(f"unknown-{number}", "operation") is False


def test_the_reason_names_the_error_and_nothing_else(schedulers: Schedulers) -> None:
    """No host, port, user or password gets into a message or a log."""
    secret: Any = {"username": "secret-user", "password": "secret-password"}
    wrong = schedulers.make(budget=SHORT, **secret)
    with pytest.raises(SchedulerUnavailable) as refused:
        wrong.cancel("a", "operation")
    nobody = schedulers.make(1, SHORT, **secret)
    with pytest.raises(SchedulerUnavailable) as late:
        nobody.cancel("a", "operation")
    # An asyncio client tries a wrong password again until the budget ends.
    assert str(refused.value) in {
        "Redis refused (AuthenticationError)",
        "Redis did not answer within 100 ms (TimeoutError)",
    }
    assert str(late.value) in {
        "Redis did not answer within 100 ms (ConnectionError)",
        "Redis did not answer within 100 ms (TimeoutError)",
    }
