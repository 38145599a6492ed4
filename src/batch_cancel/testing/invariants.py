"""
The promises by name, and the message when one is broken.

The message names the promise, what was seen and what was expected, everything that was done
before, and the usual cause: enough to repair an adapter without reading the kit.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, TypeVar, cast

import pytest

INVARIANTS: Final[Mapping[str, str]] = {
    "I1": "No call starts after a cancel of its job answered 200.",
    "I2": "A job that has ended never changes its status.",
    "I3": "A contact that has ended never changes.",
    "I4": "At rest, a cancelled job has no contact in the five open statuses.",
    "I5": "Of cancels with distinct operations, exactly one succeeds.",
    "I6": "Answered 200 means cancelled, then and always.",
    "I7": "At rest, after one pass of reconcile, a cancelled job has no deferred start.",
    "I8": "No job is lost: a cancel that fails leaves the deferred start of its job alone.",
    "I9": "contacts_cancelled is the number of rows changed, and what the record says.",
    "I10": "redis_job_cancelled is true only if this operation removed the deferred start.",
    "I11": "400 means ended, 404 no such job; what is refused changes nothing.",
    "I12": "A retry of the same operation never gets the error that the job is cancelled already.",
    "I13": "No failure is reported after a known commit.",
    "I14": "Cancels and workers never block each other for good.",
    "I15": "Rows outside the five open statuses are byte for byte as before.",
    "I16": "Other jobs and other organizations are neither touched nor locked.",
    "I17": "Job and contacts change in one commit.",
    "I18": "No wait is endless: an abandoned transaction leaves no lock, no connection.",
    "I19": "A BaseException passes through unchanged.",
    "I20": "Every adapter gives the same answers and leaves the same rows.",
    "I21": "Reconcile may be repeated, and may run beside live cancels.",
    "I22": "Whatever the keys of the tables are, no row of another job or organization changes.",
}
"""The protocol's invariants; the tests are named after them."""


class PromiseBroken(AssertionError):
    """An adapter does not keep a promise."""


class Witness(Protocol):
    """The store or scheduler of a test, with its history."""

    @property
    def history(self) -> Sequence[str]:
        """The history: one line for each step."""
        ...

    def missing(self, need: str) -> str | None:
        """Return the declaration that the adapter lacks this; None if it has it."""
        ...


_Test = TypeVar("_Test", bound=Callable[..., None])


def promise(invariant: str, *, cause: str, needs: Sequence[str] = ()) -> Callable[[_Test], _Test]:
    """
    Make a test of a promise: skipped by declaration, and explained when it fails.

    The test's first argument is what it is played on.

    Arguments:
        invariant: the promise's name.
        cause: what usually breaks it.
        needs: the capabilities without which it does not apply.
    """

    def decorate(test: _Test) -> _Test:
        _, witness, *_ = inspect.signature(test).parameters

        @functools.wraps(test)
        def checked(self: object, **given: object) -> None:
            __tracebackhide__ = True
            world = cast("Witness", given[witness])
            for need in needs:
                if reason := world.missing(need):
                    pytest.skip(f"declared: {reason}")
            try:
                test(self, **given)
            except PromiseBroken as broken:
                raise PromiseBroken(_report(invariant, str(broken), world, cause)) from None
            except Exception as error:
                what = f"your adapter raised {type(error).__name__}: {error}"
                raise PromiseBroken(_report(invariant, what, world, cause)) from error

        return cast("_Test", checked)

    return decorate


def _report(invariant: str, what: str, world: Witness, cause: str) -> str:
    steps = [f"  {number}. {line}" for number, line in enumerate(world.history, 1)]
    return "\n".join(
        [
            f"{invariant}: {INVARIANTS[invariant]}",
            "",
            *(f"  {line}" for line in what.splitlines()),
            "",
            "What was done:",
            *(steps or ["  nothing yet"]),
            "",
            f"What usually causes it: {cause}",
        ]
    )
