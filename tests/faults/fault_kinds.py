"""
How a call can fail.

A faulty adapter fails, it does not lie. It never says "nothing was changed" of a commit that
happened, never gives a wrong answer of the right type, and when it fails to commit it has rolled
back. From a liar nobody could tell the truth.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import Final

import attrs

from batch_cancel.domain.errors import Fault, Outcome, SchedulerUnavailable, StoreFailed
from tests.faults.points import HOOK, Point, Shape


class DriverError(Exception):
    """An error of a driver that its adapter has not translated."""


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
    """Return every way in which a call of this point can fail without lying."""
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
