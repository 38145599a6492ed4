"""
What the log says of a cancellation, and what it never says, in every world.

The secrets are planted wherever a caller, a driver or a hook could bring one along.
"""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from batch_cancel import AlreadyTerminal, JobNotFound, UnknownJobStatus
from batch_cancel.domain.errors import StoreFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.pairs import World

ACTOR = "ada@example.com"
REASON = "she called from +4915112345678"
PHONE = "+4930901820"
DSN = "postgresql://ann:hunter2@db.internal:5432/app"
REDIS_URL = "redis://:s3cr3t@cache.internal:6379/0"
KEY = "sk-live-0123456789"
SECRETS = (
    *("ada@", "example.com", "4915112345678", "4930901820", "hunter2", "db.internal", "s3cr3t"),
    *("cache.internal", "sk-live"),
)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Yield the log of everything, drivers included, down to the last detail."""
    caplog.set_level(logging.DEBUG)
    # At DEBUG it tells every value that it is given, whoever gives it.
    caplog.set_level(logging.INFO, "aiosqlite")
    return caplog


def entries(log: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return what the library itself has logged."""
    return [record for record in log.records if record.name == "batch_cancel"]


def everything(log: pytest.LogCaptureFixture) -> str:
    """Return all that any handler could make of what was logged: fields and tracebacks as well."""
    return "\n".join(
        f"{record.getMessage()} {record.__dict__!r} "
        f"{''.join(traceback.format_exception(*record.exc_info)) if record.exc_info else ''}"
        for record in log.records
    )


def check(log: pytest.LogCaptureFixture) -> None:
    """Find no secret, and have looked at something."""
    assert entries(log)
    told = everything(log)
    assert [secret for secret in SECRETS if secret in told] == []


def test_a_cancellation_is_one_record_with_its_fields(
    world: World, log: pytest.LogCaptureFixture
) -> None:
    """What happened to which job by which operation: neither who nor why."""
    world.add_job("job", "scheduled", {PHONE: "pending", "2": "busy"}, deferred_id="start")
    world.schedule("start")
    log.clear()

    world.cancel("job", operation_id="op", actor=ACTOR, reason=REASON)

    [entry] = entries(log)
    assert entry.levelname == "INFO"
    assert entry.getMessage() == (
        "batch job 'job' was cancelled: from scheduled, 2 contacts, removal removed, "
        "operation 'op'"
    )
    fields: Any = entry
    assert (fields.batch_job_id, fields.organization_id) == ("job", None)
    assert fields.operation_id == "op"
    assert (fields.previous_status, fields.removal) == ("scheduled", "removed")
    assert fields.contacts_cancelled == 2
    check(log)


def test_a_replay_and_a_refusal_are_no_second_cancellation(
    world: World, log: pytest.LogCaptureFixture
) -> None:
    """One cancellation, one record."""
    world.add_job("job", "running")
    world.cancel("job", operation_id="op")
    world.cancel("job", operation_id="op")
    for job_id, error in (("job", AlreadyTerminal), ("missing", JobNotFound)):
        with pytest.raises(error):
            world.cancel(job_id)
    world.add_job("odd", "paused")
    with pytest.raises(UnknownJobStatus):
        world.cancel("odd")
    assert [entry.levelname for entry in entries(log)] == ["INFO"]


def test_two_steps_are_logged_once(world: World, log: pytest.LogCaptureFixture) -> None:
    """After the commit, not within the caller's transaction, which may yet be rolled back."""
    world.add_job("job", "pending")
    cancellation = world.cancel_rows("job", operation_id="op")
    assert entries(log) == []
    world.remove_deferred(cancellation, uow=world.store.uow)
    [entry] = entries(log)
    assert entry.getMessage() == (
        "batch job 'job' was cancelled: from pending, 0 contacts, removal not_applicable, "
        "operation 'op'"
    )


def test_what_reconcile_did_is_logged(world: World, log: pytest.LogCaptureFixture) -> None:
    """For each cancellation that it took up."""
    world.add_job("job", "scheduled", deferred_id="start")
    world.schedule("start")
    world.cancel_rows("job", operation_id="op", actor=ACTOR, reason=REASON)
    world.reconcile()
    [entry] = entries(log)
    assert entry.getMessage() == (
        "batch job 'job' was cancelled before, and reconcile finished it: from scheduled, 0 "
        "contacts, removal removed, operation 'op'"
    )
    check(log)


