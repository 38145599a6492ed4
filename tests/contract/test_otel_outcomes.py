"""What OpenTelemetry is told of retries, interrupts, tasks, and outcomes of every kind."""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.trace import StatusCode

from batch_cancel import (
    CancelFailed,
    CancelResult,
    cancel_job,
    cancel_job_async,
    inspect,
    reconcile,
)
from batch_cancel.adapters.memory import (
    AsyncMemoryScheduler,
    AsyncMemoryStore,
    MemoryScheduler,
    MemoryStore,
)
from batch_cancel.adapters.otel import Telemetry
from batch_cancel.domain.errors import Fault, StoreFailed
from batch_cancel.domain.job import JobKey
from tests.contract.watched import ROWS, Watch, watch

__all__ = ["watch"]


def test_a_repository_that_is_not_offered_stays_none(watch: Watch) -> None:
    """The use cases ask just that."""

    class Bare(MemoryStore):
        def begin(self) -> Any:
            from contextlib import nullcontext
            from types import SimpleNamespace

            return nullcontext(SimpleNamespace(outbox=None, inspection=None))

    uow: Any = watch.telemetry.uow(Bare())
    with uow.begin() as repositories:
        assert repositories.outbox is None
    assert reconcile(uow=uow, scheduler=MemoryScheduler()) == []
    with pytest.raises(StoreFailed):
        inspect(uow=uow, scheduler=MemoryScheduler())
    with pytest.raises(AttributeError):
        repositories.unheard_of.of()


def test_retries_are_seen(watch: Watch) -> None:
    """Each attempt is a transaction, with the pause between them."""

    class Broken:
        def begin(self) -> Any:
            fault = StoreFailed(reason="a conflict", fault=Fault.CONFLICT)
            raise fault

        def pause(self, attempts: int) -> None:
            """Do not wait."""

    uow: Any = watch.telemetry.uow(Broken())
    with pytest.raises(CancelFailed):
        watch.telemetry.counted(cancel_job)("job", uow=uow, scheduler=MemoryScheduler())
    assert watch.names == [*["batch_cancel.uow.pause"] * 3, "batch_cancel.cancel_job"]
    assert watch.numbers()["cancellations"] == {("failed",): 1}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (CancelFailed(None, "why", "unknown"), "unknown"),  # type: ignore[arg-type]
        (CancelFailed(None, "why"), "failed"),  # type: ignore[arg-type]
        (ValueError("a bad operation id"), "failed"),
        (KeyboardInterrupt(), "interrupted"),
        (asyncio.CancelledError(), "interrupted"),
    ],
    ids=lambda it: type(it).__name__,
)
def test_every_end_is_an_outcome(watch: Watch, error: BaseException, outcome: str) -> None:
    """Whoever stops us is counted, and stops us; blocking and asyncio."""

    def stop() -> None:
        raise error

    async def stop_async() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        watch.telemetry.counted(stop)()
    assert raised.value is error

    async def main() -> None:
        with pytest.raises(type(error)) as raised:
            await watch.telemetry.counted(stop_async)()
        assert raised.value is error

    asyncio.run(main())
    assert watch.numbers()["cancellations"] == {(outcome,): 2}
    for name in ("stop",):
        spans = [span for span in watch.spans if span.name == f"batch_cancel.{name}"]
        assert [span.status.status_code for span in spans] == [StatusCode.ERROR] * 2


def test_a_function_of_the_caller_s_own_is_named_as_he_named_it(watch: Watch) -> None:
    """A partial one by what it is a part of; its name and doc are kept."""
    store, scheduler = MemoryStore(), MemoryScheduler()
    store.add_job("job", "running")
    stop = functools.partial(cancel_job, uow=store, scheduler=scheduler)
    watch.telemetry.counted(stop)("job")
    assert watch.names == ["batch_cancel.cancel_job"]
    counted = watch.telemetry.counted(cancel_job)
    assert (counted.__name__, counted.__doc__) == (cancel_job.__name__, cancel_job.__doc__)


