"""
The order of the I/O, with the smallest ports that an adopter could write.

Every port writes down that it was called, and does there what the test tells it to do: answer, or
raise. Each test runs the blocking half and the asyncio half of the use case.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from batch_cancel import (
    AlreadyTerminal,
    CancelFailed,
    Cancellation,
    CancelResult,
    JobKey,
    JobNotFound,
    JobStatus,
    Removal,
    UnknownJobStatus,
    cancel_job,
    cancel_job_async,
    cancel_rows,
    cancel_rows_async,
    remove_deferred,
    remove_deferred_async,
)
from batch_cancel.domain.errors import Fault
from batch_cancel.domain.model import CancellationRecord, Job
from batch_cancel.ports import SchedulerUnavailable, StoreFailed

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ADDRESS = "redis://admin:hunter2@10.0.0.7:6379"


# Ports -------------------------------------------------------------------------------------------


@attrs.define
class Script:
    """
    What the ports do when they are called, and what was called.

    Arguments:
        job: what `lock` finds.
        contacts: what `contacts.cancel` answers.
        removed: what the scheduler answers.
        found: what `outbox.find` finds.
        faults: what to raise instead, by the number of the call, from 1.
        calls: what was called, in order.
        arguments: with which arguments.
    """

    job: Any = None
    contacts: Any = 58
    removed: Any = True
    found: Any = None
    faults: Mapping[int, BaseException] = attrs.field(factory=dict[int, BaseException])
    calls: list[str] = attrs.field(factory=list[str])
    arguments: list[tuple[Any, ...]] = attrs.field(factory=list[tuple[Any, ...]])

    def call(self, name: str, *arguments: Any) -> None:
        """Note a call, and raise if this one is to fail."""
        self.calls.append(name)
        self.arguments.append(arguments)
        fault = self.faults.get(len(self.calls))
        if fault is not None:
            raise fault

    def given(self, name: str) -> tuple[Any, ...]:
        """Give the arguments of the only call of this name."""
        [index] = [index for index, call in enumerate(self.calls) if call == name]
        return self.arguments[index]


@attrs.frozen
class Repositories:
    """One transaction, all of it; without records where `outbox` is None."""

    script: Script
    keeps_records: bool = True

    @property
    def outbox(self) -> Repositories | None:
        """What is still owed."""
        return self if self.keeps_records else None

    @property
    def jobs(self) -> Jobs:
        """The jobs."""
        return Jobs(self.script)

    @property
    def contacts(self) -> Contacts:
        """The contacts."""
        return Contacts(self.script)

    def settle(self, record: CancellationRecord) -> None:
        """Note what was done."""
        self.script.call("settle", record)

    def find(self, key: JobKey) -> CancellationRecord | None:
        """Find the record of the script."""
        self.script.call("find", key)
        found: CancellationRecord | None = self.script.found
        return found


@attrs.frozen
class Jobs:
    """The jobs."""

    script: Script

    def lock(self, key: JobKey) -> Job | None:
        """Find the job of the script."""
        self.script.call("lock", key)
        job: Job | None = self.script.job
        return job

    def mark_cancelled(self, job: Job, record: CancellationRecord) -> None:
        """Do nothing but note the call."""
        self.script.call("mark_cancelled", job, record)


@attrs.frozen
class Contacts:
    """The contacts."""

    script: Script

    def cancel(self, key: JobKey, statuses: AbstractSet[str]) -> int:
        """Count what the script says."""
        self.script.call("cancel_contacts", key, statuses)
        contacts: int = self.script.contacts
        return contacts


@attrs.frozen
class Store:
    """A unit of work."""

    script: Script
    repositories: Any = None

    @contextlib.contextmanager
    def begin(self) -> Generator[Any]:
        """Note begin, and commit or rollback."""
        self.script.call("begin")
        try:
            yield self.repositories or Repositories(self.script)
        except BaseException:
            self.script.calls.append("rollback")
            self.script.arguments.append(())
            raise
        self.script.call("commit")


class JoinedStore(Store):
    """A unit of work that says whether it is within a transaction of the caller's."""

    @property
    def is_joined(self) -> Any:
        """Say what the test has said."""
        return self.repositories


@attrs.frozen
class Clock:
    """A scheduler."""

    script: Script

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """Answer what the script says."""
        self.script.call("scheduler", deferred_id, operation_id)
        removed: bool = self.script.removed
        return removed


