"""
Check what a caller passed: a store, a scheduler and a hook, each blocking or asyncio.

Rule 1: a wrong kind is a `TypeError` before the first statement is sent. Otherwise a cancel would
        succeed, but its removal would stay pending and its hook would never be called.
Rule 2: an object is judged by its methods, never by its class: any object with the methods of the
        port is accepted.
Rule 3: blocking or asyncio is read from a method itself: whether it is a coroutine function,
        whether it opens its transaction with or without `async`, and what it declares to return.
Rule 4: if that decides nothing, the returned value is judged. Asyncio functions accept a plain
        value instead of an awaitable, because the work is done by then. Blocking functions refuse
        an awaitable, because they can't await it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import partial
from inspect import (
    CO_ASYNC_GENERATOR,
    CO_COROUTINE,
    CO_GENERATOR,
    isasyncgen,
    isasyncgenfunction,
    isawaitable,
    iscoroutinefunction,
    isgenerator,
    isgeneratorfunction,
)
from types import CodeType, FunctionType, MethodType, TracebackType
from typing import Final, TypeVar, cast

import attrs

from batch_cancel.domain.errors import StoreFailed
from batch_cancel.ports import AsyncRepositories, AsyncUnitOfWork, Repositories, UnitOfWork

_T = TypeVar("_T")

_STORE: Final = "the store (uow)"
_SCHEDULER: Final = "the scheduler"
_HOOK: Final = "the hook"
_STARTS: Final = "the store of deferred starts"

_CALL_ASYNC: Final = (
    "this function is blocking: await the function of the same name that ends in _async, or pass "
    "a blocking one"
)
_CALL_BLOCKING: Final = (
    "this function is asyncio: call the function of the same name without _async, or pass an "
    "asyncio one"
)


class WrongKind(TypeError):
    """A store, a scheduler or a hook cannot be used by the function that it was passed to."""


def check_store(uow: object) -> None:
    """
    Check that `uow` is a store for blocking functions.

    Raises:
        TypeError: it has no `begin`, is a class, or is of the asyncio kind.
    """
    begin = _method(uow, _STORE, "begin", "PostgresUnitOfWork(...)")
    flags = _generator_flags(begin)
    if flags & CO_ASYNC_GENERATOR or (not flags and is_asyncio(begin)):
        raise _is_asyncio(_STORE, uow)


def check_store_async(uow: object) -> None:
    """
    Check that `uow` is a store for asyncio functions.

    Raises:
        TypeError: it has no `begin`, is a class, or is of the blocking kind.
    """
    begin = _method(uow, _STORE, "begin", "AsyncPostgresUnitOfWork(...)")
    if _generator_flags(begin) & CO_GENERATOR:
        raise _is_blocking(_STORE, uow)


def check_scheduler(scheduler: object) -> None:
    """
    Check that `scheduler` is one for blocking functions.

    Raises:
        TypeError: it has no `cancel`, is a class, or is of the asyncio kind.
    """
    cancel = _method(scheduler, _SCHEDULER, "cancel", "RedisScheduler(...)")
    if is_asyncio(cancel):
        raise _is_asyncio(_SCHEDULER, scheduler)


def check_scheduler_async(scheduler: object) -> None:
    """
    Check that `scheduler` is one for asyncio functions.

    Raises:
        TypeError: it has no `cancel`, is a class, or is of the blocking kind.
    """
    cancel = _method(scheduler, _SCHEDULER, "cancel", "AsyncRedisScheduler(...)")
    if declares(cancel, bool):
        raise _is_blocking(_SCHEDULER, scheduler)


def check_inspectable(scheduler: object) -> None:
    """
    Check that `scheduler` is one for blocking functions, with `waiting_among` or without.

    Raises:
        TypeError: it has neither `waiting_among` nor `cancel`, is a class, or is of the asyncio
            kind.
    """
    waiting_among: object = getattr(scheduler, "waiting_among", None)
    if isinstance(scheduler, type) or waiting_among is None:
        check_scheduler(scheduler)
    elif is_asyncio(waiting_among):
        raise _is_asyncio(_SCHEDULER, scheduler)


def check_inspectable_async(scheduler: object) -> None:
    """
    Check that `scheduler` is one for asyncio functions, with `waiting_among` or without.

    Raises:
        TypeError: it has neither `waiting_among` nor `cancel`, is a class, or is of the blocking
            kind.
    """
    waiting_among: object = getattr(scheduler, "waiting_among", None)
    if isinstance(scheduler, type) or waiting_among is None:
        check_scheduler_async(scheduler)
    elif declares(waiting_among, set):
        raise _is_blocking(_SCHEDULER, scheduler)


def check_starts(store: object) -> None:
    """
    Check that `store` is a native store of deferred starts for blocking functions.

    Raises:
        TypeError: it has no `claim` and `ack`, is a class, or is of the asyncio kind.
    """
    claim = _method(store, _STARTS, "claim", "RedisScheduler(...)")
    _method(store, _STARTS, "ack", "RedisScheduler(...)")
    if is_asyncio(claim):
        raise _is_asyncio(_STARTS, store)


def check_starts_async(store: object) -> None:
    """
    Check that `store` is a native store of deferred starts for asyncio functions.

    Raises:
        TypeError: it has no `claim` and `ack`, is a class, or is of the blocking kind.
    """
    claim = _method(store, _STARTS, "claim", "AsyncRedisScheduler(...)")
    _method(store, _STARTS, "ack", "AsyncRedisScheduler(...)")
    if declares(claim, list):
        raise _is_blocking(_STARTS, store)


def check_hook(hook: object) -> None:
    """
    Check that a blocking function can call `hook`; None means no hook.

    Raises:
        TypeError: it is not callable, or it is a coroutine or a generator function.
    """
    if hook is None:
        return
    _check_runs(hook)
    if is_asyncio(hook):
        msg = (
            f"{_HOOK} is a coroutine function ({name_of(hook)}), and {_CALL_ASYNC}; it would not "
            "be awaited here"
        )
        raise WrongKind(msg)


def check_hook_async(hook: object) -> None:
    """
    Check that an asyncio function can call `hook`; None means no hook.

    Raises:
        TypeError: it is not callable, or it is a generator function.
    """
    if hook is not None:
        _check_runs(hook)


def _check_runs(hook: object) -> None:
    """Check that a hook is callable, and that a call runs its body."""
    check_callable(hook, _HOOK)
    called: object = getattr(type(hook), "__call__", None)  # noqa: B004  # The method of an instance.
    if any(isgeneratorfunction(it) or isasyncgenfunction(it) for it in (hook, called)):
        msg = (
            f"{_HOOK} is a generator function ({name_of(hook)}), whose body would not run: pass a "
            "function without yield"
        )
        raise WrongKind(msg)


async def call_hook(hook: Callable[[_T], object], subject: _T) -> None:
    """
    Call a hook, and await its answer if that is awaitable.

    Raises:
        TypeError: it returned a generator, whose body has not run.
        Exception: whatever the hook raises.
    """
    answer: object = hook(subject)
    if isawaitable(answer):
        answer = await answer
    _check_ran(answer)


def _check_ran(answer: object) -> None:
    """Check that a hook did not return a generator, whose body has not run."""
    if isgenerator(answer) or isasyncgen(answer):
        msg = "it returned a generator, whose body does not run: pass a function without yield"
        raise WrongKind(msg)


def opened(uow: UnitOfWork) -> AbstractContextManager[Repositories]:
    """
    Return a transaction for a `with` statement; it sends no statement yet.

    Raises:
        TypeError: `begin` returned an async context manager or an awaitable.
        StoreFailed: it returned something else that is not a context manager.
    """
    transaction = uow.begin()
    if hasattr(type(transaction), "__enter__"):
        return transaction
    raise _not_entered(transaction, "__aenter__", "context manager", _CALL_ASYNC)


def opened_async(uow: AsyncUnitOfWork) -> AbstractAsyncContextManager[AsyncRepositories]:
    """
    Return a transaction for an `async with` statement; it sends no statement yet.

    Raises:
        TypeError: `begin` returned a blocking context manager or an awaitable.
        StoreFailed: it returned something else that is not a context manager.
    """
    transaction = uow.begin()
    if hasattr(type(transaction), "__aenter__"):
        return _Transaction(transaction)
    raise _not_entered(transaction, "__enter__", "async context manager", _CALL_BLOCKING)


@attrs.frozen
class _Transaction:
    """A transaction that suppresses no exception: its block would end without an answer."""

    within: AbstractAsyncContextManager[AsyncRepositories]

    async def __aenter__(self) -> AsyncRepositories:
        return await self.within.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if await self.within.__aexit__(kind, error, traceback) and error is not None:
            raise StoreFailed(_SUPPRESSED, "unknown") from error


_SUPPRESSED: Final = (
    "the context manager of the store's `begin` suppressed an exception, so whether the "
    "transaction was committed is unknown: let the exception pass"
)


def returned(answer: _T) -> _T:
    """
    Return the answer of a blocking port or hook.

    Raises:
        TypeError: it is an awaitable; a coroutine is closed.
    """
    if isinstance(answer, bool) or not isawaitable(answer):
        return answer
    discard(answer)
    msg = f"it returned an awaitable ({_kind(answer)}), and {_CALL_ASYNC}"
    raise WrongKind(msg)


async def returned_async(answer: Awaitable[_T]) -> _T:
    """Return the answer of an asyncio port or hook, awaited if it is awaitable."""
    given: object = answer  # The answer of a blocking port that was not recognised as one.
    return await answer if isawaitable(given) else cast("_T", given)


def discard(answer: object) -> None:
    """Close a coroutine that is not awaited, so that Python does not warn about it."""
    close = getattr(answer, "close", None)
    if isawaitable(answer) and callable(close):
        close()


def is_asyncio(function: object) -> bool:
    """Check whether a call of `function` certainly returns a coroutine."""
    plain: object = function.__func__ if isinstance(function, MethodType) else function
    if isinstance(plain, FunctionType) and not plain.__dict__:  # The usual case, without a search.
        return bool(plain.__code__.co_flags & CO_COROUTINE)
    if iscoroutinefunction(function):
        return True
    # An instance whose class has an `async def __call__`.
    return iscoroutinefunction(getattr(type(function), "__call__", None))  # noqa: B004


def declares(function: object, answer: type) -> bool:
    """Check whether `function` is declared to return an `answer` itself, not an awaitable."""
    while isinstance(function, partial):
        function = cast("partial[object]", function).func
    # A decorator copies the annotations of the wrapped function, and may return something else.
    if is_asyncio(function) or hasattr(function, "__wrapped__"):
        return False
    annotations: object = getattr(function, "__annotations__", None)
    if not isinstance(annotations, dict):
        return False
    declared = cast("dict[str, object]", annotations).get("return")
    if isinstance(declared, str):
        return declared.partition("[")[0] == answer.__name__
    return answer in (declared, getattr(declared, "__origin__", None))


def _generator_flags(begin: object) -> int:
    """Return the flags of the generator function behind contextlib's `begin`; 0 for others."""
    code: object = getattr(getattr(begin, "__wrapped__", None), "__code__", None)
    return code.co_flags & (CO_GENERATOR | CO_ASYNC_GENERATOR) if isinstance(code, CodeType) else 0


