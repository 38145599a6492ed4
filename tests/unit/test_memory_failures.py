"""Failures that a test asks of the memory store and scheduler, and the clock that it sets."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

import batch_cancel
from batch_cancel import (
    CancelFailed,
    ContactStatus,
    Fault,
    JobNotFound,
    Removal,
    SchedulerUnavailable,
    StoreFailed,
)
from batch_cancel.adapters.memory import (
    AsyncMemoryScheduler,
    AsyncMemoryStore,
    MemoryScheduler,
    MemoryStore,
)
from batch_cancel.adapters.memory.failures import Phase
from batch_cancel.adapters.postgres.errors import Progress, translated
from batch_cancel.adapters.redis import script_runner
from batch_cancel.domain.defaults import SCHEDULER_BUDGET

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
AN_HOUR = timedelta(hours=1)


class Shop:
    """A store with one scheduled job, and its scheduler; blocking, or asyncio."""

    def __init__(self, half: str) -> None:
        self._half = half
        is_asyncio = half == "asyncio"
        self.store: Any = AsyncMemoryStore() if is_asyncio else MemoryStore()
        self.scheduler: Any = AsyncMemoryScheduler() if is_asyncio else MemoryScheduler()
        self.store.add_job("job", deferred_id="start", contacts={"ann": "pending"})
        self.scheduler.schedule("start", datetime.now(UTC) + AN_HOUR)

    def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Call a function of the package on the store."""
        name = f"{name}_async" if self._half == "asyncio" else name
        return awaited(getattr(batch_cancel, name)(*arguments, uow=self.store, **options))

    def cancel(self, job_id: str = "job") -> Any:
        """Cancel a job."""
        return self.call("cancel_job", job_id, scheduler=self.scheduler, operation_id="op")

    def reconcile(self) -> Any:
        """Finish what is pending."""
        return self.call("reconcile", scheduler=self.scheduler, lease=timedelta(0))

    @property
    def status(self) -> str:
        """The committed status of the job."""
        status: str = self.store.job("job").status
        return status


def awaited(answer: Any) -> Any:
    """Return the answer, awaited if it is a coroutine."""
    return asyncio.run(answer) if asyncio.iscoroutine(answer) else answer


@pytest.fixture(params=["blocking", "asyncio"])
def shop(request: pytest.FixtureRequest) -> Shop:
    """Return a shop."""
    return Shop(request.param)


# The store ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "phase", "outcome", "status"),
    [
        ("conflict", "before_commit", "unchanged", "scheduled"),
        ("interrupted", "before_commit", "unchanged", "scheduled"),
        ("busy", "before_commit", "unchanged", "scheduled"),
        ("late", "before_commit", "unchanged", "scheduled"),
        ("refused", "before_commit", "unchanged", "scheduled"),
        ("incomplete", "before_commit", "unchanged", "scheduled"),
        ("conflict", "at_commit", "unchanged", "scheduled"),
        ("busy", "at_commit", "unchanged", "scheduled"),
        ("refused", "at_commit", "unchanged", "scheduled"),
        ("incomplete", "at_commit", "unchanged", "scheduled"),
        ("interrupted", "at_commit", "unknown", "scheduled"),
        ("late", "at_commit", "unknown", "scheduled"),
        ("interrupted", "after_commit", "unknown", "cancelled"),
        ("late", "after_commit", "unknown", "cancelled"),
    ],
)
def test_a_store_fails_once_as_it_was_asked(
    shop: Shop, fault: str, phase: Phase, outcome: str, status: str
) -> None:
    """The next cancel is the right answer to each."""
    shop.store.fail_next(Fault(fault), phase)
    with pytest.raises(CancelFailed) as failed:
        shop.cancel()
    assert (failed.value.fault, failed.value.outcome) == (fault, outcome)
    assert shop.status == status
    assert shop.store.contacts("job") == {
        "ann": "cancelled" if status == "cancelled" else "pending"
    }
    again = shop.cancel()
    assert (again.replayed, again.contacts_cancelled) == (status == "cancelled", 1)
    assert shop.status == "cancelled"


def test_a_broken_connection_is_what_fails_a_store_by_default(shop: Shop) -> None:
    """Before anything was read."""
    shop.store.fail_next()
    with pytest.raises(CancelFailed) as failed:
        shop.cancel("no such job")
    assert (failed.value.fault, failed.value.outcome) == ("interrupted", "unchanged")