@attrs.frozen
class Awaitable:
    """The asyncio twin of any port: the same, its methods as coroutines."""

    port: Any

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.port, name)
        if not callable(found):
            return found if found is None else Awaitable(found)

        async def call(*arguments: Any) -> Any:
            return found(*arguments)

        return call


@attrs.frozen
class AwaitableStore:
    """The asyncio twin of a store."""

    store: Any

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncGenerator[Any]:
        """Hand on what the store does."""
        with self.store.begin() as repositories:
            await asyncio.sleep(0)
            yield Awaitable(repositories)


class AwaitablePatientStore(AwaitableStore):
    """The asyncio twin of a store that can be begun again."""

    async def pause(self, attempts: int) -> None:
        """Hand on the wait."""
        self.store.pause(attempts)


class AwaitableJoinedStore(AwaitableStore):
    """The asyncio twin of a store that may be within a transaction of the caller's."""

    @property
    def is_joined(self) -> Any:
        """Hand on what the store says."""
        return self.store.is_joined


def awaitable_store(store: Any) -> AwaitableStore:
    """Give the asyncio twin of a store, of its own capabilities."""
    if isinstance(store, JoinedStore):
        return AwaitableJoinedStore(store)
    return (AwaitablePatientStore if hasattr(store, "pause") else AwaitableStore)(store)


# Halves ------------------------------------------------------------------------------------------


@attrs.frozen
class Half:
    """The use cases, blocking or asyncio, called alike."""

    cancel_job: Callable[..., CancelResult]
    cancel_rows: Callable[..., Cancellation]
    remove_deferred: Callable[..., CancelResult]


def finished(coroutine: Coroutine[None, None, Any]) -> Any:
    """
    Run a coroutine to its end without an event loop, so that what it raises comes as it is.

    `asyncio.run` would make a new CancelledError, and has ways of its own with KeyboardInterrupt.
    """
    while True:
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value


def in_asyncio(function: Callable[..., Any], *arguments: Any, **ports: Any) -> Any:
    """Call an asyncio half with the twins of these ports."""
    twins = {"uow": awaitable_store, "scheduler": Awaitable}
    given = [Awaitable(it) if isinstance(it, Clock) else it for it in arguments]
    named = {
        name: twins[name](it) if name in twins and it is not None else it
        for name, it in ports.items()
    }
    return finished(function(*given, **named))


HALVES = {
    "blocking": Half(cancel_job, cancel_rows, remove_deferred),
    "asyncio": Half(
        partial(in_asyncio, cancel_job_async),
        partial(in_asyncio, cancel_rows_async),
        partial(in_asyncio, remove_deferred_async),
    ),
}


@pytest.fixture(params=sorted(HALVES))
def half(request: pytest.FixtureRequest) -> Half:
    """Give one half of the use cases."""
    return HALVES[request.param]


def cancel(half: Half, script: Script, batch_job_id: str = "job", **more: Any) -> CancelResult:
    """Cancel the job of a script."""
    ports: dict[str, Any] = {"uow": Store(script), "scheduler": Clock(script)}
    return half.cancel_job(batch_job_id, **(ports | more))


def job(status: Any = "scheduled", **more: Any) -> Job:
    """Give a job as a store would."""
    values: dict[str, Any] = {
        "key": JobKey("job"),
        "status": status,
        "deferred_id": "arq_job_abc123",
        "locked_at": NOON,
    }
    return Job(**(values | more))


def record(removal: Removal = Removal.PENDING, operation_id: str = "op-1") -> CancellationRecord:
    """Give what an earlier cancellation left."""
    return CancellationRecord(
        operation_id=operation_id,
        key=JobKey("job"),
        previous_status=JobStatus.SCHEDULED,
        contacts_cancelled=7,
        actor=None,
        reason=None,
        cancelled_at=NOON,
        deferred_id="arq_job_abc123",
        removal=removal,
    )


ROWS = ["begin", "lock", "cancel_contacts", "mark_cancelled", "commit"]
ALL = [*ROWS, "scheduler", "begin", "settle", "commit"]


# The order ---------------------------------------------------------------------------------------


