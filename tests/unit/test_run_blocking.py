"""Blocking functions run the coroutines of the use cases, on ports in wrappers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace, TracebackType
from typing import Any, Final

import attrs
import pytest

from batch_cancel import (
    CancelFailed,
    Removal,
    cancel_job,
    claim_contacts,
    reconcile,
    still_running,
)
from batch_cancel import inspect as inspect_drift
from batch_cancel.adapters.memory import (
    AsyncMemoryRepositories,
    MemoryRepositories,
    MemoryScheduler,
    MemoryStore,
)
from batch_cancel.adapters.memory.rows import Rows
from batch_cancel.http.api_keys import Principal
from batch_cancel.http.endpoint import Endpoint
from batch_cancel.http.request import Request
from batch_cancel.use_cases import kinds
from batch_cancel.use_cases.pump import pump
from batch_cancel.use_cases.run_blocking import BlockingHook, BlockingStore, is_blocking, own, run

HOUR = timedelta(hours=1)


def port(**methods: Any) -> Any:
    """Return a port of these methods, or a transaction of these parts."""
    return SimpleNamespace(**methods)


# The runner --------------------------------------------------------------------------------------


async def answering() -> str:
    """Answer."""
    return "answer"


def test_a_coroutine_that_never_suspends_is_run_to_its_end() -> None:
    """Its answer is that of the function."""
    assert run(answering()) == "answer"


def test_a_coroutine_that_suspends_was_given_an_asyncio_port() -> None:
    """It is closed, so that its transaction is rolled back, and the sentence says what to do."""
    ended = list[str]()

    async def suspending() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            ended.append("closed")

    with pytest.raises(TypeError) as refused:
        run(suspending())
    assert ended == ["closed"]
    assert str(refused.value) == (
        "a port is of the asyncio kind, and this function is blocking: await the function of the "
        "same name that ends in _async, or pass a blocking one"
    )


def test_the_callers_own_object_is_found() -> None:
    """Of a wrapper, and of a port that is none."""
    store = MemoryStore()
    assert own(BlockingStore(store)) is store
    assert own(store) is store


def test_the_wrappers_of_an_asyncio_store_were_not_passed_to_a_blocking_function() -> None:
    """What they can do is read from what is in them."""
    blocking = MemoryRepositories.of(Rows({}), None, is_joined=False)
    repositories = AsyncMemoryRepositories(blocking)
    assert not is_blocking(repositories.work)
    assert own(repositories.work) is blocking.work


def test_a_hook_is_called_with_its_subject() -> None:
    """Once, and its answer is handed on."""
    assert BlockingHook[int](lambda it: it + 1)(1) == 2


def generator(_: object) -> Generator[None]:
    """Do nothing until somebody takes the first value."""
    yield


async def async_generator(_: object) -> AsyncGenerator[None]:
    """Do nothing until somebody takes the first value."""
    yield


@pytest.mark.parametrize("wrong", [generator, async_generator])
def test_a_hook_that_returns_a_generator_has_not_done_its_work(
    wrong: Callable[[Any], Any],
) -> None:
    """It stays owed."""
    with pytest.raises(TypeError, match=r"^it returned a generator, whose body does not run"):
        run(kinds.call_hook(BlockingHook(wrong), "result"))
    with pytest.raises(TypeError, match=r"^it returned a generator, whose body does not run"):
        asyncio.run(kinds.call_hook(wrong, "result"))


def test_no_hook_is_fine() -> None:
    """Of either kind of function."""
    kinds.check_hook(None)
    kinds.check_hook_async(None)


# What a port raises ------------------------------------------------------------------------------

FAULTS: Final[list[BaseException]] = [
    ValueError("x"),
    RuntimeError("x"),
    StopIteration("x"),
    StopAsyncIteration("x"),
    KeyboardInterrupt(),
    SystemExit(3),
    GeneratorExit(),
    asyncio.CancelledError(),
]


@attrs.define(eq=False)
class Broken:
    """
    A store whose transactions begin, and whose parts all raise one fault.

    Arguments:
        fault: what they raise.
        seen: what the transactions saw as they ended.
    """

    fault: BaseException
    seen: list[object] = attrs.field(factory=list[object])

    def begin(self) -> Any:
        """Open a transaction."""
        return self

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.seen.append((kind, error, traceback is not None))

    @property
    def work(self) -> Any:
        """The part that is asked."""
        return self

    jobs = outbox = work

    def claim(self, *_: object) -> Any:
        """Raise the fault, within another."""
        try:
            raise KeyError  # noqa: TRY301  # So that the fault has a context.
        except KeyError:
            raise self.fault from LookupError("cause")

    lock = settle = claim


@pytest.mark.parametrize("fault", FAULTS, ids=lambda it: type(it).__name__)
def test_what_a_port_raises_is_what_the_caller_gets(fault: BaseException) -> None:
    """The same object, with its own cause and context; the store sees it as it ends."""
    store: Any = Broken(fault)
    try:
        raise OSError  # noqa: TRY301  # The caller is at work on an error of its own.
    except OSError:
        with pytest.raises(type(fault)) as raised:
            claim_contacts("job", uow=store, limit=1)
    assert raised.value is fault
    assert isinstance(fault.__cause__, LookupError)
    assert isinstance(fault.__context__, KeyError)
    assert store.seen == [(type(fault), fault, True)]
    frames = [entry.name for entry in raised.traceback]
    # A tool that wraps functions gives them longer names.
    assert all(any(name in frame for frame in frames) for name in ("claim_contacts", "claim"))


def test_a_stop_iteration_is_named_as_what_it_is() -> None:
    """Python makes a RuntimeError of it on its way out of a coroutine; nobody raised that."""
    fault = StopIteration("x")
    store: Any = Broken(fault)
    with pytest.raises(CancelFailed) as failed:
        cancel_job("job", uow=store, scheduler=MemoryScheduler())
    assert failed.value.reason == "the store raised StopIteration"
    assert failed.value.__cause__ is fault


def test_a_runtime_error_of_a_generator_is_the_stores_own() -> None:
    """It left no coroutine of ours."""

    @contextmanager
    def begin() -> Generator[Any]:
        raise StopIteration  # noqa: PLR1708  # That is the point.
        yield

    with pytest.raises(CancelFailed) as failed:
        cancel_job("job", uow=port(begin=begin), scheduler=MemoryScheduler())
    assert failed.value.reason == "the store raised RuntimeError: generator raised StopIteration"


@pytest.mark.parametrize("who", ["scheduler", "hook", "store"])
def test_the_log_names_a_stop_iteration(who: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever raises it after the commit."""
    store: Any = MemoryStore()
    store.add_job("job", "scheduled", deferred_id="start")

    def stop(*_: object) -> Any:
        raise StopIteration

    @contextmanager
    def begin() -> Generator[Any]:
        with store.begin() as it:
            yield port(jobs=it.jobs, contacts=it.contacts, outbox=port(settle=stop, claim=stop))

    cancel_job(
        "job",
        uow=port(begin=begin) if who == "store" else store,
        scheduler=port(cancel=stop) if who == "scheduler" else MemoryScheduler(),
        on_cancelled=stop if who == "hook" else None,
    )
    [entry] = caplog.records
    assert "(StopIteration); reconcile will finish it" in entry.getMessage()