def test_tasks_at_once_keep_to_their_own_spans(watch: Watch) -> None:
    """What one awaits is never the parent of another's."""
    store, scheduler = AsyncMemoryStore(), AsyncMemoryScheduler()
    for number in range(10):
        store.add_job(f"job-{number}", "scheduled", deferred_id=f"start-{number}")
        assert scheduler.schedule(f"start-{number}", datetime.now(UTC) + timedelta(hours=1))
    uow, starts = watch.telemetry.uow(store), watch.telemetry.scheduler(scheduler)
    cancel = watch.telemetry.counted(cancel_job_async)

    async def main() -> None:
        await asyncio.gather(
            *(cancel(f"job-{number}", uow=uow, scheduler=starts) for number in range(10))
        )

    with watch.tracers.get_tracer("the caller").start_as_current_span("request") as request:
        asyncio.run(main())

    children: dict[object, list[str]] = {}
    for span in watch.spans:
        children.setdefault(span.parent and span.parent.span_id, []).append(span.name)
    assert children.pop(request.get_span_context().span_id) == ["batch_cancel.cancel_job"] * 10
    assert children.pop(None) == ["request"]
    assert Counter(map(tuple, children.values())) == {
        tuple(ROWS[:3]): 10,
        ("batch_cancel.outbox.settle",): 10,
        (
            "batch_cancel.transaction",
            "batch_cancel.scheduler.cancel",
            "batch_cancel.transaction",
        ): 10,
    }


def test_without_a_set_up_nothing_is_told_and_nothing_fails() -> None:
    """The API alone does nothing, as everywhere with OpenTelemetry."""
    telemetry = Telemetry()
    store = MemoryStore()
    store.add_job("job", "running", None)
    uow, scheduler = telemetry.uow(store), telemetry.scheduler(MemoryScheduler())
    result = telemetry.counted(cancel_job)("job", uow=uow, scheduler=scheduler)
    assert result.contacts_cancelled == 0


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (CancelFailed(JobKey("job"), "the line broke", "unknown"), "unknown"),
        (CancelFailed(JobKey("job"), "a lock"), "failed"),
        (RuntimeError("a bug"), "failed"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_what_cannot_be_answered_is_counted(
    watch: Watch, error: BaseException, outcome: str
) -> None:
    """An unknown outcome is one of its own: somebody should look."""

    def cancel(job_id: str) -> CancelResult:
        raise error

    with pytest.raises(type(error)) as raised:
        watch.telemetry.counted(cancel)("job")
    assert raised.value is error
    assert watch.numbers()["cancellations"] == {(outcome,): 1}


def test_each_number_says_what_it_counts(watch: Watch) -> None:
    """Units are those of the semantic conventions: things in braces."""
    meters = MeterProvider([reader := InMemoryMetricReader()])
    telemetry = Telemetry(tracer_provider=watch.tracers, meter_provider=meters)
    store, scheduler = MemoryStore(), MemoryScheduler()
    store.add_job("job", "scheduled", deferred_id="start")
    telemetry.counted(cancel_job)("job", uow=telemetry.uow(store), scheduler=scheduler)
    data = reader.get_metrics_data()
    assert data is not None
    [scope] = data.resource_metrics[0].scope_metrics
    assert {it.name: (it.unit, it.description) for it in scope.metrics} == {
        "batch_cancel.cancellations": ("{cancellation}", "Cancellations asked for, by outcome."),
        "batch_cancel.removals": ("{removal}", "What became of deferred starts."),
        "batch_cancel.contacts_cancelled": ("{contact}", "Contacts that a cancellation changed."),
    }
    assert scope.scope.name == "batch_cancel"
    assert {
        span.instrumentation_scope.name for span in watch.spans if span.instrumentation_scope
    } == {"batch_cancel"}
    meters.shutdown()