def test_a_scheduled_job_is_cancelled_in_this_order(half: Half) -> None:
    """Lock, contacts, mark, commit; only then the scheduler; then its answer is noted."""
    script = Script(job())
    result = cancel(half, script, operation_id="op-1", actor="ann", reason="why")
    assert script.calls == ALL
    assert script.given("lock") == (JobKey("job"),)
    key, statuses = script.given("cancel_contacts")
    assert key == JobKey("job")
    assert sorted(statuses) == ["busy", "no_answer", "pending", "queued", "timeout"]
    written = attrs.evolve(record(), contacts_cancelled=58, actor="ann", reason="why")
    assert script.given("mark_cancelled") == (job(), written)
    assert script.given("scheduler") == ("arq_job_abc123", "op-1")
    assert script.given("settle") == (attrs.evolve(written, removal=Removal.REMOVED),)
    assert result == CancelResult(
        batch_job_id="job",
        previous_status=JobStatus.SCHEDULED,
        contacts_cancelled=58,
        removal=Removal.REMOVED,
        operation_id="op-1",
        cancelled_at=NOON,
        replayed=False,
        actor="ann",
        reason="why",
    )


@pytest.mark.parametrize("status", ["pending", "running"])
def test_a_job_that_waits_for_nothing_leaves_the_scheduler_alone(half: Half, status: str) -> None:
    """It names no deferred start."""
    script = Script(job(status, deferred_id=None))
    assert cancel(half, script).removal is Removal.NOT_APPLICABLE
    assert script.calls == ROWS


@pytest.mark.parametrize("status", ["pending", "running"])
def test_a_job_that_was_started_early_has_its_start_taken_back(half: Half, status: str) -> None:
    """The deferred start that it names may still wait; the API's answer stays the contract's."""
    script = Script(job(status))
    result = cancel(half, script)
    assert (result.removal, result.redis_job_cancelled) == (Removal.REMOVED, False)
    assert script.calls == ALL
    assert script.given("scheduler") == ("arq_job_abc123", result.operation_id)


def test_a_scheduled_job_without_a_deferred_start_leaves_the_scheduler_alone(half: Half) -> None:
    """There is nothing to take back."""
    script = Script(job(deferred_id=None))
    assert cancel(half, script).removal is Removal.ABSENT
    assert script.calls == ROWS


def test_a_start_that_was_gone_is_noted_as_absent(half: Half) -> None:
    """False is an answer like True."""
    script = Script(job(), removed=False)
    assert cancel(half, script).removal is Removal.ABSENT
    assert script.calls == ALL
    assert script.given("settle")[0].removal is Removal.ABSENT


def test_the_rows_alone_ask_no_scheduler(half: Half) -> None:
    """The caller's commit is still to come."""
    script = Script(job())
    cancellation = half.cancel_rows(
        "job", uow=Store(script), operation_id="op-1", actor="ann", reason="why"
    )
    assert script.calls == ROWS
    assert cancellation == Cancellation(
        attrs.evolve(record(), contacts_cancelled=58, actor="ann", reason="why"), replayed=False
    )


def test_the_deferred_start_alone_touches_no_rows(half: Half) -> None:
    """Without a unit of work the outcome is noted nowhere; reconcile asks again."""
    script = Script()
    result = half.remove_deferred(Cancellation(record(), replayed=False), Clock(script))
    assert result.removal is Removal.REMOVED
    assert script.calls == ["scheduler"]


def test_the_deferred_start_alone_is_noted_where_told(half: Half) -> None:
    """In a transaction of its own."""
    script = Script()
    cancellation = Cancellation(record(), replayed=False)
    half.remove_deferred(cancellation, Clock(script), uow=Store(script))
    assert script.calls == ["scheduler", "begin", "settle", "commit"]


def test_the_job_is_named_as_the_store_spells_it(half: Half) -> None:
    """From the lock on: a store may know a uuid in upper case by its lower case."""
    script = Script(job(key=JobKey("abc", "acme")))
    result = cancel(half, script, "ABC", organization_id="ACME")
    assert script.given("lock") == (JobKey("ABC", "ACME"),)
    assert script.given("cancel_contacts")[0] == JobKey("abc", "acme")
    assert script.given("mark_cancelled")[1].key == JobKey("abc", "acme")
    assert result.batch_job_id == "abc"


def test_every_operation_without_a_name_gets_one_of_its_own(half: Half) -> None:
    """Two callers who name none are never taken for one who asks twice."""
    first, second = (cancel(half, Script(job())).operation_id for _ in range(2))
    assert first != second
    assert min(len(first), len(second)) >= 32


