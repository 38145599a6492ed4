"""
A runner for blocking and asyncio adapters: tests are written once, and run on both.

An asyncio adapter runs in one event loop in a thread of its own, so that several calls can run at
once beside the blocking test.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import Final, TypeVar, cast

from batch_cancel.testing.adapter import Maybe
from batch_cancel.testing.invariants import PromiseBroken

_T = TypeVar("_T")

DEADLINE_SECONDS: Final = 20.0
"""A call that takes longer has failed; a working one is far faster."""


class _Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        ready: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self._thread.start()
        self._loop = ready.result()

    def _serve(self, ready: Future[asyncio.AbstractEventLoop]) -> None:
        with asyncio.Runner() as runner:
            loop = runner.get_loop()
            ready.set_result(loop)
            loop.run_forever()

    def submit(self, call: Callable[[], Maybe[_T]]) -> Future[_T]:
        async def answered() -> _T:
            answer = call()
            if isinstance(answer, Awaitable):
                return await cast("Awaitable[_T]", answer)
            return answer

        return asyncio.run_coroutine_threadsafe(answered(), self._loop)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_SECONDS)


class Runner:
    """Runs the calls of an adapter, and keeps a history of them."""

    def __init__(self, *, is_async: bool) -> None:
        self.is_async: Final = is_async
        self.history: list[str] = []
        self._loop = _Loop() if is_async else None

    def close(self) -> None:
        """End the event loop."""
        if self._loop is not None:
            self._loop.close()

    def note(self, line: str) -> None:
        """Add a line to the history."""
        self.history.append(line)

    def run(self, call: Callable[[], Maybe[_T]]) -> _T:
        """Return the answer of a call, in the event loop if there is one."""
        if self._loop is None:
            return cast("_T", call())
        return ended(self._loop.submit(call))

    def either(
        self, call: Callable[[], _T], call_async: Callable[[], Awaitable[_T]]
    ) -> Callable[[], Maybe[_T]]:
        """Choose the half that fits the adapter."""
        return call_async if self.is_async else call

    def beside(self, call: Callable[[], Maybe[_T]]) -> Future[_T]:
        """Start a call beside the test."""
        if self._loop is not None:
            return self._loop.submit(call)
        future: Future[_T] = Future()

        def answer() -> None:
            try:
                future.set_result(cast("_T", call()))
            except BaseException as error:  # noqa: BLE001  # It is raised where it is asked for.
                future.set_exception(error)

        # A daemon: one that an adapter never lets go must not hold up the end of the tests.
        threading.Thread(target=answer, daemon=True).start()
        return future


def ended(future: Future[_T]) -> _T:
    """Return the answer of a call, which must end."""
    try:
        return future.result(DEADLINE_SECONDS)
    except TimeoutError:
        if future.done():  # The call's own error.
            raise
        msg = f"it did not end within {DEADLINE_SECONDS:.0f} seconds"
        raise PromiseBroken(msg) from None


class Pause:
    """Stops a call at a point, until it is released."""

    def __init__(self, point: str) -> None:
        self._point = point
        self._reached = threading.Event()
        self._go = threading.Event()

    def __call__(self, point: str) -> None:
        """Wait at the point."""
        if point == self._point:
            self._reached.set()
            self._go.wait(DEADLINE_SECONDS)

    @contextmanager
    def holding(self, party: Future[_T]) -> Generator[Future[_T]]:
        """Wait until the call is at the point; release it at the end of the block."""
        try:
            while not self._reached.wait(0.01):
                if party.done():
                    party.result()
                    msg = f"it ended without coming to the point {self._point!r}"
                    raise PromiseBroken(msg)
            yield party
        finally:
            self._go.set()


def watch(party: Future[_T], seconds: float) -> bool:
    """Wait so long for a call, and return whether it has ended."""
    return bool(wait([party], seconds).done)


def expect(seen: object, wanted: object, what: str) -> None:
    """Check what was seen against what was due."""
    if seen != wanted:
        msg = f"{what}\n  seen: {seen!r}\n  due:  {wanted!r}"
        raise PromiseBroken(msg)
