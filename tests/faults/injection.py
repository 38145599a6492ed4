"""
Faults at the calls that go through the ports, generated from the ports themselves.

Rule 1: nothing is listed by hand. The Protocols of `batch_cancel.ports` are followed from
        `UnitOfWork` and `Scheduler` along their annotations; a method added there is faulted from
        then on.
Rule 2: a fault strikes one call, the n-th of all that a `Plan` has seen. A dry run tells how many
        there are, and which.
Rule 3: a faulty adapter fails, it does not lie. It never says "nothing was changed" of a commit
        that happened, never gives a wrong answer of the right type, and when it fails to commit it
        has rolled back. From a liar nobody could tell the truth.

The entry into a transaction and its end are calls of their own: its end is where commits get lost.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
import typing
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from enum import Enum
from types import MappingProxyType
from typing import Any, Final, Protocol, cast

import attrs

from batch_cancel import ports
from batch_cancel.domain.errors import Fault, Outcome, SchedulerUnavailable, StoreFailed

HANG_SECONDS_MAX: Final = 30.0


class DriverError(Exception):
    """An error of a driver that its adapter has not translated."""


# Where -------------------------------------------------------------------------------------------


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
        """Give the entry into what it manages, or its end."""
        return attrs.evolve(self.point, shape=shape, answers=shape is Shape.ENTER, waits=True)


def all_ports() -> list[type]:
    """Give every Protocol of `batch_cancel.ports`."""
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
    """Give the members of a port, from its Protocol."""
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
    """Give a port and every port that its answers lead to."""
    yield port
    for member in members(port, root):
        if member.leads_to is not None:
            yield from reached(member.leads_to, root)


def capabilities(port: type, target: object) -> list[type]:
    """Give the optional ports, of the port's own kind, that the adapter offers beside it."""
    is_async = port.__name__.startswith("Async")
    return [
        other
        for other in all_ports()
        if getattr(other, "_is_runtime_protocol", False)
        and other.__name__.startswith("Async") == is_async
        and isinstance(target, other)
    ]


def points(*roots: type) -> set[Point]:
    """Give every point of these ports, of all that they lead to, and of what may be beside."""
    found: set[Point] = set()
    for root in roots:
        name = root.__name__.removeprefix("Async")
        for port in (*reached(root, name), *_optional_beside(root)):
            for member in members(port, name):
                found.add(member.point)
                if member.manages:
                    found |= {member.at(Shape.ENTER), member.at(Shape.EXIT)}
    return found


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


# What --------------------------------------------------------------------------------------------


class Step(Enum):
    """When the fault strikes."""

    BEFORE = "before"
    """Nothing was done."""

    AFTER = "after"
    """It was done: did it, then said it failed."""

    INSTEAD = "instead"
    """Nothing was done, and that is not said."""


@attrs.frozen
class Raise:
    """Raise an exception, a new one each time."""

    make: Callable[[], BaseException]


@attrs.frozen
class Hang:
    """Give no answer until somebody's patience is at an end."""


@attrs.frozen
class Answer:
    """Give an answer that the port does not allow."""

    garbage: object


@attrs.frozen
class FaultKind:
    """A way to fail."""

    name: str
    step: Step
    effect: Raise | Hang | Answer

    def __str__(self) -> str:
        return f"{self.name}, {self.step.value}"


def _store_failed(outcome: Outcome, fault: Fault) -> FaultKind:
    def make() -> BaseException:
        return StoreFailed("injected", outcome, fault)

    return FaultKind(f"store failed ({outcome}, {fault.value})", Step.BEFORE, Raise(make))