def test_a_store_without_records_is_enough(half: Half) -> None:
    """`outbox = None` says so: no replay, no reconcile, the same cancellation."""
    script = Script(job())
    store = Store(script, Repositories(script, keeps_records=False))
    result = half.cancel_job("job", uow=store, scheduler=Clock(script))
    assert result.removal is Removal.REMOVED
    assert script.calls == [*ROWS, "scheduler", "begin", "commit"]


# Refusals ----------------------------------------------------------------------------------------


def test_a_job_that_is_not_there_is_not_found(half: Half) -> None:
    """Nothing else is asked, and the transaction is rolled back."""
    script = Script(None)
    with pytest.raises(JobNotFound) as error:
        cancel(half, script, organization_id="acme")
    assert error.value.key == JobKey("job", "acme")
    assert script.calls == ["begin", "lock", "rollback"]


@pytest.mark.parametrize("hostile", ["", "\0", "a\0b", "\ud800", "x" * 1_000_000])
def test_an_id_that_no_store_can_hold_is_not_found(half: Half, hostile: str) -> None:
    """No store is even asked; the same for such an organization."""
    script = Script(job())
    with pytest.raises(JobNotFound):
        cancel(half, script, hostile)
    with pytest.raises(JobNotFound):
        cancel(half, script, organization_id=hostile)
    with pytest.raises(JobNotFound):
        half.cancel_rows(hostile, uow=Store(script))
    assert script.calls == []


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"operation_id": ""}, ValueError),
        ({"operation_id": "x" * 1025}, ValueError),
        ({"actor": "a\0b"}, ValueError),
        ({"reason": "x" * 4097}, ValueError),
        ({"organization_id": 7}, TypeError),
    ],
)
def test_an_argument_that_no_store_can_hold_is_the_callers_mistake(
    half: Half, wrong: dict[str, Any], error: type[Exception]
) -> None:
    """No store is asked."""
    script = Script(job())
    with pytest.raises(error):
        cancel(half, script, **wrong)
    assert script.calls == []


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_a_terminal_job_is_refused(half: Half, status: str) -> None:
    """Nothing changes, and the scheduler is not asked."""
    script = Script(job(status))
    with pytest.raises(AlreadyTerminal) as refusal:
        cancel(half, script)
    assert refusal.value.status == status
    assert script.calls == ["begin", "lock", "rollback"]


@pytest.mark.parametrize("status", [None, "paused", 42, []])
def test_an_unknown_status_is_refused(half: Half, status: Any) -> None:
    """Nothing changes: it fails closed."""
    script = Script(job(status))
    with pytest.raises(UnknownJobStatus):
        cancel(half, script)
    assert script.calls == ["begin", "lock", "rollback"]


def test_a_refusal_first_drives_the_removal_that_is_still_owed(half: Half) -> None:
    """Under the name of the operation that owes it, not of the one that was refused."""
    script = Script(job("cancelled", cancellation=record()))
    with pytest.raises(AlreadyTerminal) as refusal:
        cancel(half, script, operation_id="op-2")
    assert script.calls == ["begin", "lock", "rollback", "scheduler", "begin", "settle", "commit"]
    assert script.given("scheduler") == ("arq_job_abc123", "op-1")
    assert script.given("settle") == (attrs.evolve(record(), removal=Removal.REMOVED),)
    assert refusal.value.contacts_cancelled == 7
    assert refusal.value.cancelled_at == NOON


@pytest.mark.parametrize("removal", [Removal.REMOVED, Removal.ABSENT, Removal.NOT_APPLICABLE])
def test_a_refusal_owes_nothing_once_it_is_settled(half: Half, removal: Removal) -> None:
    """The scheduler is asked until it has answered, and no longer."""
    script = Script(job("cancelled", cancellation=record(removal)))
    with pytest.raises(AlreadyTerminal):
        cancel(half, script, operation_id="op-2")
    assert script.calls == ["begin", "lock", "rollback"]


def test_a_refusal_stays_one_when_the_scheduler_is_down(half: Half) -> None:
    """What is owed stays owed; the answer is the job's status."""
    script = Script(job("cancelled", cancellation=record()), faults={4: OSError("down")})
    with pytest.raises(AlreadyTerminal):
        cancel(half, script, operation_id="op-2")
    assert script.calls == ["begin", "lock", "rollback", "scheduler"]