def test_failures_happen_in_the_order_in_which_they_were_asked_for(shop: Shop) -> None:
    """One a transaction."""
    shop.store.fail_next(Fault.LATE)
    shop.store.fail_next(Fault.BUSY)
    for fault in ("late", "busy"):
        with pytest.raises(CancelFailed) as failed:
            shop.cancel()
        assert failed.value.fault == fault
    assert shop.cancel().redis_job_cancelled


def test_a_commit_fails_only_where_there_is_one(shop: Shop) -> None:
    """A transaction that is rolled back leaves the failure to the next one."""
    shop.store.fail_next(Fault.INTERRUPTED, "at_commit")
    with pytest.raises(JobNotFound):
        shop.cancel("no such job")
    with pytest.raises(CancelFailed):
        shop.cancel()


def test_the_step_of_a_worker_fails_too(shop: Shop) -> None:
    """Its error is the store's own."""
    shop.store.fail_next(Fault.LATE)
    with pytest.raises(StoreFailed) as failed:
        shop.call("start_job", "job")
    assert (failed.value.fault, failed.value.outcome) == ("late", "unchanged")
    assert shop.call("start_job", "job")


def test_a_savepoint_fails_like_a_transaction() -> None:
    """The transaction around it goes on without it."""
    store = MemoryStore()
    store.add_job("job")
    with store.begin():
        store.fail_next(Fault.INTERRUPTED, "at_commit")
        with pytest.raises(CancelFailed) as failed:
            batch_cancel.cancel_rows("job", uow=store)
        assert failed.value.outcome == "unknown"
    job = store.job("job")
    assert job is not None
    assert job.status == "scheduled"


@pytest.mark.parametrize("fault", ["conflict", "busy", "refused", "incomplete"])
def test_what_a_store_reports_did_not_happen(shop: Shop, fault: str) -> None:
    """So it can't follow a commit."""
    with pytest.raises(ValueError, match="after a commit") as refused:
        shop.store.fail_next(Fault(fault), "after_commit")
    assert str(refused.value) == (
        f"a store that reports {fault!r} has rolled back: after a commit only its answer can be "
        "lost, as interrupted or late"
    )
    assert shop.cancel().redis_job_cancelled


@pytest.mark.parametrize(
    ("fault", "phase", "words"),
    [
        ("deadlock", "at_commit", "one of conflict, interrupted, .*, got 'deadlock'"),
        ("late", "commit", "one of before_commit, at_commit, after_commit, got 'commit'"),
    ],
)
def test_no_other_failure_can_be_asked_for(shop: Shop, fault: Any, phase: Any, words: str) -> None:
    """A slip of the pen is no test that passes."""
    with pytest.raises(ValueError, match=words):
        shop.store.fail_next(fault, phase)


@pytest.mark.parametrize(
    ("error", "progress", "fault", "phase"),
    [
        (psycopg.errors.DeadlockDetected(), Progress("working"), "conflict", "before_commit"),
        (psycopg.errors.DeadlockDetected(), Progress("committing"), "conflict", "at_commit"),
        (psycopg.OperationalError(), Progress("working"), "interrupted", "before_commit"),
        (psycopg.OperationalError(), Progress("committing"), "interrupted", "at_commit"),
        (psycopg.OperationalError(), Progress("committing"), "interrupted", "after_commit"),
        (psycopg.errors.TooManyConnections(), Progress("connecting"), "busy", "before_commit"),
        (psycopg.errors.LockNotAvailable(), Progress("working"), "late", "before_commit"),
        (psycopg.OperationalError(), Progress("committing", is_cut=True), "late", "at_commit"),
        (psycopg.OperationalError(), Progress("committing", is_cut=True), "late", "after_commit"),
    ],
)
def test_an_error_is_the_one_of_a_database(
    error: psycopg.Error, progress: Progress, fault: str, phase: Phase
) -> None:
    """Its type, kind of fault, outcome and sentence."""
    with pytest.raises(StoreFailed) as real:
        translate(error, progress)
    store = MemoryStore()
    store.fail_next(Fault(fault), phase)
    with pytest.raises(StoreFailed) as asked, store.begin():
        pass
    assert said(asked.value) == said(real.value)


def translate(error: psycopg.Error, progress: Progress) -> None:
    """Raise an error of the driver in a transaction of the Postgres store that came so far."""
    with translated() as now:
        now.phase, now.is_cut = progress.phase, progress.is_cut
        raise error


def said(error: StoreFailed) -> tuple[str, str, Fault]:
    """Return what an error says."""
    return error.reason, error.outcome, error.fault


# The scheduler -----------------------------------------------------------------------------------


