"""What OpenTelemetry is told, in every world: spans, numbers, and nobody's secrets."""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from batch_cancel import (
    AlreadyTerminal,
    CancelFailed,
    CancelResult,
    JobNotFound,
    UnknownJobStatus,
    cancel_job,
    cancel_job_async,
    cancel_rows,
    cancel_rows_async,
    inspect,
    reconcile,
    reconcile_async,
    remove_deferred,
    remove_deferred_async,
)
from batch_cancel.adapters.memory import (
    AsyncMemoryScheduler,
    AsyncMemoryStore,
    MemoryScheduler,
    MemoryStore,
)
from batch_cancel.adapters.otel import Telemetry
from batch_cancel.adapters.postgres import AsyncPostgresUnitOfWork, PostgresUnitOfWork
from batch_cancel.domain.errors import Fault, SchedulerUnavailable, StoreFailed
from batch_cancel.domain.model import JobKey
from batch_cancel.ports import (
    AsyncRepeatableUnitOfWork,
    Checkable,
    InspectableScheduler,
    RepeatableUnitOfWork,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tests.pairs import World

ROWS = [
    "batch_cancel.jobs.lock",
    "batch_cancel.contacts.cancel",
    "batch_cancel.jobs.mark_cancelled",
    "batch_cancel.transaction",
]
DONE = [
    *ROWS,
    "batch_cancel.scheduler.cancel",
    "batch_cancel.outbox.settle",
    "batch_cancel.transaction",
    "batch_cancel.cancel_job",
]
"""In the order in which they end."""


class Watch:
    """A telemetry, and what it has told."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self._meters = MeterProvider([self._reader])
        self.telemetry = Telemetry(tracer_provider=self.tracers, meter_provider=self._meters)

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans that ended, in that order."""
        return list(self._spans.get_finished_spans())

    @property
    def names(self) -> list[str]:
        """Their names."""
        return [span.name for span in self.spans]

    def span(self, name: str) -> ReadableSpan:
        """Give the one of this name."""
        [span] = [span for span in self.spans if span.name == f"batch_cancel.{name}"]
        return span

    def numbers(self) -> dict[str, dict[Any, Any]]:
        """Give each counter's value by its labels, and each histogram's count and sum."""
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name.removeprefix("batch_cancel."): dict(
                map(self._point, metric.data.data_points)
            )
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    @staticmethod
    def _point(point: Any) -> tuple[Any, Any]:
        value = (point.count, point.sum) if hasattr(point, "count") else point.value
        return tuple(point.attributes.values()), value

    def everything(self) -> str:
        """Give all that was told, as an exporter would send it."""
        data = self._reader.get_metrics_data()
        return "\n".join(span.to_json() for span in self.spans) + (data.to_json() if data else "")

    def close(self) -> None:
        """Shut down."""
        self.tracers.shutdown()
        self._meters.shutdown()


@pytest.fixture
def watch() -> Generator[Watch]:
    """Lend a telemetry."""
    watch = Watch()
    yield watch
    watch.close()


class Watched:
    """A world whose ports are watched."""

    def __init__(self, world: World, watch: Watch) -> None:
        self.world = world
        self._watch = watch
        self.uow = watch.telemetry.uow(world.store.uow)

    def call(
        self,
        function: Callable[..., Any],
        function_async: Callable[..., Any],
        *args: Any,
        **more: Any,
    ) -> Any:
        """Call the half that is this world's, counted."""
        chosen = function_async if self.world.runner else function
        scheduler = more.pop("scheduler", self.world.scheduler)
        if "cancel_rows" not in chosen.__name__:
            more["scheduler"] = self._watch.telemetry.scheduler(scheduler)
        return self.world._run(self._watch.telemetry.counted(chosen), *args, uow=self.uow, **more)

    def cancel(self, job_id: str, **options: Any) -> CancelResult:
        """Cancel."""
        result: CancelResult = self.call(cancel_job, cancel_job_async, job_id, **options)
        return result


@pytest.fixture
def watched(world: World, watch: Watch) -> Watched:
    """Lend a watched world."""
    return Watched(world, watch)


def test_a_cancellation_is_a_tree_of_spans(watched: Watched, watch: Watch) -> None:
    """Each port call under its transaction, all of it under the call of the caller's own."""
    watched.world.add_job("job", "scheduled", ["pending", "busy"], deferred_id="start")
    watched.world.schedule("start")
    tracer = watch.tracers.get_tracer("the caller")

    with tracer.start_as_current_span("request"):
        result = watched.cancel("job")

    assert result.redis_job_cancelled
    assert watch.names == [*DONE, "request"]
    parents = {span.context.span_id: span.name for span in watch.spans if span.context}
    assert [span.parent and parents[span.parent.span_id] for span in watch.spans] == [
        "batch_cancel.transaction",
        "batch_cancel.transaction",
        "batch_cancel.transaction",
        "batch_cancel.cancel_job",
        "batch_cancel.cancel_job",
        "batch_cancel.transaction",
        "batch_cancel.cancel_job",
        None if watched.world.runner else "request",  # The event loop has a context of its own.
        None,
    ]
    assert {span.status.status_code for span in watch.spans} == {StatusCode.UNSET}
    assert watch.span("contacts.cancel").attributes == {
        "batch_cancel.job_id": "job",
        "batch_cancel.answer": 2,
    }
    assert watch.span("scheduler.cancel").attributes == {"batch_cancel.answer": True}
    assert watch.span("jobs.mark_cancelled").attributes == {"batch_cancel.job_id": "job"}
    assert watch.span("cancel_job").attributes == {
        "batch_cancel.job_id": "job",
        "batch_cancel.previous_status": "scheduled",
        "batch_cancel.contacts_cancelled": 2,
        "batch_cancel.removal": "removed",
        "batch_cancel.replayed": False,
    }
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_every_outcome_is_counted(watched: Watched, watch: Watch) -> None:
    """By its name alone: no label names a job."""
    world = watched.world
    world.add_job("job", "scheduled", ["pending", "busy"], deferred_id="start")
    world.schedule("start")
    world.add_job("running", "running", ["pending"])
    world.add_job("odd", "paused")
    watched.cancel("job", operation_id="op")
    watched.cancel("job", operation_id="op")
    watched.cancel("running")
    for job_id, error in (
        ("job", AlreadyTerminal),
        ("running", AlreadyTerminal),
        ("missing", JobNotFound),
        ("odd", UnknownJobStatus),
    ):
        with pytest.raises(error):
            watched.cancel(job_id)

    assert watch.numbers() == {
        "cancellations": {
            ("cancelled",): 2,
            ("replayed",): 1,
            ("already_terminal",): 2,
            ("not_found",): 1,
            ("unknown_status",): 1,
        },
        "removals": {("removed", "cancel_job"): 2, ("not_applicable", "cancel_job"): 1},
        "contacts_cancelled": {(): (2, 3)},
    }


def test_two_steps_are_counted_once(watched: Watched, watch: Watch) -> None:
    """When the second is done: the first may yet be rolled back."""
    watched.world.add_job("job", "pending", ["pending"])
    cancellation = watched.call(cancel_rows, cancel_rows_async, "job")
    assert "cancellations" not in watch.numbers()
    watched.call(remove_deferred, remove_deferred_async, cancellation)
    assert watch.numbers()["cancellations"] == {("cancelled",): 1}
    with pytest.raises(JobNotFound):
        watched.call(cancel_rows, cancel_rows_async, "missing")
    assert watch.numbers()["cancellations"] == {("cancelled",): 1, ("not_found",): 1}
    assert watch.span("remove_deferred").attributes["batch_cancel.job_id"] == "job"  # type: ignore[index]


def test_reconcile_counts_removals_and_no_cancellation(watched: Watched, watch: Watch) -> None:
    """That was counted when it happened, by whoever did it."""
    watched.world.add_job("job", "scheduled", deferred_id="start")
    watched.world.schedule("start")
    watched.world.cancel_rows("job")
    watched.call(reconcile, reconcile_async, lease=timedelta(0))
    assert watch.numbers() == {"removals": {("removed", "reconcile"): 1}}
    assert watch.names == [
        "batch_cancel.outbox.take",
        "batch_cancel.transaction",
        "batch_cancel.scheduler.cancel",
        "batch_cancel.outbox.settle",
        "batch_cancel.transaction",
        "batch_cancel.reconcile",
    ]


def test_a_refusal_is_no_error_of_a_span(watched: Watched, watch: Watch) -> None:
    """404 and 400 are answers; the spans name them."""
    with pytest.raises(JobNotFound):
        watched.cancel("missing")
    for span in (watch.span("transaction"), watch.span("cancel_job")):
        assert span.status.status_code is StatusCode.UNSET
        assert span.attributes is not None
        assert span.attributes["error.type"] == "JobNotFound"
        assert span.attributes["batch_cancel.error"] == "job_not_found"
        assert span.events == ()


def test_a_fault_is_an_error_of_its_span_and_goes_through_as_it_is(
    watched: Watched, watch: Watch
) -> None:
    """The cancellation is none: it is answered 200, and says so."""
    fault = SchedulerUnavailable("no answer from redis://:hunter2@cache")

    def fail(*_: Any) -> None:
        raise fault

    watched.world.add_job("job", "scheduled", deferred_id="start")
    watched.cancel("job", scheduler=watched.world.scheduler_that(fail))

    span = watch.span("scheduler.cancel")
    assert (span.status.status_code, span.status.description) == (
        StatusCode.ERROR,
        "scheduler_unavailable",
    )
    assert [(it.name, dict(it.attributes or {})) for it in span.events] == [
        ("exception", {"exception.type": "SchedulerUnavailable"})
    ]
    assert watch.span("cancel_job").status.status_code is StatusCode.UNSET
    assert watch.numbers()["removals"] == {("pending", "cancel_job"): 1}
    assert "hunter2" not in watch.everything()


def test_nothing_is_told_that_is_nobody_s_business(watched: Watched, watch: Watch) -> None:
    """Neither who nor why, nor a phone, a connection string or a key, whatever fails."""
    secrets = ["ada@example.com", "wrong list", "+4930901820", "postgresql://u:hunter2@h", "sk-1"]

    def fail(*_: Any) -> None:
        raise RuntimeError(" ".join(secrets))

    world = watched.world
    for number, scheduler in enumerate((world.scheduler, world.scheduler_that(fail))):
        job_id = f"job-{number}"
        world.add_job(job_id, "scheduled", {secrets[2]: "pending"}, deferred_id=f"start-{number}")
        watched.cancel(
            job_id,
            scheduler=scheduler,
            actor=secrets[0],
            reason=secrets[1],
            on_cancelled=world.hook_that(fail),
        )
    watched.call(
        reconcile, reconcile_async, lease=timedelta(0), on_cancelled=world.hook_that(fail)
    )
    told = watch.everything()
    assert "job-0" in told
    assert [secret for secret in secrets if secret in told] == []


@pytest.mark.parametrize("job_id", ["\ud800", "\0", "", "x" * 100_000])
def test_an_id_that_no_job_has_is_not_told(watched: Watched, watch: Watch, job_id: str) -> None:
    """An exporter could not send it."""
    with pytest.raises(JobNotFound):
        watched.cancel(job_id)
    assert "batch_cancel.job_id" not in (watch.span("cancel_job").attributes or {})
    assert len(watch.everything()) < 50_000


def test_what_a_store_can_do_beyond_the_minimum_it_still_can(
    watched: Watched, watch: Watch
) -> None:
    """Inspection, records, retries, a check; what it can't it still can't."""
    inner, outer = watched.world.store.uow, watched.uow
    assert isinstance(outer, type(inner))
    for capability in (RepeatableUnitOfWork, AsyncRepeatableUnitOfWork, Checkable):
        assert isinstance(outer, capability) == isinstance(inner, capability)
    scheduler = watch.telemetry.scheduler(watched.world.scheduler)
    assert isinstance(scheduler, InspectableScheduler)
    assert isinstance(scheduler, type(watched.world.scheduler))
    assert watched.world.inspect(uow=outer, scheduler=scheduler) == watched.world.inspect()
    assert watch.names == [
        "batch_cancel.inspection.look",
        "batch_cancel.transaction",
        "batch_cancel.scheduler.waiting_among",
    ]


# Without a world ---------------------------------------------------------------------------------


def test_a_capability_that_is_not_there_is_not_made_up(watch: Watch) -> None:
    """The memory store can't be repeated, so it is not."""
    wrapped = watch.telemetry.uow(MemoryStore())
    assert isinstance(wrapped, MemoryStore)
    assert not isinstance(wrapped, RepeatableUnitOfWork)
    assert not hasattr(wrapped, "pause")
    assert isinstance(watch.telemetry.uow(PostgresUnitOfWork(_never)), RepeatableUnitOfWork)
    assert isinstance(
        watch.telemetry.uow(AsyncPostgresUnitOfWork(_never)), AsyncRepeatableUnitOfWork
    )


def _never() -> Any:
    raise AssertionError


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