def test_a_refusal_of_the_rows_alone_asks_no_scheduler(half: Half) -> None:
    """There may be a transaction of the caller's around it."""
    script = Script(job("cancelled", cancellation=record()))
    with pytest.raises(AlreadyTerminal):
        half.cancel_rows("job", uow=Store(script), operation_id="op-2")
    assert script.calls == ["begin", "lock", "rollback"]


# Replay ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("removal", [Removal.REMOVED, Removal.ABSENT, Removal.NOT_APPLICABLE])
def test_the_same_operation_gets_the_same_answer(half: Half, removal: Removal) -> None:
    """From the record: nothing is marked, counted or removed a second time."""
    script = Script(job("cancelled", cancellation=record(removal)))
    result = cancel(half, script, operation_id="op-1")
    assert script.calls == ["begin", "lock", "commit"]
    assert result == CancelResult(
        batch_job_id="job",
        previous_status=JobStatus.SCHEDULED,
        contacts_cancelled=7,
        removal=removal,
        operation_id="op-1",
        cancelled_at=NOON,
        replayed=True,
    )


def test_the_same_operation_drives_its_removal_again(half: Half) -> None:
    """If it is still owed: the answer was lost, or the scheduler was."""
    script = Script(job("cancelled", cancellation=record()))
    result = cancel(half, script, operation_id="op-1")
    assert script.calls == ["begin", "lock", "commit", "scheduler", "begin", "settle", "commit"]
    assert (result.removal, result.replayed) == (Removal.REMOVED, True)