def test_a_note_that_is_interrupted_is_not_made_again() -> None:
    """No task is cancelled in a blocking function: whoever interrupts it, means it."""
    store, notes = MemoryStore(), list[object]()
    store.add_job("job", "running")

    @contextmanager
    def begin() -> Generator[Any]:
        with store.begin() as it:
            outbox = port(claim=it.outbox.claim, settle=interrupted)
            yield port(jobs=it.jobs, contacts=it.contacts, outbox=outbox)

    def interrupted(record: object) -> None:
        notes.append(record)
        raise asyncio.CancelledError

    uow = port(begin=begin)
    with pytest.raises(asyncio.CancelledError):
        cancel_job("job", uow=uow, scheduler=MemoryScheduler(), on_cancelled=lambda _: None)
    assert len(notes) == 1


# Where it runs -----------------------------------------------------------------------------------


def test_a_blocking_call_works_within_a_running_event_loop() -> None:
    """It neither uses the loop nor waits for it; a port may still ask which one runs."""
    store, loops = MemoryStore(), list[object]()
    store.add_job("job", "scheduled", deferred_id="start")

    async def main() -> Removal:
        def cancel(*_: object) -> bool:
            loops.append(asyncio.get_running_loop())
            return True

        result = cancel_job("job", uow=store, scheduler=port(cancel=cancel))
        assert loops == [asyncio.get_running_loop()]
        return result.removal

    assert asyncio.run(main()) is Removal.REMOVED