_OUTCOMES: Final[tuple[Outcome, ...]] = ("unchanged", "unknown")
_STORE_FAILED: Final = [_store_failed(outcome, fault) for outcome in _OUTCOMES for fault in Fault]
_FOREIGN: Final = [
    FaultKind("driver's error", Step.BEFORE, Raise(lambda: DriverError("secret@host"))),
    FaultKind("connection reset", Step.BEFORE, Raise(lambda: ConnectionResetError(104, "reset"))),
]
_INTERRUPTS: Final = [
    FaultKind("KeyboardInterrupt", Step.BEFORE, Raise(KeyboardInterrupt)),
    FaultKind("CancelledError", Step.BEFORE, Raise(asyncio.CancelledError)),
]
_UNAVAILABLE: Final = [
    FaultKind("scheduler unavailable", Step.BEFORE, Raise(lambda: SchedulerUnavailable("late")))
]
_HANG: Final = FaultKind("hang", Step.BEFORE, Hang())
_GARBAGE: Final = [
    FaultKind(f"garbage {shown}", Step.INSTEAD, Answer(value))
    for shown, value in (("None", None), ("-1", -1), ("'58'", "58"), ("object()", object()))
]

_RAISED: Final = {
    "UnitOfWork": [*_STORE_FAILED, *_FOREIGN, *_INTERRUPTS],
    "Scheduler": [*_UNAVAILABLE, *_FOREIGN, *_INTERRUPTS],
    "OnCancelled": [*_FOREIGN, *_INTERRUPTS],
}


def kinds_at(point: Point) -> list[FaultKind]:
    """Give every way in which a call of this point can fail without lying."""
    if point.shape is Shape.PROPERTY:
        # Nothing is done by it, so there is no after; and one error stands for all.
        return [_FOREIGN[0], _INTERRUPTS[0], *_GARBAGE]
    raised = list(_RAISED.get(point.root, _RAISED["UnitOfWork"]))
    if point.waits:
        raised.append(_HANG)
    kinds = [
        attrs.evolve(kind, step=step)
        for kind in raised
        for step in (Step.BEFORE, Step.AFTER)
        if not (point.is_exit and step is Step.AFTER and "(unchanged" in kind.name)
    ]
    if point.answers:
        kinds += _GARBAGE
    if point != HOOK:  # Whatever a hook answers is right.
        kinds += [attrs.evolve(kind, step=Step.AFTER) for kind in _GARBAGE]
    return kinds


# How ---------------------------------------------------------------------------------------------


class Tap(Protocol):
    """Is told of every call, before it and after it."""

    def __call__(self, number: int, step: Step, /) -> None:
        """Take note that call `number` is about to be made, or was just made."""


NOTHING_BESIDES: Final[Mapping[int, FaultKind]] = MappingProxyType({})


