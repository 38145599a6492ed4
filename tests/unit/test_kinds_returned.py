"""Kinds that show only in what is returned, and those of hooks, pumps, endpoints and ids."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import attrs
import pytest

from batch_cancel import (
    CancelFailed,
    Cancellation,
    ContactStatus,
    JobKey,
    Removal,
    cancel_job,
    cancel_job_async,
    cancel_rows,
    reconcile,
    reconcile_async,
    remove_deferred,
    settle_contact,
    start_job,
)
from batch_cancel.adapters.asgi import AsgiApp
from batch_cancel.adapters.django import DjangoUnitOfWork, remove_deferred_on_commit
from batch_cancel.adapters.memory import (
    AsyncMemoryScheduler,
    AsyncMemoryStore,
    MemoryScheduler,
    MemoryStore,
)
from batch_cancel.adapters.otel import Telemetry
from batch_cancel.adapters.wsgi import WsgiApp
from batch_cancel.use_cases.pump import pump, pump_async
from batch_cancel.use_cases.unexpected import described

AGE = timedelta(hours=1)
BUSY = ContactStatus.BUSY


def plain(_: object) -> None:
    """Be a plain hook."""


async def coroutine(_: object) -> None:
    """Be a hook of the asyncio kind."""


def scheduled(store: MemoryStore | AsyncMemoryStore) -> None:
    """Add a job with a deferred start."""
    store.add_job("job", "scheduled", deferred_id="start")


class Duck:
    """A store that is one by its method alone; what it begins is a class of its own."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def begin(self) -> Any:
        """Begin."""
        return self._store.begin()


def owed() -> Cancellation:
    """Return a committed cancellation that owes a removal."""
    store = MemoryStore()
    store.add_job("job", "scheduled", deferred_id="start")
    return cancel_rows("job", uow=store)


# What is judged by what it returned --------------------------------------------------------------


