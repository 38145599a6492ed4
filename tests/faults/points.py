"""
Where a call through the ports can be struck, generated from the ports themselves.

Nothing is listed by hand. The Protocols of `batch_cancel.ports` are followed from `UnitOfWork` and
`Scheduler` along their annotations; a method added there is faulted from then on.

The entry into a transaction and its end are calls of their own: its end is where commits get lost.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from enum import Enum
from typing import Any, Final, cast

import attrs

from batch_cancel import ports


class Shape(Enum):
    """What kind of call it is."""

    PROPERTY = "property"
    CALL = "call"
    ENTER = "enter"
    EXIT = "exit"


@attrs.frozen
class Point:
    """
    A place in the ports where a call can be struck.

    Arguments:
        root: the port that the use cases are given: UnitOfWork, Scheduler or OnCancelled.
        port: the port that has it, the same name for both twins.
        member: its name there.
        shape: what kind of call it is.
        answers: whether the port promises an answer.
        waits: whether it may wait: all but the plain functions of an asyncio port.
    """

    root: str
    port: str
    member: str
    shape: Shape
    answers: bool
    waits: bool

    def __str__(self) -> str:
        suffix = f" ({self.shape.value})" if self.shape in {Shape.ENTER, Shape.EXIT} else ""
        return f"{self.port}.{self.member}{suffix}"

    @property
    def is_exit(self) -> bool:
        """Whether it is the end of a transaction."""
        return self.shape is Shape.EXIT


HOOK: Final = Point("OnCancelled", "OnCancelled", "call", Shape.CALL, answers=False, waits=True)
"""The caller's hook: no Protocol, but called like one."""


@attrs.frozen
class Member:
    """
    One member of a port.

    Arguments:
        point: where it is struck.
        leads_to: the port that its answer has, if any.
        is_coroutine: whether it is awaited.
        manages: whether its answer is a context manager.
    """

    point: Point
    leads_to: type | None
    is_coroutine: bool
    manages: bool

    def at(self, shape: Shape) -> Point:
        """Return the entry into what it manages, or its end."""
        return attrs.evolve(self.point, shape=shape, answers=shape is Shape.ENTER, waits=True)


def all_ports() -> list[type]:
    """Return every Protocol of `batch_cancel.ports`."""
    return [value for value in vars(ports).values() if _is_port(value)]


def _is_port(value: object) -> bool:
    return (
        isinstance(value, type)
        and getattr(value, "_is_protocol", False)
        and value.__module__ == ports.__name__
    )


def _ports_in(annotation: object) -> Iterator[type]:
    if _is_port(annotation):
        yield cast("type", annotation)
    for argument in typing.get_args(annotation):
        yield from _ports_in(argument)


@functools.cache
def members(port: type, root: str) -> tuple[Member, ...]:
    """Return the members of a port, from its Protocol."""
    return tuple(
        _member(port, root, name, value)
        for name, value in vars(port).items()
        if not name.startswith("_") and (isinstance(value, property) or callable(value))
    )


def _member(port: type, root: str, name: str, value: Any) -> Member:
    function = value.fget if isinstance(value, property) else value
    promised = typing.get_type_hints(function)["return"]
    is_coroutine = inspect.iscoroutinefunction(function)
    is_async_port = port.__name__.startswith("Async")
    point = Point(
        root,
        port.__name__.removeprefix("Async"),
        name,
        Shape.PROPERTY if isinstance(value, property) else Shape.CALL,
        answers=promised is not type(None),
        waits=is_coroutine or not is_async_port,
    )
    manager = typing.get_origin(promised)
    return Member(
        point,
        next(_ports_in(promised), None),
        is_coroutine,
        manages=manager in {AbstractContextManager, AbstractAsyncContextManager},
    )


def reached(port: type, root: str) -> Iterator[type]:
    """Return a port and every port that its answers lead to."""
    yield port
    for member in members(port, root):
        if member.leads_to is not None:
            yield from reached(member.leads_to, root)


def capabilities(port: type, target: object) -> list[type]:
    """Return the optional ports, of the port's own kind, that the adapter offers beside it."""
    is_async = port.__name__.startswith("Async")
    return [
        other
        for other in all_ports()
        if getattr(other, "_is_runtime_protocol", False)
        and other.__name__.startswith("Async") == is_async
        and isinstance(target, other)
    ] + _beside(port, target)


_BESIDE: Final[dict[type, dict[str, type]]] = {
    ports.Repositories: {"sweep": ports.SweepRepositories, "bulk": ports.BulkRepositories},
    ports.AsyncRepositories: {
        "sweep": ports.AsyncSweepRepositories,
        "bulk": ports.AsyncBulkRepositories,
    },
    ports.Scheduler: {"cancel_many": ports.BulkScheduler},
    ports.AsyncScheduler: {"cancel_many": ports.AsyncBulkScheduler},
}
"""What a port may have beside what it must have, by the name of a member."""


def _beside(port: type, target: object) -> list[type]:
    """
    Return what an adapter has beside its port.

    A sweep is asked for only after a flip, and many jobs only by a cancel of many.
    """
    found = _BESIDE.get(port, {}).items()
    return [other for name, other in found if getattr(target, name, None) is not None]


def points(*roots: type) -> set[Point]:
    """Return every point of these ports, of all that they lead to, and of what may be beside."""
    found: set[Point] = set()
    for root in roots:
        name = root.__name__.removeprefix("Async")
        needed = list(reached(root, name))
        for port in (*needed, *_optional_beside(root), *_many(needed, name)):
            for member in members(port, name):
                found.add(member.point)
                if member.manages:
                    found |= {member.at(Shape.ENTER), member.at(Shape.EXIT)}
    return found


def _many(needed: Sequence[type], root: str) -> Iterator[type]:
    """Return the ports of a cancel of many jobs that are beside these."""
    for port in needed:
        for name, other in _BESIDE.get(port, {}).items():
            if name != "sweep":  # Only that of a large job calls it.
                yield from reached(other, root)


def _optional_beside(root: type) -> list[type]:
    # RepeatableUnitOfWork is beside UnitOfWork, AsyncRepeatableUnitOfWork beside AsyncUnitOfWork.
    name = root.__name__.removeprefix("Async")
    prefix = "Async" if root.__name__.startswith("Async") else ""
    return [
        port
        for port in all_ports()
        if getattr(port, "_is_runtime_protocol", False)
        and port.__name__.startswith(prefix)
        and port.__name__.startswith("Async") == bool(prefix)
        and port.__name__.endswith(name)
    ]