# The scheduler fails -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        SchedulerUnavailable(f"no answer from {ADDRESS}"),
        ConnectionError(ADDRESS),
        TimeoutError(ADDRESS),
        TypeError(ADDRESS),
        StoreFailed(ADDRESS),
        JobNotFound(JobKey(ADDRESS)),
        AlreadyTerminal(JobKey(ADDRESS), JobStatus.FAILED),
        StopIteration(ADDRESS),
        ExceptionGroup(ADDRESS, [ValueError(ADDRESS)]),
    ],
    ids=lambda it: type(it).__name__,
)
def test_no_fault_of_the_scheduler_fails_the_cancel(
    half: Half, fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """The job is cancelled; the removal is owed; the log says so and holds no secret."""
    script = Script(job(), faults={6: fault})
    with caplog.at_level(logging.DEBUG):
        result = cancel(half, script)
    assert (result.removal, result.contacts_cancelled) == (Removal.PENDING, 58)
    assert not result.redis_job_cancelled
    assert script.calls == [*ROWS, "scheduler"]
    entry, done = caplog.records
    assert (entry.name, entry.levelname) == ("batch_cancel", "WARNING")
    told = "batch job 'job' is cancelled, but the scheduler did not confirm the removal of its "
    told += "deferred start (%s); reconcile will finish it"
    # A coroutine can't raise StopIteration: Python makes a RuntimeError of it.
    assert entry.getMessage() in {told % type(fault).__name__, told % "RuntimeError"}
    assert (done.name, done.levelname) == ("batch_cancel", "INFO")
    assert "hunter2" not in caplog.text
    assert "10.0.0.7" not in caplog.text


@pytest.mark.parametrize("garbage", [None, 1, 0, "OK", b"yes", [], object()])
def test_garbage_from_the_scheduler_confirms_nothing(half: Half, garbage: object) -> None:
    """Only True is a removal and only False is none; the rest is asked again later."""
    script = Script(job(), removed=garbage)
    assert cancel(half, script).removal is Removal.PENDING
    assert script.calls == [*ROWS, "scheduler"]


def test_what_the_scheduler_answered_is_told_by_its_type(
    half: Half, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer itself may hold anything."""
    cancel(half, Script(job(), removed=b"yes"))
    [entry] = caplog.records
    assert entry.getMessage().endswith("deferred start (bytes); reconcile will finish it")


@pytest.mark.parametrize(
    ("call", "calls"),
    [
        (7, [*ROWS, "scheduler", "begin"]),
        (8, [*ROWS, "scheduler", "begin", "settle", "rollback"]),
        (9, ALL),
    ],
)
def test_a_removal_that_could_not_be_noted_is_done_all_the_same(
    half: Half, call: int, calls: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The answer is the true one; the log says that it was not noted, and holds no secret."""
    script = Script(job(), faults={call: StoreFailed(ADDRESS)})
    assert cancel(half, script).removal is Removal.REMOVED
    assert script.calls == calls
    [entry] = caplog.records
    assert (entry.name, entry.levelname) == ("batch_cancel", "WARNING")
    assert entry.getMessage() == (
        "batch job 'job' is cancelled, but what was done after the commit could not be noted "
        "(StoreFailed); reconcile will finish it"
    )


def test_a_warning_shows_a_hostile_id_on_one_line(
    half: Half, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody writes into the log what he likes."""
    key = JobKey("job\nERROR forged" + "x" * 500)
    script = Script(job(key=key), faults={6: OSError()})
    cancel(half, script, key.batch_job_id)
    [entry] = caplog.records
    assert "\n" not in entry.getMessage()
    assert len(entry.getMessage()) < 300


# More than one attempt ---------------------------------------------------------------------------


@attrs.frozen
class PatientStore(Store):
    """A unit of work that can be begun again."""

    def pause(self, attempts: int) -> None:
        """Note the wait."""
        self.script.call("pause", attempts)


def test_a_lost_answer_is_asked_for_again_and_is_no_replay(half: Half) -> None:
    """The commit had been carried out: this call did it, whatever the second attempt reads."""
    fault = StoreFailed("the line went dead", "unknown", Fault.INTERRUPTED)
    script = Script(job(), faults={5: fault})
    done = attrs.evolve(record(), removal=Removal.NOT_APPLICABLE)

    class Carried(PatientStore):
        def pause(self, attempts: int) -> None:
            super().pause(attempts)
            self.script.job = job("cancelled", cancellation=done)

    result = cancel(half, script, uow=Carried(script), operation_id="op-1")
    assert script.calls == [*ROWS, "pause", "begin", "lock", "commit"]
    assert script.given("pause") == (1,)
    assert (result.replayed, result.contacts_cancelled) == (False, 7)


def test_a_wait_that_fails_is_a_failure_of_this_job(half: Half) -> None:
    """A pause may be called off by the store."""
    fault = StoreFailed("in the way", fault=Fault.CONFLICT)
    script = Script(job(), faults={2: fault, 4: StoreFailed("closed")})
    with pytest.raises(CancelFailed) as failure:
        cancel(half, script, uow=PatientStore(script))
    assert script.calls == ["begin", "lock", "rollback", "pause"]
    assert failure.value.key == JobKey("job")


def test_what_may_have_been_ours_is_never_refused_as_ended(half: Half) -> None:
    """A store without records can't say who cancelled the job: so it is not known."""
    fault = StoreFailed("the line went dead", "unknown", Fault.INTERRUPTED)
    script = Script(job(), faults={5: fault})

    class Forgetful(PatientStore):
        def pause(self, attempts: int) -> None:
            super().pause(attempts)
            self.script.job = job("cancelled")

    with pytest.raises(CancelFailed) as failure:
        cancel(half, script, uow=Forgetful(script), operation_id="op-1")
    assert (failure.value.outcome, failure.value.retryable) == ("unknown", True)


# The store fails ---------------------------------------------------------------------------------


def after_fault(call: int) -> list[str]:
    """Give the calls of a cancel whose call of this number, from 1, fails."""
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
                "cancel_job was called within a transaction of yours, whose rollback would leave "
                "a job that nothing starts: call cancel_rows there, remove_deferred after your "
                "commit"
            ),
        ),
        ("no", "the store returned str instead of a bool"),
    ],
)
def test_a_whole_cancel_in_a_transaction_of_the_callers_is_refused(
    half: Half, is_joined: object, told: str
) -> None:
    """Before anything is asked: his rollback would come too late for the deferred start."""
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


# A transaction of the caller's -------------------------------------------------------------------

READ = ["begin", "find", "commit"]
JOINED = Cancellation(record(), replayed=False, joined=True)
NOT_COMMITTED = (
    "batch job 'job': its cancellation is not committed, so its deferred start was left alone: "
    "your transaction was rolled back, as COMMIT does without an error after a statement in it "
    "has failed (find what failed, and cancel again in a new one), or is still open (call "
    "remove_deferred after your commit); it may have been cancelled: retry with the same "
    "operation id"
)


class OpenStore(JoinedStore):
    """A unit of work within a transaction of the caller's."""

    @property
    def is_joined(self) -> Any:
        """Say so."""
        return True


def never(*_: object) -> Any:
    """Stand in for a hook that must not be called."""
    pytest.fail("the hook was called")