class Plan:
    """
    What is to go wrong, and what was called.

    Arguments:
        strike_at: the number of the call to strike, from 0; None strikes none.
        kind: how it fails.
        besides: more faults, by the number of the call: what it takes to come that far.
        tap: is told of every call.
        dawdles: whether every asyncio call waits once before it is made, and once after it.
    """

    def __init__(
        self,
        strike_at: int | None = None,
        kind: FaultKind | None = None,
        *,
        besides: Mapping[int, FaultKind] = NOTHING_BESIDES,
        tap: Tap | None = None,
        dawdles: bool = False,
    ) -> None:
        self.calls: list[Point] = []
        self.strike_at = strike_at
        self.kind = kind
        self._besides = besides
        self.raised: BaseException | None = None
        self.reached = threading.Event()
        self.released = threading.Event()
        self.reached_async = asyncio.Event()
        self._tap = tap
        self._dawdles = dawdles

    @property
    def struck(self) -> Point | None:
        """The call that was struck; None if it has not come to that."""
        if self.strike_at is None or len(self.calls) <= self.strike_at:
            return None
        return self.calls[self.strike_at]

    def call(
        self,
        point: Point,
        do: Callable[[], Any],
        *,
        undo_before: Callable[[BaseException], object] | None = None,
        undo_after: Callable[[BaseException], object] | None = None,
    ) -> Any:
        """
        Make a call, or let it fail.

        Arguments:
            point: which call it is.
            do: makes it.
            undo_before: what an adapter does that fails before it was made.
            undo_after: what an adapter does that fails after it was made.
        """
        kind, number = self._next(point)
        if kind is None:
            self._tell(number, Step.BEFORE)
            answer = do()
            self._tell(number, Step.AFTER)
            return answer
        if kind.step is not Step.INSTEAD:
            undo = undo_before
            if kind.step is Step.AFTER:
                do()
                undo = undo_after
            if isinstance(kind.effect, Hang):
                self._hang()
            if not isinstance(kind.effect, Answer):
                self.raised = self._error(kind)
                if undo is not None:
                    undo(self.raised)
                raise self.raised
        assert isinstance(kind.effect, Answer)
        return kind.effect.garbage

    async def call_async(
        self,
        point: Point,
        do: Callable[[], Awaitable[Any]],
        *,
        undo_before: Callable[[BaseException], Awaitable[object]] | None = None,
        undo_after: Callable[[BaseException], Awaitable[object]] | None = None,
    ) -> Any:
        """Make a call, or let it fail: `call` for asyncio."""
        kind, number = self._next(point)
        if kind is None:
            self._tell(number, Step.BEFORE)
            await self._dawdle(undo_before)
            answer = await do()
            await self._dawdle(undo_after)
            self._tell(number, Step.AFTER)
            return answer
        if kind.step is not Step.INSTEAD:
            undo = undo_before
            if kind.step is Step.AFTER:
                await do()
                undo = undo_after
            if not isinstance(kind.effect, Answer):
                self.raised = (
                    await self._hang_async()
                    if isinstance(kind.effect, Hang)
                    else self._error(kind)
                )
                if undo is not None:
                    await undo(self.raised)
                raise self.raised
        assert isinstance(kind.effect, Answer)
        return kind.effect.garbage

    def _next(self, point: Point) -> tuple[FaultKind | None, int]:
        number = len(self.calls)
        self.calls.append(point)
        return (self.kind if number == self.strike_at else self._besides.get(number)), number

    def _tell(self, number: int, step: Step) -> None:
        if self._tap is not None:
            self._tap(number, step)

    async def _dawdle(self, undo: Callable[[BaseException], Awaitable[object]] | None) -> None:
        if not self._dawdles:
            return
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError as error:
            if undo is not None:
                await undo(error)
            raise

    def _error(self, kind: FaultKind) -> BaseException:
        # Who waits in a thread can't be called off; his budget ends his patience.
        return kind.effect.make() if isinstance(kind.effect, Raise) else TimeoutError("budget")

    def _hang(self) -> None:
        self.reached.set()
        assert self.released.wait(HANG_SECONDS_MAX), "nobody released a call that hangs"

    async def _hang_async(self) -> BaseException:
        self.reached_async.set()
        try:
            async with asyncio.timeout(HANG_SECONDS_MAX):
                await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            return error
        msg = "nobody called off a call that hangs"
        raise AssertionError(msg)


class _Transaction:
    """A context manager whose entry and end can be struck."""

    def __init__(self, manager: Any, member: Member, plan: Plan) -> None:
        self._manager = manager
        self._member = member
        self._plan = plan
        self._entered = False

    def __enter__(self) -> Any:
        return self._plan.call(
            self._member.at(Shape.ENTER), self._enter, undo_after=self._roll_back
        )

    def __exit__(self, *raised: object) -> Any:
        if not self._entered:
            return None
        cause = raised[1] if isinstance(raised[1], BaseException) else None
        return self._plan.call(
            self._member.at(Shape.EXIT),
            lambda: self._manager.__exit__(*raised),
            undo_before=lambda error: self._roll_back(error if cause is None else cause),
        )

    def _enter(self) -> Any:
        entered = self._manager.__enter__()
        self._entered = True
        return _wrapped(self._member, entered, self._plan)

    def _roll_back(self, error: BaseException) -> None:
        self._entered = False
        self._manager.__exit__(type(error), error, error.__traceback__)


