"""What is passed to a function is of the right kind, or a TypeError before anything is asked."""

from __future__ import annotations

import asyncio
import gc
import inspect as python
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial, wraps
from typing import Any
from unittest.mock import AsyncMock, MagicMock, Mock

import attrs
import pytest

import batch_cancel
from batch_cancel import (
    Cancellation,
    ContactStatus,
    Removal,
    cancel_job,
    cancel_job_async,
    cancel_rows,
)
from batch_cancel.adapters.memory import (
    AsyncMemoryScheduler,
    AsyncMemoryStore,
    MemoryScheduler,
    MemoryStore,
)
from batch_cancel.ports import StoreFailed
from batch_cancel.use_cases import kinds
from batch_cancel.use_cases.pump import pump
from batch_cancel.use_cases.unexpected import described

AGE = timedelta(hours=1)
BUSY = ContactStatus.BUSY


@attrs.frozen
class Store:
    """A blocking store that notes whether it was asked to begin."""

    calls: list[str]

    @contextmanager
    def begin(self) -> Generator[Any]:
        """Begin."""
        self.calls.append("begin")
        with MemoryStore().begin() as repositories:
            yield repositories


@attrs.frozen
class AsyncStore:
    """An asyncio store that notes whether it was asked to begin."""

    calls: list[str]

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[Any]:
        """Begin."""
        self.calls.append("begin")
        async with AsyncMemoryStore().begin() as repositories:
            yield repositories


@attrs.frozen
class Scheduler:
    """A blocking scheduler that notes what it was asked."""

    calls: list[str]

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """Cancel it."""
        self.calls.append("cancel")
        return True

    def waiting_among(self, deferred_ids: Any) -> set[str]:
        """See nothing."""
        self.calls.append("waiting_among")
        return set()


@attrs.frozen
class AsyncScheduler:
    """An asyncio scheduler that notes what it was asked."""

    calls: list[str]

    async def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """Cancel it."""
        self.calls.append("cancel")
        return True

    async def waiting_among(self, deferred_ids: Any) -> set[str]:
        """See nothing."""
        self.calls.append("waiting_among")
        return set()


def plain(_: object) -> None:
    """Be a plain hook."""


async def coroutine(_: object) -> None:
    """Be a hook of the asyncio kind."""


def owed() -> Cancellation:
    """Return a committed cancellation that owes a removal."""
    store = MemoryStore()
    store.add_job("job", "scheduled", deferred_id="start")
    return cancel_rows("job", uow=store)


# Every function of the package, with the arguments that are right.
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "append_contacts": ("job", [{"id": "c"}]),
    "cancel_job": ("job",),
    "cancel_jobs": (["job"],),
    "cancel_rows": ("job",),
    "cancellation_of": ("job",),
    "cancellations": (),
    "claim_contacts": ("job",),
    "expire_calls": ("job", AGE),
    "finish_job": ("job",),
    "forget": (),
    "inspect": (),
    "job_progress": ("job",),
    "preview_job": ("job",),
    "reconcile": (),
    "remove_deferred": (),
    "settle_contact": ("job", "c", BUSY),
    "start_job": ("job",),
    "still_running": ("job",),
}
NAMES = sorted(ARGUMENTS)


def called(name: str, *, is_async: bool, **ports: Any) -> Any:
    """Call a function of the package with these ports."""
    function: Any = getattr(batch_cancel, f"{name}_async" if is_async else name)
    arguments = (owed(), ports.pop("scheduler")) if name == "remove_deferred" else ARGUMENTS[name]
    if name == "claim_contacts":
        ports["limit"] = 1
    if name == "forget":
        ports["before"] = datetime.now(UTC)
    answer = function(*arguments, **ports)
    return asyncio.run(answer) if is_async else answer


def ports_of(name: str, calls: list[str], *, is_async: bool) -> dict[str, Any]:
    """Return the right ports for a function."""
    takes = python.signature(getattr(batch_cancel, name)).parameters
    ports = {
        "uow": AsyncStore(calls) if is_async else Store(calls),
        "scheduler": AsyncScheduler(calls) if is_async else Scheduler(calls),
        "on_cancelled": coroutine if is_async else plain,
    }
    return {port: value for port, value in ports.items() if port in takes}


