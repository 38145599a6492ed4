"""What a cancel does when its store fails, and when somebody stops it."""

from __future__ import annotations

import asyncio
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest

from batch_cancel import (
    CancelFailed,
    JobKey,
)
from batch_cancel.domain.errors import Fault
from batch_cancel.ports import StoreFailed
from tests.unit.scripted_ports import (
    ADDRESS,
    ALL,
    Clock,
    Half,
    JoinedStore,
    Script,
    Store,
    _no_coroutine_is_forgotten,
    cancel,
    half,
    job,
    record,
)

__all__ = ["_no_coroutine_is_forgotten", "half"]


def after_fault(call: int) -> list[str]:
    """Return the calls of a cancel whose call of this number, from 1, fails."""
    calls = ALL[:call]
    return [*calls, "rollback"] if 1 < call < 5 else calls


KINDS = [
    (Fault.CONFLICT, True),
    (Fault.INTERRUPTED, True),
    (Fault.BUSY, True),
    (Fault.REFUSED, False),
]


@pytest.mark.parametrize("call", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("outcome", ["unchanged", "unknown"])
@pytest.mark.parametrize(("kind", "retryable"), KINDS)
def test_a_fault_that_the_store_understood_keeps_its_words(
    half: Half, call: int, outcome: Any, kind: Fault, *, retryable: bool
) -> None:
    """What it says of outcome and retry is what the caller is told, for this job."""
    fault = StoreFailed("the disk is full", outcome, kind)
    script = Script(job(), faults={call: fault})
    with pytest.raises(CancelFailed) as failure:
        cancel(half, script, organization_id="acme")
    error = failure.value
    assert error.key == JobKey("job", "acme")
    assert error.reason == "the disk is full"
    assert (error.outcome, error.retryable) == (outcome, retryable)
    assert error.__cause__ is fault
    assert script.calls == after_fault(call)


@pytest.mark.parametrize("call", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    "fault",
    [ValueError(ADDRESS), StopIteration(ADDRESS), AssertionError(ADDRESS), MemoryError(ADDRESS)],
    ids=lambda it: type(it).__name__,
)
def test_a_fault_that_nobody_understood_is_a_failure(
    half: Half, call: int, fault: Exception
) -> None:
    """Before the commit nothing was changed; of a commit that raised nobody knows."""
    script = Script(job(), faults={call: fault})
    with pytest.raises(CancelFailed) as failure:
        cancel(half, script)
    assert failure.value.outcome == ("unknown" if call == 5 else "unchanged")
    assert failure.value.key == JobKey("job")
    assert "hunter2" not in str(failure.value)
    assert script.calls == after_fault(call)


@pytest.mark.parametrize(
    "found",
    [
        "job",
        42,
        {"id": "job", "status": "scheduled"},
        ("job", "scheduled"),
        object(),
        [],
        False,
        SimpleNamespace(key="job", status="paused", deferred_id=None, cancellation=None),
    ],
    ids=lambda it: type(it).__name__,
)
def test_a_job_that_is_none_is_a_failure(half: Half, found: object) -> None:
    """A port that gives anything but a job or None: nothing is changed."""
    script = Script(found)
    with pytest.raises(CancelFailed) as failure:
        cancel(half, script)
    assert failure.value.outcome == "unchanged"
    assert not failure.value.retryable
    assert str(failure.value) == (
        f"batch job 'job': the store returned {type(found).__name__} instead of a Job; "
        "nothing was changed"
    )
    assert script.calls == ["begin", "lock", "rollback"]


@pytest.mark.parametrize(
    "contacts", [None, -1, "58", 58.0, [], object()], ids=lambda it: type(it).__name__
)
def test_a_number_of_contacts_that_is_none_is_a_failure(half: Half, contacts: object) -> None:
    """What can't be recorded is not committed."""
    script = Script(job(), contacts=contacts)
    with pytest.raises(CancelFailed) as failure:
        cancel(half, script)
    assert failure.value.outcome == "unchanged"
    assert script.calls == ["begin", "lock", "cancel_contacts", "rollback"]


@pytest.mark.parametrize(
    "locked_at",
    [None, "2026-03-01", 0, datetime(2026, 3, 1, 12)],  # noqa: DTZ001  # That is the point.
    ids=str,
)
def test_a_clock_that_tells_no_time_is_a_failure(half: Half, locked_at: object) -> None:
    """A cancellation without its moment is not committed."""
    script = Script(job(locked_at=locked_at))
    with pytest.raises(CancelFailed) as failure:
        cancel(half, script)
    assert failure.value.outcome == "unchanged"
    assert script.calls[-1] == "rollback"


def test_a_record_that_is_none_is_a_failure(half: Half) -> None:
    """A cancelled job whose record is garbage: neither replayed nor refused with it."""
    script = Script(job("cancelled", cancellation="op-1"))
    with pytest.raises(CancelFailed):
        cancel(half, script, operation_id="op-1")
    assert script.calls == ["begin", "lock", "rollback"]


def test_a_transaction_that_is_none_is_a_failure(half: Half) -> None:
    """A unit of work that gives no repositories: nothing is changed."""
    script = Script(job())
    with pytest.raises(CancelFailed) as failure:
        half.cancel_job("job", uow=Store(script, object()), scheduler=Clock(script))
    assert failure.value.outcome == "unchanged"
    assert script.calls == ["begin", "rollback"]


@pytest.mark.parametrize(
    ("is_joined", "told"),
    [
        (
            True,
            (
                "cancel_job was called within your own transaction, whose rollback would leave a "
                "scheduled job without a deferred start: call cancel_rows there, and "
                "remove_deferred after your commit"
            ),
        ),
        ("no", "the store returned str instead of a bool"),
    ],
)
def test_a_whole_cancel_in_a_transaction_of_the_callers_is_refused(
    half: Half, is_joined: object, told: str
) -> None:
    """Before any call: the caller's rollback would come too late for the deferred start."""
    script = Script(job())
    store = JoinedStore(script, is_joined)
    with pytest.raises(CancelFailed) as failure:
        half.cancel_job("job", uow=store, scheduler=Clock(script), organization_id="acme")
    assert str(failure.value) == f"batch job 'job': {told}; nothing was changed"
    assert failure.value.key == JobKey("job", "acme")
    assert (failure.value.outcome, failure.value.fault) == ("unchanged", Fault.REFUSED)
    assert script.calls == []


def test_a_store_that_is_not_joined_is_asked_as_ever(half: Half) -> None:
    """That it might be is no reason."""
    script = Script(job())
    result = half.cancel_job(
        "job", uow=JoinedStore(script, repositories=False), scheduler=Clock(script)
    )
    assert result.redis_job_cancelled


# Whoever stops us stops us -----------------------------------------------------------------------


@pytest.mark.parametrize("call", range(1, 10))
@pytest.mark.parametrize(
    "stop", [KeyboardInterrupt, SystemExit, asyncio.CancelledError, GeneratorExit]
)
def test_whoever_stops_us_stops_us(
    half: Half, call: int, stop: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """The very same exception comes out, at once, and an open transaction is rolled back."""
    fault = stop("stop")
    script = Script(job(), faults={call: fault})
    with pytest.raises(stop) as caught:
        cancel(half, script)
    assert caught.value is fault
    assert fault.__cause__ is None
    assert not caplog.records
    assert script.calls == ([*ALL[:8], "rollback"] if call == 8 else after_fault(call))


def test_whoever_stops_a_refusal_stops_it(half: Half) -> None:
    """Also while it drives a removal that another cancellation owes."""
    fault = KeyboardInterrupt()
    script = Script(job("cancelled", cancellation=record()), faults={4: fault})
    with pytest.raises(KeyboardInterrupt) as caught:
        cancel(half, script, operation_id="op-2")
    assert caught.value is fault
