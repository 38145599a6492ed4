"""
An application's own wiring: `--app module:name`.

Rule 1: an application is an object with `uow` and `scheduler`, and perhaps `on_cancelled`, or a
        function or coroutine function without arguments that returns one.
Rule 2: an asyncio application is created, used and closed in one event loop. For a blocking one no
        event loop runs: Django refuses to work beside one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from inspect import getattr_static, isawaitable, signature
from typing import Any, Final, TypeVar, cast

from batch_cancel.cli.calls import Calls
from batch_cancel.cli.imports import UsageError, found
from batch_cancel.use_cases import kinds
from batch_cancel.use_cases.run_blocking import run
from batch_cancel.use_cases.unexpected import with_text

_T = TypeVar("_T")

_NOTHING: Final = object()

Command = Callable[[Calls], Coroutine[object, None, _T]]
"""What a command does: one call."""


def perform(path: str, command: Command[_T]) -> _T:
    """
    Run a command on the application that `path` names.

    Raises:
        UsageError: there is no such application, or it is not valid.
        Exception: whatever the command raises.
    """
    made = _made(path, found("--app", path))
    if isawaitable(made):
        return asyncio.run(_perform(path, made, command))
    calls = _calls(path, made)
    return run(command(calls)) if calls.is_blocking else asyncio.run(command(calls))


async def _perform(path: str, made: Awaitable[object], command: Command[_T]) -> _T:
    try:
        calls = _calls(path, await made)
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        raise _raised(path, error) from error
    return await command(calls)


def _made(path: str, value: object) -> object:
    """Return the application, or an awaitable of it."""
    is_function = callable(value) and (isinstance(value, type) or not _has(value, "uow"))
    if not is_function:
        return value
    value = cast("Callable[[], object]", value)
    try:
        signature(value).bind()
    except TypeError as error:
        msg = f"--app: {path} needs arguments: name a function that takes none"
        raise UsageError(msg) from error
    except ValueError:  # Python does not know its parameters.
        pass
    try:
        return value()
    except (Exception, SystemExit) as error:
        raise _raised(path, error) from error


def _calls(path: str, app: object) -> Calls:
    """Return the use cases with the application's ports, blocking or asyncio."""
    ports = dict[str, Any]()
    for name in ("uow", "scheduler", "on_cancelled"):
        ports[name] = _read(path, app, name)
        if ports[name] is _NOTHING and name != "on_cancelled":
            what = "None" if app is None else f"of type {type(app).__name__}"
            msg = f"--app: {path} has no `{name}` (it is {what}): give it uow and scheduler"
            raise UsageError(msg)
    uow, scheduler, hook = ports.values()
    hook = None if hook is _NOTHING else hook
    not_blocking = _fault(kinds.check_store, uow) or _fault(kinds.check_scheduler, scheduler)
    if not_blocking is None:
        return Calls.blocking(uow, scheduler, _checked(path, kinds.check_hook, hook))
    if not (
        _fault(kinds.check_store_async, uow) or _fault(kinds.check_scheduler_async, scheduler)
    ):
        return Calls(uow, scheduler, _checked(path, kinds.check_hook_async, hook))
    msg = f"--app: {path}: {_why(uow, scheduler)}"
    raise UsageError(msg)


def _has(app: object, name: str) -> bool:
    """Check whether an application has an attribute, without reading a property of its class."""
    return getattr_static(app, name, _NOTHING) is not _NOTHING or hasattr(app, name)


def _read(path: str, app: object, name: str) -> object:
    """
    Read an attribute once; a property that raises is not a missing one.

    Raises:
        UsageError: the property raised an error.
    """
    try:
        return getattr(app, name)
    except (Exception, SystemExit) as error:
        if isinstance(error, AttributeError) and getattr_static(app, name, app) is app:
            return _NOTHING
        msg = f"--app: {path}: its `{name}` raised {with_text(error)}"
        raise UsageError(msg) from error


def _fault(check: Callable[[object], None], port: object) -> str | None:
    """Return why a port is of the wrong kind; None if it is not."""
    try:
        check(port)
    except kinds.WrongKind as error:
        return str(error)
    return None


def _checked(path: str, check: Callable[[object], None], hook: _T) -> _T:
    try:
        check(hook)
    except kinds.WrongKind as error:
        msg = f"--app: {path}: on_cancelled must be a plain function beside blocking ports"
        raise UsageError(msg if kinds.is_asyncio(hook) else f"--app: {path}: {error}") from error
    return hook


def _why(uow: object, scheduler: object) -> str | None:
    """Return why these ports are not both blocking or both asyncio."""
    for check, same, other in (
        (kinds.check_store, kinds.check_scheduler, kinds.check_scheduler_async),
        (kinds.check_store_async, kinds.check_scheduler_async, kinds.check_scheduler),
    ):
        if _fault(check, uow) is None:
            if _fault(other, scheduler) is not None:  # It is not a scheduler.
                return _fault(same, scheduler)
            names = f"{type(uow).__name__} and {type(scheduler).__name__}"
            return f"uow and scheduler must both block or both be asyncio, got {names}"
    return _fault(kinds.check_store, uow)


def _raised(path: str, error: BaseException) -> UsageError:
    return UsageError(f"--app: {path} raised {with_text(error)}")