def test_rows_in_a_transaction_of_the_callers_are_marked(half: Half) -> None:
    """New ones and replayed ones; those in a transaction of their own are not."""
    done = job("cancelled", cancellation=record())
    for script in (Script(job()), Script(done)):
        assert half.cancel_rows("job", uow=OpenStore(script), operation_id="op-1").joined
    for store in (Store(Script(job())), JoinedStore(Script(job()), repositories=False)):
        assert not half.cancel_rows("job", uow=store).joined


def test_a_store_that_may_be_joined_or_not_is_asked_before_the_rows(half: Half) -> None:
    """What it answers must be a bool, or nothing is changed."""
    script = Script(job())
    with pytest.raises(CancelFailed, match="returned str instead of a bool") as failure:
        half.cancel_rows("job", uow=JoinedStore(script, "no"))
    assert failure.value.outcome == "unchanged"
    assert script.calls == []


def test_a_committed_record_is_read_before_the_scheduler_is_asked(half: Half) -> None:
    """In a transaction of its own."""
    script = Script(found=record())
    result = half.remove_deferred(JOINED, Clock(script), uow=Store(script))
    assert script.calls == [*READ, "scheduler", "begin", "settle", "commit"]
    assert script.given("find") == (JobKey("job"),)
    assert (result.removal, result.replayed) == (Removal.REMOVED, False)


def test_what_followed_the_commit_is_logged(half: Half, caplog: pytest.LogCaptureFixture) -> None:
    """Once, as of a cancel of ours; of a replay nothing is."""
    script = Script(found=record())
    with caplog.at_level(logging.INFO):
        half.remove_deferred(JOINED, Clock(script), uow=Store(script))
        half.remove_deferred(attrs.evolve(JOINED, replayed=True), Clock(script))
    [entry] = caplog.records
    assert entry.getMessage().startswith("batch job 'job' was cancelled: from scheduled, ")


@pytest.mark.parametrize("found", [None, record(operation_id="op-2")], ids=["none", "another's"])
@pytest.mark.parametrize("removal", [Removal.PENDING, Removal.NOT_APPLICABLE])
def test_without_a_committed_record_the_deferred_start_is_left_alone(
    half: Half, found: Any, removal: Removal, caplog: pytest.LogCaptureFixture
) -> None:
    """The transaction was rolled back, which raises nothing in many drivers."""
    script = Script(found=found)
    joined = Cancellation(
        attrs.evolve(record(removal), is_announced=False), replayed=False, joined=True
    )
    with caplog.at_level(logging.DEBUG), pytest.raises(CancelFailed) as failure:
        half.remove_deferred(joined, Clock(script), uow=Store(script), on_cancelled=never)
    assert str(failure.value) == NOT_COMMITTED
    assert (failure.value.outcome, failure.value.fault) == ("unknown", Fault.REFUSED)
    assert failure.value.key == JobKey("job")
    assert script.calls == READ
    assert caplog.records == []


def test_before_the_callers_commit_the_deferred_start_is_left_alone(half: Half) -> None:
    """Nothing is asked: its own record would be seen there, and could still be rolled back."""
    script = Script(found=record())
    with pytest.raises(CancelFailed) as failure:
        half.remove_deferred(JOINED, Clock(script), uow=OpenStore(script), on_cancelled=never)
    assert str(failure.value) == (
        "batch job 'job': remove_deferred was called within a transaction of yours, which may "
        "still be rolled back; the deferred start was left alone: call it after your commit, with "
        "a unit of work that opens transactions of its own; it may have been cancelled: retry "
        "with the same operation id"
    )
    assert (failure.value.outcome, failure.value.fault) == ("unknown", Fault.REFUSED)
    assert script.calls == []


def test_a_store_without_records_is_asked_for_the_job(half: Half) -> None:
    """A cancelled job is all that it can say of a commit."""
    cancelled = Script(job("cancelled"))
    store = Store(cancelled, Repositories(cancelled, keeps_records=False))
    assert half.remove_deferred(JOINED, Clock(cancelled), uow=store).redis_job_cancelled
    assert cancelled.calls == ["begin", "lock", "commit", "scheduler", "begin", "commit"]
    assert cancelled.given("lock") == (JobKey("job"),)
    for found in (job("scheduled"), job("running"), job(None), None):
        script = Script(found)
        store = Store(script, Repositories(script, keeps_records=False))
        with pytest.raises(CancelFailed, match="not committed"):
            half.remove_deferred(JOINED, Clock(script), uow=store)
        assert script.calls == ["begin", "lock", "commit"]