def test_a_port_may_run_an_event_loop_of_its_own() -> None:
    """None runs meanwhile."""
    store = MemoryStore()
    store.add_job("job", "scheduled", deferred_id="start")

    async def removed() -> bool:
        await asyncio.sleep(0)
        return True

    scheduler = port(cancel=lambda *_: asyncio.run(removed()))
    assert cancel_job("job", uow=store, scheduler=scheduler).removal is Removal.REMOVED


def test_a_context_variable_is_the_callers() -> None:
    """A port reads what the caller has set, and the caller what a port has set."""
    variable: ContextVar[str] = ContextVar("variable")
    store, seen = MemoryStore(), list[str]()
    store.add_job("job", "scheduled", deferred_id="start")

    def cancel(*_: object) -> bool:
        seen.append(variable.get())
        variable.set("the port's")
        return True

    variable.set("the caller's")
    cancel_job("job", uow=store, scheduler=port(cancel=cancel))
    assert seen == ["the caller's"]
    assert variable.get() == "the port's"


# What a store need not have ----------------------------------------------------------------------


def test_a_part_that_is_not_used_is_not_read() -> None:
    """An attribute that is missing is missed by whoever needs it, in Python's own words."""
    store, scheduler = MemoryStore(), MemoryScheduler()
    store.add_job("job", "scheduled", deferred_id="start")

    @contextmanager
    def begin() -> Generator[Any]:
        with store.begin() as it:
            yield port(jobs=it.jobs, contacts=it.contacts, outbox=it.outbox)

    uow = port(begin=begin)
    assert cancel_job("job", uow=uow, scheduler=scheduler).removal is Removal.ABSENT
    assert reconcile(uow=uow, scheduler=scheduler, lease=timedelta(0)) == []
    with pytest.raises(AttributeError, match="has no attribute 'work'"):
        still_running("job", uow=uow)
    with pytest.raises(AttributeError, match="has no attribute 'inspection'"):
        inspect_drift(uow=uow, scheduler=scheduler)


# The pump and the endpoint -----------------------------------------------------------------------


def test_a_pump_finishes_what_was_delivered(caplog: pytest.LogCaptureFixture) -> None:
    """A start that cannot be acknowledged counts as delivered, and the log names the fault."""
    starts, heard = MemoryScheduler(), list[object]()
    starts.schedule("start", datetime.now(UTC) - HOUR)

    def stop(*_: object) -> bool:
        raise StopIteration

    silent = port(claim=starts.claim, ack=stop)
    assert pump(silent, heard.append, lease=timedelta(0)) == 1
    assert "delivered but not acknowledged (StopIteration)" in caplog.text
    assert pump(starts, heard.append) == 1
    assert pump(starts, heard.append) == 0
    assert len(heard) == 2


@pytest.mark.parametrize("error", [OSError(), StopAsyncIteration()], ids=repr)
def test_a_body_that_breaks_off_is_refused(error: Exception) -> None:
    """Whatever a server raises: none of it is the end of the body."""

    def body() -> Iterator[bytes]:
        yield b""
        raise error

    cancelled = list[object]()
    blocking = Endpoint(
        lambda *it, **_: cancelled.append(it),  # type: ignore[arg-type]
        lambda _: Principal("ann", None, may_cancel=True),
    )
    headers = {"authorization": "Bearer k", "content-type": "application/json"}
    response = blocking.respond(Request("POST", "/batch/jobs/job/cancel", headers), body())
    assert response.status == 422
    assert cancelled == []
