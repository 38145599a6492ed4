"""What is written once, and runs on either kind of port: both functions take the same."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, Final

import attrs
import pytest

import batch_cancel
from batch_cancel.adapters.memory import AsyncMemoryRepositories, MemoryRepositories
from batch_cancel.adapters.postgres.repositories import (
    AsyncPostgresRepositories,
    PostgresRepositories,
)
from batch_cancel.http import endpoint
from batch_cancel.http.endpoint import AsyncEndpoint, Endpoint


def modules() -> Iterator[Any]:
    """Import every module of the use cases, and the endpoint's."""
    package = importlib.import_module("batch_cancel.use_cases")
    for found in pkgutil.iter_modules(package.__path__):
        yield importlib.import_module(f"batch_cancel.use_cases.{found.name}")
    yield endpoint


def pairs() -> dict[str, tuple[Callable[..., Any], Callable[..., Any]]]:
    """Return each blocking function that has an asyncio one beside it, and that one, by name."""
    found: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {}
    for module in modules():
        for name, function in vars(module).items():
            twin = getattr(module, f"{name}_async", None)
            if (
                twin is not None
                and not name.startswith("_")
                and function.__module__ == module.__name__
            ):
                found[f"{module.__name__.removeprefix('batch_cancel.')}.{name}"] = (function, twin)
    return found | {"http.endpoint.Endpoint.respond": (Endpoint.respond, AsyncEndpoint.respond)}


PAIRS: Final = pairs()


@pytest.mark.parametrize("name", PAIRS)
def test_both_functions_take_the_same(name: str) -> None:
    """The same parameters, in the same order, with the same defaults."""
    blocking, nonblocking = (inspect.signature(it).parameters.values() for it in PAIRS[name])
    assert [(it.name, it.kind, it.default) for it in blocking] == [
        (it.name, it.kind, it.default) for it in nonblocking
    ]


@pytest.mark.parametrize("name", [it for it in PAIRS if not it.startswith("use_cases.kinds.")])
def test_what_a_function_does_is_said_once(name: str) -> None:
    """The asyncio function says that it is the other, and is a coroutine function."""
    blocking, nonblocking = PAIRS[name]
    assert nonblocking.__doc__ == f"As `{blocking.__qualname__}`, awaited."
    assert inspect.iscoroutinefunction(nonblocking)
    assert not inspect.iscoroutinefunction(blocking)


def test_every_function_of_the_package_is_compared() -> None:
    """The comparison would also pass if it saw nothing."""
    functions = {it for it in batch_cancel.__all__ if it.islower() and not it.endswith("_async")}
    assert functions | {"pump", "respond"} <= {name.rpartition(".")[2] for name in PAIRS}


@pytest.mark.parametrize("part", ["jobs", "contacts", "outbox", "inspection", "work", "sweep"])
def test_a_blocking_repository_of_postgres_takes_the_same(part: str) -> None:
    """Its methods are those of the coroutines that it runs."""
    transaction: Any = SimpleNamespace(frame=SimpleNamespace(is_joined=False))
    blocking = getattr(PostgresRepositories(transaction), part)
    coroutines = getattr(AsyncPostgresRepositories(transaction), part)
    methods = [it for it in dir(type(blocking)) if not it.startswith("_") and it != "awaited"]
    assert methods
    for name in methods:
        assert inspect.iscoroutinefunction(getattr(coroutines, name))
        assert inspect.signature(getattr(blocking, name)) == inspect.signature(
            getattr(coroutines, name)
        )


PARTS: Final = [
    *("jobs", "contacts", "outbox", "inspection", "work"),
    *("overview", "history", "bulk", "sweep"),
]


@pytest.mark.parametrize("part", PARTS)
def test_a_repository_in_a_wrapper_takes_the_same(part: str) -> None:
    """The wrappers of a store that offers all have each method of what is in them, awaited."""
    rows: Any = {}
    repositories = MemoryRepositories.of(rows, 1, is_joined=False)
    blocking = getattr(repositories, part)
    awaited = getattr(AsyncMemoryRepositories(repositories), part)
    fields = {it.name for it in attrs.fields(type(blocking))}
    methods = [it for it in dir(type(blocking)) if not it.startswith("_") and it not in fields]
    assert methods
    for name in methods:
        assert inspect.iscoroutinefunction(getattr(awaited, name))
        its, others = (inspect.signature(getattr(it, name)) for it in (awaited, blocking))
        assert list(its.parameters) == list(others.parameters)


WRITTEN_ONCE: Final = {
    "adapters.postgres": ("SqlStartGate", "AsyncSqlStartGate"),
    "adapters.procrastinate": ("ProcrastinateScheduler", "AsyncProcrastinateScheduler"),
    "adapters.redis.scheduler": ("RedisScheduler", "AsyncRedisScheduler"),
    "adapters.redis.start_gate": ("StartGate", "AsyncStartGate"),
    "adapters.sqlalchemy": ("SqlStartGate", "AsyncSqlStartGate"),
}
"""The classes whose asyncio half inherits the coroutines that the blocking half runs."""


@pytest.mark.parametrize("module", WRITTEN_ONCE)
def test_a_half_that_runs_the_others_coroutines_takes_the_same(module: str) -> None:
    """Both have the same methods and the same options, and one says that it is the other."""
    found = importlib.import_module(f"batch_cancel.{module}")
    blocking, nonblocking = (getattr(found, name) for name in WRITTEN_ONCE[module])
    methods, awaited = (
        {name for name in dir(it) if not name.startswith("_")} for it in (blocking, nonblocking)
    )
    assert methods == awaited
    assert {"cancel", "waiting_among", "check"} <= methods
    for name in methods:
        method = getattr(nonblocking, name)
        assert inspect.iscoroutinefunction(method)
        assert inspect.signature(method) == inspect.signature(getattr(blocking, name))
        assert method.__doc__ == f"As `{getattr(blocking, name).__qualname__}`, awaited."
    assert nonblocking.__doc__ == f"As `{blocking.__name__}`, awaited."
    options, others = (inspect.signature(it).parameters.values() for it in (blocking, nonblocking))
    assert [(it.name, it.kind, it.default) for it in options] == [
        (it.name, it.kind, it.default) for it in others
    ]
