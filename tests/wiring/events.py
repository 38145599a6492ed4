"""
The events of a start's life, as scripts that many starts follow in step.

A script is a generator. Each `yield` names what it waits for; the campaign does these things once
for all scripts, in this order, and sends each script on:

    "waiting"   what was scheduled is where it waits
    "due"       its time has come; nobody has looked yet
    "queued"    the library has moved it to its workers' queue, if it has one
    "ran"       the workers have run all that they found
    "later"     whatever was to run again has had the time for it, and so have the workers

What a script notes: the answers of the cancels, how often the start had run at the first of them,
and whether it was told as waiting before and after.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Protocol

STAGES = ("waiting", "due", "queued", "ran", "later")

Script = Generator[str, None, None]


class Start(Protocol):
    """A start of a setting, and who cancels it."""

    def schedule(self, after: str = "due") -> bool:
        """Schedule it for one of the stages; False if the library takes no such id now."""
        ...

    def cancel(self, operation: str) -> None:
        """Cancel it, and note the answer."""

    def look(self) -> None:
        """Note how often it has run, and whether it is told as waiting."""

    @property
    def second(self) -> str:
        """The operation of the second cancel: the first one's, or another."""
        ...

    def skip(self) -> None:
        """Note that the library knows no such event."""


def _both(start: Start) -> None:
    start.look()
    start.cancel("operation")
    start.cancel(start.second)


def scheduled(start: Start) -> Script:
    """Cancel it while it waits for its time."""
    start.schedule()
    yield "waiting"
    _both(start)


def on_its_way(start: Start) -> Script:
    """Cancel it this moment: some libraries carry it through a worker before it waits."""
    start.schedule()
    _both(start)
    yield "waiting"


def far(start: Start) -> Script:
    """Cancel what is years ahead."""
    start.schedule("never")
    yield "waiting"
    _both(start)


def due(start: Start) -> Script:
    """Cancel it when its time has come, and no worker has looked."""
    start.schedule()
    yield "due"
    _both(start)


def queued(start: Start) -> Script:
    """Cancel it in the workers' queue, or held back from it."""
    start.schedule()
    yield "queued"
    _both(start)


def between(start: Start) -> Script:
    """Cancel it while it waits, and with the second operation when it is due."""
    start.schedule()
    yield "waiting"
    start.look()
    start.cancel("operation")
    yield "due"
    start.cancel(start.second)


def running(start: Start) -> Script:
    """Cancel it while a worker runs it, see `inside.fire`."""
    start.schedule()
    yield "later"


def fails(start: Start) -> Script:
    """Cancel it while a worker runs it; then it fails, and the library may run it again."""
    start.schedule()
    yield "later"


def finished(start: Start) -> Script:
    """Cancel it when it is over."""
    start.schedule()
    yield "ran"
    _both(start)


def failed(start: Start) -> Script:
    """Cancel it when it has failed, and waits for another time."""
    start.schedule()
    yield "ran"
    _both(start)
    yield "later"


def moved(start: Start) -> Script:
    """Schedule it twice under one id, where the library takes that, and cancel."""
    start.schedule("never")
    yield "waiting"
    if not start.schedule():
        start.skip()
        return
    yield "due"
    _both(start)


def again(start: Start) -> Script:
    """Cancel it, schedule it anew under its id, and cancel that with the second operation."""
    start.schedule("never")
    yield "waiting"
    start.look()
    start.cancel("operation")
    if not start.schedule():
        start.skip()
        return
    yield "due"
    start.cancel(start.second)


def after_run(start: Start) -> Script:
    """Let it run, schedule it anew under its id, and cancel that."""
    start.schedule()
    yield "ran"
    if not start.schedule("later"):
        start.skip()
        return
    _both(start)
    yield "later"


def unknown(start: Start) -> Script:
    """Cancel what nobody has scheduled."""
    yield "waiting"
    _both(start)


def untouched(start: Start) -> Script:
    """Cancel nothing: it must run, or the campaign shows nothing."""
    start.schedule()
    yield "ran"


EVENTS: dict[str, Callable[[Any], Script]] = {
    "scheduled": scheduled,
    "on its way": on_its_way,
    "far ahead": far,
    "due": due,
    "queued": queued,
    "between": between,
    "running": running,
    "fails": fails,
    "finished": finished,
    "failed": failed,
    "moved": moved,
    "again": again,
    "after a run": after_run,
    "unknown": unknown,
    "untouched": untouched,
}