class _AsyncTransaction:
    """A context manager whose entry and end can be struck."""

    def __init__(self, manager: Any, member: Member, plan: Plan) -> None:
        self._manager = manager
        self._member = member
        self._plan = plan
        self._entered = False

    async def __aenter__(self) -> Any:
        return await self._plan.call_async(
            self._member.at(Shape.ENTER), self._enter, undo_after=self._roll_back
        )

    async def __aexit__(self, *raised: object) -> Any:
        if not self._entered:
            return None
        cause = raised[1] if isinstance(raised[1], BaseException) else None
        return await self._plan.call_async(
            self._member.at(Shape.EXIT),
            lambda: self._manager.__aexit__(*raised),
            undo_before=lambda error: self._roll_back(error if cause is None else cause),
        )

    async def _enter(self) -> Any:
        entered = await self._manager.__aenter__()
        self._entered = True
        return _wrapped(self._member, entered, self._plan)

    async def _roll_back(self, error: BaseException) -> None:
        self._entered = False
        await self._manager.__aexit__(type(error), error, error.__traceback__)


def faulty(port: type, target: Any, plan: Plan) -> Any:
    """
    Give an adapter that follows the plan.

    Arguments:
        port: what it is: UnitOfWork, AsyncUnitOfWork, Scheduler or AsyncScheduler.
        target: the adapter that does the work.
        plan: what goes wrong.
    """
    return _faulty(port, target, plan, port.__name__.removeprefix("Async"))


def faulty_hook(hook: Callable[[Any], object], plan: Plan) -> Callable[[Any], object]:
    """Give a hook that follows the plan."""
    return lambda result: plan.call(HOOK, lambda: hook(result))


def faulty_hook_async(hook: Callable[[Any], object], plan: Plan) -> Callable[[Any], Any]:
    """Give an asyncio hook that follows the plan."""

    async def tell(result: Any) -> None:
        async def do() -> None:
            hook(result)

        await plan.call_async(HOOK, do)

    return tell


class _Faulty:
    def __init__(self, target: Any, plan: Plan) -> None:
        self._target = target
        self._plan = plan


def _faulty(port: type, target: Any, plan: Plan, root: str) -> Any:
    return _class_of(root, port, *capabilities(port, target))(target, plan)


@functools.cache
def _class_of(root: str, *of: type) -> type:
    namespace = {
        member.point.member: _stand_in(member) for port in of for member in members(port, root)
    }
    return type(f"Faulty{of[0].__name__}", (_Faulty,), namespace)


def _stand_in(member: Member) -> Any:
    name, point = member.point.member, member.point

    def call(self: _Faulty, *arguments: Any, **options: Any) -> Any:
        return self._plan.call(
            point,
            lambda: _wrapped(
                member, getattr(self._target, name)(*arguments, **options), self._plan
            ),
        )

    async def call_async(self: _Faulty, *arguments: Any, **options: Any) -> Any:
        return await self._plan.call_async(
            point, lambda: getattr(self._target, name)(*arguments, **options)
        )

    def begin(self: _Faulty, *arguments: Any, **options: Any) -> Any:
        def open_it() -> Any:
            manager = getattr(self._target, name)(*arguments, **options)
            is_async = hasattr(manager, "__aenter__") and not hasattr(manager, "__enter__")
            kind = _AsyncTransaction if is_async else _Transaction
            return kind(manager, member, self._plan)

        return self._plan.call(point, open_it)

    def read(self: _Faulty) -> Any:
        return self._plan.call(
            point, lambda: _wrapped(member, getattr(self._target, name), self._plan)
        )

    if point.shape is Shape.PROPERTY:
        return property(read)
    if member.manages:
        return begin
    return call_async if member.is_coroutine else call


def _wrapped(member: Member, answer: Any, plan: Plan) -> Any:
    if member.leads_to is None or answer is None:
        return answer
    return _faulty(member.leads_to, answer, plan, member.point.root)