@pytest.mark.parametrize("call", [1, 2, 3])
@pytest.mark.parametrize("removal", [Removal.PENDING, Removal.ABSENT])
@pytest.mark.parametrize(
    "fault",
    [StoreFailed(ADDRESS), ConnectionError(ADDRESS), JobNotFound(JobKey(ADDRESS))],
    ids=lambda it: type(it).__name__,
)
def test_where_the_record_can_not_be_read_nothing_is_asked_and_nothing_raised(
    half: Half, call: int, removal: Removal, fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """The job may be cancelled: what is owed is then in its record, for reconcile to finish."""
    script = Script(found=record(), faults={call: fault})
    joined = Cancellation(
        attrs.evolve(record(removal), is_announced=False), replayed=False, joined=True
    )
    with caplog.at_level(logging.DEBUG):
        result = half.remove_deferred(joined, Clock(script), uow=Store(script), on_cancelled=never)
    assert result.removal is removal
    assert script.calls == (["begin", "find", "rollback"] if call == 2 else READ[:call])
    [entry] = caplog.records
    assert (entry.name, entry.levelname) == ("batch_cancel", "WARNING")
    assert entry.getMessage() == (
        "batch job 'job': whether its cancellation was committed could not be read "
        f"({type(fault).__name__}), so its deferred start was left alone; if it was committed, "
        "reconcile will finish it"
    )


@pytest.mark.parametrize("found", ["op-1", job("cancelled"), True, object()])
def test_a_committed_record_that_is_none_proves_nothing(
    half: Half, found: object, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a commit nor a rollback: it could not be read."""
    script = Script(found=found)
    result = half.remove_deferred(JOINED, Clock(script), uow=Store(script))
    assert result.removal is Removal.PENDING
    assert script.calls == ["begin", "find", "rollback"]
    assert "StoreFailed" in caplog.text


def test_a_store_that_can_not_say_whether_it_is_joined_proves_nothing(half: Half) -> None:
    """After the commit its fault is not raised."""
    script = Script(found=record())
    result = half.remove_deferred(JOINED, Clock(script), uow=JoinedStore(script, "no"))
    assert result.removal is Removal.PENDING
    assert script.calls == []


def test_what_was_done_since_the_commit_is_not_done_again(half: Half) -> None:
    """Reconcile was faster: the start is gone and the hook was told."""
    script = Script(found=record(Removal.ABSENT))
    joined = Cancellation(attrs.evolve(record(), is_announced=False), replayed=False, joined=True)
    result = half.remove_deferred(joined, Clock(script), uow=Store(script), on_cancelled=never)
    assert result.removal is Removal.ABSENT
    assert script.calls == READ


def test_what_is_committed_counts_and_not_what_was_rolled_back(half: Half) -> None:
    """The same operation was asked again after a rollback, and found another deferred start."""
    script = Script(found=attrs.evolve(record(), deferred_id="moved", contacts_cancelled=9))
    result = half.remove_deferred(JOINED, Clock(script), uow=Store(script))
    assert script.given("scheduler") == ("moved", "op-1")
    assert result.contacts_cancelled == 9


def test_without_a_unit_of_work_the_caller_vouches_for_the_commit(half: Half) -> None:
    """There is nobody to ask."""
    script = Script()
    assert half.remove_deferred(JOINED, Clock(script)).redis_job_cancelled
    assert script.calls == ["scheduler"]


@pytest.mark.parametrize("call", [1, 2, 3])
def test_whoever_stops_the_look_at_the_record_stops_it(half: Half, call: int) -> None:
    """The scheduler is not asked."""
    fault = KeyboardInterrupt()
    script = Script(found=record(), faults={call: fault})
    with pytest.raises(KeyboardInterrupt) as caught:
        half.remove_deferred(JOINED, Clock(script), uow=Store(script))
    assert caught.value is fault
    assert "scheduler" not in script.calls


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


@pytest.fixture(autouse=True)
def _no_coroutine_is_forgotten(recwarn: pytest.WarningsRecorder) -> Iterator[None]:
    """Look for coroutines that nobody awaited: promises that nobody kept."""
    yield
    assert not [it for it in recwarn if "never awaited" in str(it.message)]