def test_an_awaitable_of_a_blocking_scheduler_is_never_true(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The removal stays owed, the coroutine is closed, and the log says what is wrong."""
    store, inner = MemoryStore(), AsyncMemoryScheduler()
    scheduled(store)

    class Hidden:
        def cancel(self, deferred_id: str, operation_id: str) -> Any:
            return inner.cancel(deferred_id, operation_id)

    assert cancel_job("job", uow=store, scheduler=Hidden()).removal is Removal.PENDING
    [result] = reconcile(uow=store, scheduler=Hidden(), lease=timedelta(0))
    assert result.removal is Removal.PENDING
    assert "it returned an awaitable (coroutine)" in caplog.text
    assert "await the function of the same name that ends in _async" in caplog.text
    gc.collect()


def test_an_awaitable_of_a_blocking_hook_is_not_called(caplog: pytest.LogCaptureFixture) -> None:
    """The announcement stays owed, until a hook is called that is one."""
    store, heard = MemoryStore(), list[object]()
    scheduled(store)

    async def tell(result: object) -> None:
        heard.append(result)

    ports: Any = {"uow": store, "scheduler": MemoryScheduler()}
    cancel_job("job", **ports, on_cancelled=lambda result: tell(result))  # noqa: PLW0108
    assert heard == []
    assert "the on_cancelled hook failed (it returned an awaitable" in caplog.text
    reconcile(**ports, on_cancelled=heard.append, lease=timedelta(0))
    assert len(heard) == 1
    assert reconcile(**ports, on_cancelled=heard.append, lease=timedelta(0)) == []
    gc.collect()


def test_a_plain_hook_of_an_asyncio_function_is_called_once() -> None:
    """It has run, so there is nothing to await, and nothing is owed."""
    store, heard = AsyncMemoryStore(), list[object]()
    scheduled(store)
    ports: Any = {"uow": store, "scheduler": AsyncMemoryScheduler(), "on_cancelled": heard.append}

    async def twice() -> object:
        await cancel_job_async("job", **ports)
        return await reconcile_async(**ports, lease=timedelta(0))

    assert asyncio.run(twice()) == []
    assert len(heard) == 1


# The pump ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [None, "redis://", MemoryScheduler, AsyncMemoryScheduler()])
def test_a_pump_refuses_what_is_no_store_of_starts(wrong: Any) -> None:
    """Before it claims."""
    with pytest.raises(TypeError, match=r"^the store of deferred starts"):
        pump(wrong, plain)


def test_a_pump_refuses_the_wrong_kind_of_callable() -> None:
    """A start would be acknowledged that nobody has taken over."""
    store, late = MemoryScheduler(), datetime.now(UTC) - AGE
    store.schedule("start", late)
    with pytest.raises(TypeError, match=r"^the hook is a coroutine function"):
        pump(store, coroutine)
    nothing: Any = None
    with pytest.raises(TypeError, match=r"^deliver is not callable"):
        pump(store, nothing)
    with pytest.raises(TypeError, match=r"^deliver is not callable"):
        asyncio.run(pump_async(AsyncMemoryScheduler(), nothing))
    assert pump(store, lambda start: coroutine(start), lease=timedelta(0)) == 0  # noqa: PLW0108
    heard: list[Any] = []
    assert pump(store, heard.append) == 1
    other: Any = AsyncMemoryScheduler()
    other.schedule("start", late)
    assert asyncio.run(pump_async(other, heard.append)) == 1
    assert [start.deferred_id for start in heard] == ["start", "start"]
    blocking: Any = MemoryScheduler()
    with pytest.raises(TypeError, match="of the blocking kind"):
        asyncio.run(pump_async(blocking, coroutine))
    gc.collect()


# Endpoints ---------------------------------------------------------------------------------------


BLOCKING: Any = {"uow": MemoryStore(), "scheduler": MemoryScheduler()}
ASYNCIO: Any = {"uow": AsyncMemoryStore(), "scheduler": AsyncMemoryScheduler()}


def nobody(_: str) -> None:
    """Know nobody."""


@pytest.mark.parametrize(
    "cancel",
    [
        None,
        partial(cancel_job, **BLOCKING),
        cancel_job,
        partial(cancel_job_async, **BLOCKING),
        partial(cancel_job_async, **{**ASYNCIO, "scheduler": None}),
        partial(asyncio.to_thread, partial(cancel_job, **ASYNCIO)),
        partial(asyncio.to_thread, partial(cancel_job, **BLOCKING, on_cancelled=coroutine)),
    ],
)
def test_an_asgi_application_refuses_the_wrong_kind(cancel: Any) -> None:
    """When it is made, not when a customer cancels."""
    with pytest.raises(TypeError):
        AsgiApp(cancel, nobody)


@pytest.mark.parametrize(
    "cancel",
    [
        None,
        cancel_job_async,
        partial(cancel_job_async, **ASYNCIO),
        partial(cancel_job, **ASYNCIO),
        partial(cancel_job, **{**BLOCKING, "uow": MemoryStore}),
        partial(cancel_job, **BLOCKING, on_cancelled=coroutine),
    ],
)
def test_a_wsgi_application_refuses_the_wrong_kind(cancel: Any) -> None:
    """When it is made, not when a customer cancels."""
    with pytest.raises(TypeError):
        WsgiApp(cancel, nobody)


def test_endpoints_take_the_right_kind() -> None:
    """And functions of the adopter's, of which nothing is known."""
    AsgiApp(partial(cancel_job_async, **ASYNCIO, on_cancelled=plain), nobody)
    AsgiApp(partial(asyncio.to_thread, partial(cancel_job, **BLOCKING)), nobody)
    anything: Any = lambda *_, **__: None  # noqa: E731
    AsgiApp(anything, nobody)
    WsgiApp(partial(cancel_job, **BLOCKING, on_cancelled=plain), nobody)
    WsgiApp(anything, nobody)


# Wrapped and framework's ports ------------------------------------------------------------


def test_djangos_hook_refuses_the_wrong_kind_when_it_is_registered() -> None:
    """Not in the hook, where Django would log it and go on."""
    uow: Any = DjangoUnitOfWork()
    right = {"scheduler": MemoryScheduler(), "uow": uow, "on_cancelled": plain}
    for wrong in (
        {"scheduler": None},
        {"scheduler": AsyncMemoryScheduler()},
        {"uow": None},
        {"uow": MemoryStore()},
        {"on_cancelled": coroutine},
    ):
        ports: Any = right | wrong
        with pytest.raises(TypeError):
            remove_deferred_on_commit(owed(), ports.pop("scheduler"), **ports)


def test_telemetry_hides_no_kind() -> None:
    """What it wraps is refused as what it is."""
    telemetry = Telemetry()
    store: Any = telemetry.uow(AsyncMemoryStore())
    with pytest.raises(TypeError, match="opens transactions of the asyncio kind"):
        cancel_job("job", uow=store, scheduler=MemoryScheduler())
    scheduler: Any = telemetry.scheduler(AsyncMemoryScheduler())
    with pytest.raises(TypeError, match="the scheduler is of the asyncio kind"):
        cancel_job("job", uow=MemoryStore(), scheduler=scheduler)


# Ids, leases, and errors that nobody foresaw -----------------------------------------------------


@pytest.mark.parametrize("wrong", [7, UUID(int=7), b"job"])
def test_an_id_that_is_no_text_says_what_to_pass(wrong: Any) -> None:
    """One sentence, without the value."""
    for name, call in (
        ("batch_job_id", lambda: JobKey(wrong)),
        ("batch_job_id", lambda: cancel_job(wrong, **BLOCKING)),
        ("organization_id", lambda: JobKey("job", wrong)),
        ("organization_id", lambda: cancel_rows("job", uow=MemoryStore(), organization_id=wrong)),
        ("operation_id", lambda: cancel_job("job", **BLOCKING, operation_id=wrong)),
        ("contact_id", lambda: settle_contact("job", wrong, BUSY, uow=MemoryStore())),
        ("deferred_id", lambda: start_job("job", uow=MemoryStore(), deferred_id=wrong)),
    ):
        with pytest.raises(TypeError) as refused:
            call()
        kind = type(wrong).__name__
        assert str(refused.value) == f"{name} must be a str, got {kind}: pass str({name})"


@pytest.mark.parametrize("lease", [timedelta.max, timedelta(days=36_501), timedelta(seconds=-1)])
def test_a_lease_that_no_clock_can_add_is_refused(lease: timedelta) -> None:
    """A sentence, and no OverflowError."""
    for call in (
        lambda: reconcile(**BLOCKING, lease=lease),
        lambda: asyncio.run(reconcile_async(**ASYNCIO, lease=lease)),
        lambda: MemoryScheduler().claim(1, lease),
        lambda: pump(MemoryScheduler(), plain, lease=lease),
    ):
        with pytest.raises(ValueError, match="lease must not be negative, and at most 36500 days"):
            call()
    number: Any = 30
    with pytest.raises(TypeError, match="lease must be a timedelta, got int"):
        reconcile(**BLOCKING, lease=number)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TypeError("'NoneType' object is not callable"), "TypeError: 'NoneType' object is not ca"),
        (
            AttributeError("'X' object has no attribute 'lock'"),
            "AttributeError: 'X' object has no",
        ),
        (NotImplementedError(), "NotImplementedError"),
        (RuntimeError("no running event loop"), "RuntimeError: no running event loop"),
        (RuntimeError("postgresql://u:hunter2@h/d"), "RuntimeError"),
        (TypeError("password hunter2"), "TypeError"),
        (TypeError("bad number +49 170 1234567"), "TypeError"),
        (ValueError("hunter2"), "ValueError"),
        (KeyError("hunter2"), "KeyError"),
        (OSError("hunter2"), "OSError"),
        (type("DriverError", (RuntimeError,), {})("hunter2"), "DriverError"),
    ],
)
def test_what_a_store_raises_is_named(error: Exception, text: str) -> None:
    """With its text where Python reports a mistake; never with data."""
    assert described(error).startswith(text)
    assert "hunter2" not in described(error)
    assert "1234567" not in described(error)

    class Broken:
        @contextmanager
        def begin(self) -> Generator[Any]:
            raise error
            yield

    with pytest.raises(CancelFailed) as failed:
        cancel_job("job", uow=Broken(), scheduler=MemoryScheduler())
    assert failed.value.reason == f"the store raised {described(error)}"


def test_a_removal_alone_is_not_noted_in_what_is_no_store(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The commit is done, so a store that shows its kind only now does not raise."""
    store, scheduler = MemoryStore(), MemoryScheduler()
    scheduled(store)
    duck: Any = Duck(AsyncMemoryStore())
    with caplog.at_level(logging.WARNING):
        result = remove_deferred(cancel_rows("job", uow=store), scheduler, uow=duck)
    assert result.removal is Removal.ABSENT
    assert "could not be noted (the store (uow) opens transactions of the asyncio" in caplog.text


def test_a_commit_is_not_looked_up_in_what_is_no_store() -> None:
    """It shows its kind only as it begins; the deferred start was left alone by then."""
    store = MemoryStore()
    scheduled(store)
    joined = attrs.evolve(cancel_rows("job", uow=store), joined=True)
    duck: Any = Duck(AsyncMemoryStore())
    with pytest.raises(TypeError, match="opens transactions of the asyncio kind"):
        remove_deferred(joined, MemoryScheduler(), uow=duck)