def _is_asyncio(name: str, port: object) -> WrongKind:
    return WrongKind(f"{name} is of the asyncio kind ({_kind(port)}), and {_CALL_ASYNC}")


def _is_blocking(name: str, port: object) -> WrongKind:
    return WrongKind(f"{name} is of the blocking kind ({_kind(port)}), and {_CALL_BLOCKING}")


def _method(port: object, name: str, method: str, example: str) -> object:
    """Return the named method of a port, if the port has it."""
    if isinstance(port, type):
        msg = f"{name} is the class {port.__name__}: pass an instance of it"
        raise WrongKind(msg)
    found: object = getattr(port, method, None)
    if callable(found):
        return found
    msg = f"{name} has no method `{method}` ({_kind(port)}): pass for example {example}"
    raise WrongKind(msg)


def check_callable(hook: object, name: str) -> None:
    """
    Check that a hook is callable.

    Raises:
        TypeError: it is not callable.
    """
    if not callable(hook):
        msg = f"{name} is not callable ({_kind(hook)}): pass a function"
        raise WrongKind(msg)


def _not_entered(transaction: object, other: str, wanted: str, advice: str) -> Exception:
    """Return the error for a `begin` that returned the wrong context manager, or none."""
    if hasattr(type(transaction), other):
        kind = "blocking" if other == "__enter__" else "asyncio"
        return WrongKind(f"{_STORE} opens transactions of the {kind} kind, and {advice}")
    decorator = "contextmanager" if other == "__aenter__" else "asynccontextmanager"
    msg = (
        f"the store's `begin` returned no {wanted} but {_kind(transaction)}: decorate it with "
        f"contextlib.{decorator}"
    )
    if isawaitable(transaction):
        discard(transaction)
        return WrongKind(msg)
    return StoreFailed(msg)


def _kind(value: object) -> str:
    """Return the name of a value's type, without the value itself."""
    return "None" if value is None else type(value).__name__


def name_of(function: object) -> str:
    """Return the name of a function, or of the function inside a partial."""
    while isinstance(function, partial):
        function = cast("partial[object]", function).func
    name: object = getattr(function, "__qualname__", None)
    return name if isinstance(name, str) else type(function).__name__
