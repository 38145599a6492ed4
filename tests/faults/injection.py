"""
Faults at the calls that go through the ports: adapters that fail as a plan says.

A fault strikes one call, the n-th of all that a `Plan` has seen. A dry run tells how many there
are, and which.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol

from tests.faults.fault_kinds import Answer, FaultKind, Hang, Raise, Step
from tests.faults.points import HOOK, Member, Point, Shape, capabilities, members

HANG_SECONDS_MAX: Final = 30.0


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
    Return an adapter that follows the plan.

    Arguments:
        port: what it is: UnitOfWork, AsyncUnitOfWork, Scheduler or AsyncScheduler.
        target: the adapter that does the work.
        plan: what goes wrong.
    """
    return _faulty(port, target, plan, port.__name__.removeprefix("Async"))


def faulty_hook(hook: Callable[[Any], object], plan: Plan) -> Callable[[Any], object]:
    """Return a hook that follows the plan."""
    return lambda result: plan.call(HOOK, lambda: hook(result))


def faulty_hook_async(hook: Callable[[Any], object], plan: Plan) -> Callable[[Any], Any]:
    """Return an asyncio hook that follows the plan."""

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