@pytest.mark.parametrize(
    "fault",
    [
        ConnectionError(REDIS_URL),
        RuntimeError(f"{KEY} {PHONE}"),
        StoreFailed(f"a custom adapter's own fault, {DSN}"),
    ],
    ids=lambda it: type(it).__name__,
)
def test_no_fault_brings_a_secret_into_the_log(
    world: World, log: pytest.LogCaptureFixture, fault: Exception
) -> None:
    """Not the scheduler's, not a hook's, not in a pass of reconcile."""

    def fail(*_: Any) -> Any:
        raise fault

    world.add_job("job", "scheduled", {PHONE: "pending"}, deferred_id="start")
    world.schedule("start")
    broken, hook = world.scheduler_that(fail), world.hook_that(fail)
    log.clear()

    world.cancel("job", scheduler=broken, actor=ACTOR, reason=REASON, on_cancelled=hook)
    world.reconcile(scheduler=broken, on_cancelled=hook)

    levels = [entry.levelname for entry in entries(log)]
    # A pass of reconcile tells what became of the removal before it calls a hook.
    assert levels == ["WARNING", "WARNING", "INFO", "WARNING", "INFO", "WARNING"]
    facts = [vars(entry) for entry in entries(log)]
    assert {(it["batch_job_id"], it["organization_id"]) for it in facts} == {("job", None)}
    assert {it["previous_status"] for it in facts} == {"scheduled"}
    assert {it["removal"] for it in facts} == {"pending"}
    check(log)


@pytest.fixture(params=["handler", "filter"])
def broken_log(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let every line that the library logs raise in the application's handler, or filter."""
    logger = logging.getLogger("batch_cancel")
    level = logger.level
    logger.setLevel(logging.DEBUG)
    handler, broken = _BrokenHandler(), _BrokenFilter()
    if request.param == "handler":
        logger.addHandler(handler)
    else:
        logger.addFilter(broken)
    yield
    logger.removeHandler(handler)
    logger.removeFilter(broken)
    logger.setLevel(level)


class _BrokenHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise OSError


class _BrokenFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        raise OSError


@pytest.mark.usefixtures("broken_log")
@pytest.mark.parametrize("is_up", [True, False])
def test_a_log_that_raises_turns_no_committed_cancel_into_an_error(
    world: World, *, is_up: bool
) -> None:
    """Not that it is done, and not that something is owed; both are noted in the record."""

    def fail(*_: Any) -> Any:
        raise ConnectionError

    told: list[Any] = []
    world.add_job("job", "scheduled", deferred_id="start")
    world.schedule("start")
    scheduler = world.scheduler if is_up else world.scheduler_that(fail)

    result = world.cancel(
        "job", operation_id="op", scheduler=scheduler, on_cancelled=world.hook_that(told.append)
    )

    assert (result.operation_id, result.redis_job_cancelled) == ("op", is_up)
    assert told == [result]
    record = world.record("job")
    assert record is not None
    assert (record.removal, record.is_announced) == (result.removal, True)


@pytest.mark.usefixtures("broken_log")
def test_a_log_that_raises_fails_no_hook_and_stops_no_reconcile(world: World) -> None:
    """Each cancellation that it took up is finished, and returned."""

    def fail(*_: Any) -> Any:
        raise RuntimeError

    names = ["a", "b", "c"]
    for name in names:
        world.add_job(name, "scheduled", deferred_id=f"start-{name}")
        world.schedule(f"start-{name}")
        broken, hook = world.scheduler_that(fail), world.hook_that(fail)
        world.cancel(name, scheduler=broken, on_cancelled=hook)
    told: list[Any] = []
    results = world.reconcile(on_cancelled=world.hook_that(told.append))
    assert sorted(it.batch_job_id for it in results) == names
    assert [it.removal for it in results] == ["removed"] * 3
    assert told == results
    assert world.waiting() == set()
    assert world.reconcile(on_cancelled=world.hook_that(told.append)) == []


def test_ids_are_cut_and_escaped(world: World, log: pytest.LogCaptureFixture) -> None:
    """A newline in an id forges no line of a log, and a long one does not fill it."""
    job_id = "j\n2026-01-01 INFO forged " + "x" * 900
    world.add_job(job_id, "running")
    world.cancel(job_id, operation_id="o\r\n" + "y" * 900)
    [entry] = entries(log)
    message = entry.getMessage()
    assert "\n" not in message
    assert "\r" not in message
    assert len(message) < 400
    assert "(925 characters)" in message