def test_every_function_of_the_package_is_asked_here() -> None:
    """A new one must be added above; the pump is asked in `test_kinds_returned`."""
    functions = {name for name in batch_cancel.__all__ if name.islower()}
    assert {name for name in functions if not name.endswith("_async")} == {*NAMES, "pump"}


WRONG = [
    ("uow", None),
    ("uow", "postgresql://u:hunter2@h/d"),
    ("uow", MemoryStore),
    ("uow", "the other kind"),
    ("scheduler", None),
    ("scheduler", "redis://:hunter2@h"),
    ("scheduler", MemoryScheduler),
    ("scheduler", "the other kind"),
    ("on_cancelled", "tell"),
    ("on_cancelled", 7),
]


@pytest.mark.parametrize("is_async", [False, True], ids=["blocking", "asyncio"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("port", "wrong"), WRONG, ids=lambda it: str(it)[:20])
def test_a_wrong_kind_is_refused_before_anything_is_asked(
    name: str, port: str, wrong: Any, *, is_async: bool
) -> None:
    """By every function that takes such a port, in a sentence that shows nothing of it."""
    calls = list[str]()
    ports = ports_of(name, calls, is_async=is_async)
    optional = name == "remove_deferred" and port == "uow" and (wrong is None)
    if port not in ports or optional:
        return
    ports[port] = wrong
    if wrong == "the other kind":
        ports[port] = ports_of(name, calls, is_async=not is_async)[port]
    with pytest.raises(TypeError) as refused:
        called(name, is_async=is_async, **ports)
    assert calls == []
    assert "hunter2" not in str(refused.value)
    assert str(refused.value).startswith(("the store", "the scheduler", "the hook"))
    if wrong == "the other kind":
        ending = "without _async" if is_async else "that ends in _async"
        assert ending in str(refused.value)
    gc.collect(1)  # A coroutine that nobody awaited, young as it is, would warn: an error here.


@pytest.mark.parametrize("is_async", [False, True], ids=["blocking", "asyncio"])
@pytest.mark.parametrize("name", NAMES)
def test_the_right_kind_is_asked(name: str, *, is_async: bool) -> None:
    """The test above would also pass if everything was refused."""
    calls = list[str]()
    with suppress(batch_cancel.BatchCancelError):
        called(name, is_async=is_async, **ports_of(name, calls, is_async=is_async))
    assert calls


@pytest.mark.parametrize("name", ["cancel_job", "reconcile", "remove_deferred"])
def test_a_coroutine_function_is_no_hook_of_a_blocking_function(name: str) -> None:
    """Nothing would await it: it would be noted as called, and never run."""
    calls = list[str]()

    class Hook:
        async def __call__(self, result: object) -> None:
            raise AssertionError

    for hook in (coroutine, partial(coroutine), Hook(), AsyncMock()):
        ports = ports_of(name, calls, is_async=False) | {"on_cancelled": hook}
        with pytest.raises(TypeError, match=r"^the hook is a coroutine function"):
            called(name, is_async=False, **ports)
    assert calls == []


def generator(_: object) -> Generator[None]:
    """Do nothing until somebody takes the first value."""
    yield


async def async_generator(_: object) -> AsyncGenerator[None]:
    """Do nothing until somebody takes the first value."""
    yield


class GeneratorHook:
    """A hook by its `__call__`, which is a generator function."""

    def __call__(self, result: object) -> Generator[None]:
        """Do nothing until somebody takes the first value."""
        yield


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("name", ["cancel_job", "reconcile", "remove_deferred"])
def test_a_generator_function_is_no_hook(name: str, *, is_async: bool) -> None:
    """Nothing would run its body: the cancellation would be noted as told."""
    calls = list[str]()
    for hook in (generator, async_generator, partial(generator), GeneratorHook()):
        ports = ports_of(name, calls, is_async=is_async) | {"on_cancelled": hook}
        with pytest.raises(TypeError, match=r"^the hook is a generator function"):
            called(name, is_async=is_async, **ports)
    assert calls == []


@pytest.mark.parametrize("wrong", [generator, async_generator])
def test_a_start_is_not_finished_by_a_generator(wrong: Callable[[Any], Any]) -> None:
    """A function that returns one shows only once it is called: its start is handed out again."""
    starts = MemoryScheduler()
    starts.schedule("start", datetime.now(UTC) - AGE)
    with pytest.raises(TypeError, match=r"^the hook is a generator function"):
        pump(starts, wrong)
    assert pump(starts, logged(wrong), lease=timedelta(0)) == 0
    assert pump(starts, plain) == 1


# Ducks -------------------------------------------------------------------------------------------


def scheduled(store: MemoryStore | AsyncMemoryStore) -> None:
    """Add a job with a deferred start."""
    store.add_job("job", "scheduled", deferred_id="start")


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate as adopters do: the annotations are those of what is wrapped."""

    @wraps(function)
    def call(*arguments: Any) -> Any:
        return function(*arguments)

    return call


class Duck:
    """A store that is one by its method alone; what it begins is a class of its own."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def begin(self) -> Any:
        """Begin."""
        return self._store.begin()


class Threaded:
    """An asyncio scheduler whose method is a plain function that returns an awaitable."""

    def __init__(self, scheduler: MemoryScheduler) -> None:
        self._scheduler = scheduler

    def cancel(self, deferred_id: str, operation_id: str) -> Any:
        """Cancel it in a thread."""
        return asyncio.to_thread(self._scheduler.cancel, deferred_id, operation_id)


class Decorated:
    """An asyncio scheduler whose coroutine function is decorated by a plain one."""

    @logged
    async def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """Cancel it."""
        return True


def test_whatever_has_the_methods_will_do() -> None:
    """No class of ours is asked for."""
    store, scheduler = MemoryStore(), MemoryScheduler()
    scheduled(store)
    scheduler.schedule("start", datetime.now(UTC) + AGE)
    duck: Any = Duck(store)
    assert cancel_job("job", uow=duck, scheduler=scheduler).removal is Removal.REMOVED


@pytest.mark.parametrize("make", [Threaded, lambda _: Decorated(), lambda it: it])
def test_an_asyncio_scheduler_may_be_of_plain_functions(make: Callable[[Any], Any]) -> None:
    """What it returns is awaited, or is the answer: by then the work is done."""

    class Undeclared:
        def cancel(self, deferred_id, operation_id):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            return inner.cancel(deferred_id, operation_id)

    store, inner = AsyncMemoryStore(), MemoryScheduler()
    scheduled(store)
    inner.schedule("start", datetime.now(UTC) + AGE)
    found = make(inner)
    given: Any = Undeclared() if found is inner else found
    result = asyncio.run(cancel_job_async("job", uow=store, scheduler=given))
    assert result.removal is Removal.REMOVED


def test_a_mock_is_judged_by_what_it_returns() -> None:
    """MagicMock can be entered in both ways; Mock in none."""
    magic, mock = MagicMock(), Mock()
    assert kinds.opened(magic) is magic.begin()
    opened_async: Any = kinds.opened_async(magic)
    assert opened_async.within is magic.begin()
    for opened in (kinds.opened, kinds.opened_async):
        begun: Any = opened
        with pytest.raises(StoreFailed, match=r"`begin` returned no (async )?context manager"):
            begun(mock)


def test_a_store_that_begins_with_the_other_kind_is_refused() -> None:
    """It shows only once it is asked to begin; nothing was sent by then."""
    store = AsyncMemoryStore()
    scheduled(store)
    duck: Any = Duck(store)
    with pytest.raises(TypeError, match="opens transactions of the asyncio kind"):
        cancel_job("job", uow=duck, scheduler=MemoryScheduler())
    blocking: Any = Duck(MemoryStore())
    with pytest.raises(TypeError, match="opens transactions of the blocking kind"):
        asyncio.run(cancel_job_async("job", uow=blocking, scheduler=AsyncMemoryScheduler()))


def test_a_begin_that_returns_an_awaitable_is_refused() -> None:
    """Nobody awaits it; a coroutine is closed."""

    class Wrapped:
        def begin(self) -> Any:
            async def transaction() -> None:
                """Never runs."""

            return transaction()

    store: Any = Wrapped()
    with pytest.raises(TypeError, match=r"no context manager but coroutine: decorate it"):
        cancel_job("job", uow=store, scheduler=MemoryScheduler())
    gc.collect()  # A coroutine that was left open would warn now.


def test_an_error_of_a_wrong_kind_is_shown_as_the_type_error_that_it_is() -> None:
    """With its text, which holds no data."""
    assert described(kinds.WrongKind("the hook is odd")) == "TypeError: the hook is odd"