def test_a_scheduler_that_stops_answering_leaves_a_removal_pending(shop: Shop) -> None:
    """Nothing was done, and a later pass does it."""
    shop.scheduler.stop_answering()
    assert shop.cancel().removal is Removal.PENDING
    assert shop.scheduler.waiting() == {"start"}
    shop.scheduler.answer_again()
    assert [it.removal for it in shop.reconcile()] == [Removal.REMOVED]
    assert shop.scheduler.waiting() == set()


def test_a_scheduler_that_answers_late_has_done_it(shop: Shop) -> None:
    """The same operation gets the lost answer."""
    shop.scheduler.answer_late()
    assert shop.cancel().removal is Removal.PENDING
    assert shop.scheduler.waiting() == set()
    shop.scheduler.answer_again()
    assert shop.cancel().redis_job_cancelled


@pytest.mark.parametrize("mode", ["stop_answering", "answer_late"])
def test_no_call_is_answered(shop: Shop, mode: str) -> None:
    """By the error that the Redis scheduler raises; a test may look all the same."""
    real = script_runner._late(TimeoutError(), SCHEDULER_BUDGET.total_seconds())
    getattr(shop.scheduler, mode)()
    calls: dict[str, tuple[Any, ...]] = {
        "cancel": ("start", "op"),
        "schedule": ("other", NOON),
        "waiting_among": ({"start"},),
        "claim": (1, AN_HOUR),
        "ack": ("start", "token"),
    }
    for name, arguments in calls.items():
        with pytest.raises(SchedulerUnavailable) as refused:
            awaited(getattr(shop.scheduler, name)(*arguments))
        assert refused.value.reason == real.reason
    assert shop.scheduler.waiting() == ({"other"} if mode == "answer_late" else {"start"})


def test_the_last_word_counts(shop: Shop) -> None:
    """A scheduler is late, silent or in time, never two of them."""
    shop.scheduler.answer_late()
    shop.scheduler.stop_answering()
    assert shop.cancel().removal is Removal.PENDING
    assert shop.scheduler.waiting() == {"start"}
    shop.scheduler.answer_late()
    assert shop.reconcile()[0].removal is Removal.PENDING
    assert shop.scheduler.waiting() == set()


# The clock ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MemoryStore, AsyncMemoryStore])
def test_a_store_reads_the_clock_that_it_was_given(kind: Any) -> None:
    """In the record of a cancellation, and in what is due; it may be set later."""
    shop = Shop("asyncio" if kind is AsyncMemoryStore else "blocking")
    shop.store = kind(clock=lambda: NOON)
    shop.store.add_job("job", "running", contacts={"ann": "pending"})
    assert shop.store.job("job").locked_at == NOON
    assert shop.call("claim_contacts", "job", limit=5) == ["ann"]
    retry_at = NOON + AN_HOUR
    shop.call("settle_contact", "job", "ann", ContactStatus.BUSY, retry_at=retry_at)
    assert shop.call("claim_contacts", "job", limit=5) == []
    shop.store.clock = lambda: retry_at
    assert shop.call("claim_contacts", "job", limit=5) == ["ann"]
    shop.cancel()
    record = shop.call("cancellation_of", "job")
    assert record.cancelled_at == retry_at


@pytest.mark.parametrize("kind", [MemoryScheduler, AsyncMemoryScheduler])
def test_a_scheduler_reads_the_clock_that_it_was_given(kind: Any) -> None:
    """A start is due by it."""
    scheduler = kind(clock=lambda: NOON)
    scheduler.schedule("start", NOON + AN_HOUR)
    assert awaited(scheduler.claim(1, AN_HOUR)) == []
    scheduler.clock = lambda: NOON + AN_HOUR
    assert [it.deferred_id for it in awaited(scheduler.claim(1, AN_HOUR))] == ["start"]


# Jobs --------------------------------------------------------------------------------------------


def test_a_job_is_added_with_its_contacts(shop: Shop) -> None:
    """In its organization, and their statuses are any."""
    contacts = {"ann": "pending", "bob": "paused", "eve": None}
    shop.store.add_job("job", "running", "acme", contacts=contacts)
    assert shop.store.contacts("job", "acme") == contacts
    assert shop.store.contacts("job") == {"ann": "pending"}


def test_contacts_without_statuses_are_refused(shop: Shop) -> None:
    """With a sentence, and nothing is added."""
    ids: Any = ["ann", "bob"]
    with pytest.raises(TypeError, match=r'such as \{"c1": "pending"\}, got list'):
        shop.store.add_job("other", contacts=ids)
    assert shop.store.job("other") is None
    with pytest.raises(TypeError, match="got list"):
        shop.store.add_contacts("job", ids)
