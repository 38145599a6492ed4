"""What OpenTelemetry is told, in every world: spans, numbers, and nobody's secrets."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from batch_cancel import (
    AlreadyTerminal,
    JobNotFound,
    UnknownJobStatus,
    cancel_rows,
    cancel_rows_async,
    reconcile,
    reconcile_async,
    remove_deferred,
    remove_deferred_async,
)
from batch_cancel.adapters.memory import (
    MemoryStore,
)
from batch_cancel.adapters.postgres import AsyncPostgresUnitOfWork, PostgresUnitOfWork
from batch_cancel.domain.errors import SchedulerUnavailable
from batch_cancel.ports import (
    AsyncRepeatableUnitOfWork,
    Checkable,
    InspectableScheduler,
    RepeatableUnitOfWork,
)
from tests.contract.watched import DONE, Watch, Watched, never, watch, watched

__all__ = ["watch", "watched"]


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


def test_a_workers_step_is_a_call_in_a_transaction(watched: Watched, watch: Watch) -> None:
    """Also the second one, which a store may commit together with its call."""
    watched.world.add_job("job", "running", ["pending", "busy"])
    for _ in range(2):
        assert len(watched.world.claim("job", limit=1, uow=watched.uow)) == 1
    assert watch.names == ["batch_cancel.work.claim", "batch_cancel.transaction"] * 2


# Without a world ---------------------------------------------------------------------------------


def test_a_capability_that_is_not_there_is_not_made_up(watch: Watch) -> None:
    """The memory store can't be repeated, so it is not."""
    wrapped = watch.telemetry.uow(MemoryStore())
    assert isinstance(wrapped, MemoryStore)
    assert not isinstance(wrapped, RepeatableUnitOfWork)
    assert not hasattr(wrapped, "pause")
    assert not hasattr(wrapped, "begin_autocommit")
    assert isinstance(watch.telemetry.uow(PostgresUnitOfWork(never)), RepeatableUnitOfWork)
    assert isinstance(
        watch.telemetry.uow(AsyncPostgresUnitOfWork(never)), AsyncRepeatableUnitOfWork
    )
