"""
`reconcile --loop`: pass after pass, until a signal asks it to stop.

Rule 1: a signal interrupts nothing: it is noted, and read before the scheduler or the hook is
        called again.
Rule 2: a pass that fails is reported, and the next one tries again. Only what no later pass can
        repair, such as a wrong command line, ends the loop.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Final

import attrs

from batch_cancel import BatchCancelError
from batch_cancel.cli import output
from batch_cancel.cli.calls import Calls, Pass
from batch_cancel.cli.imports import UsageError
from batch_cancel.cli.libraries import Unreachable
from batch_cancel.cli.watched import Stopped
from batch_cancel.use_cases.kinds import WrongKind
from batch_cancel.use_cases.run_blocking import own
from batch_cancel.use_cases.unexpected import described

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

_SLICE_SECONDS: Final = 0.2
"""How long a pause may go on after a signal: Python resumes a sleep that one interrupts."""


@attrs.define
class Loop:
    """
    Passes of reconcile until a signal comes.

    Arguments:
        seconds: the pause between two passes.
        limit: how many cancellations a pass takes at most.
        lease: how long a cancellation is left to its own process or to another reconcile.
        show: prints a pass.
    """

    seconds: float
    limit: int
    lease: timedelta
    show: Callable[[Pass], None]
    is_stopping: bool = attrs.field(default=False, init=False)

    @contextmanager
    def on_signals(self) -> Generator[None]:
        """Stop on SIGINT and SIGTERM."""
        before = {it: signal.signal(it, self._stop) for it in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.is_stopping = True

    async def run(self, calls: Calls) -> None:
        """
        Make passes until it is to stop, or the scheduler must be opened again.

        Raises:
            UsageError, WrongKind: no pass can succeed.
        """
        while not self.is_stopping:
            await self._pass(calls)
            await self._pause(blocks=calls.is_blocking)
            if isinstance(own(calls.scheduler), Unreachable):
                return

    async def _pass(self, calls: Calls) -> None:
        try:
            self.show(await calls.reconcile(self.limit, self.lease, self._check))
        except Stopped:
            output.complain("stopped in the middle of a pass: a later one finishes the rest")
        except (UsageError, WrongKind):
            raise
        except Exception as error:  # noqa: BLE001  # Rule 2.
            what = str(error) if isinstance(error, BatchCancelError) else described(error)
            output.complain(f"this pass failed ({what}); the next is in {self.seconds:g} s")

    def _check(self) -> None:
        if self.is_stopping:
            raise Stopped

    async def _pause(self, *, blocks: bool) -> None:
        until = time.monotonic() + self.seconds
        while not self.is_stopping and (left := until - time.monotonic()) > 0:
            if blocks:
                time.sleep(min(left, _SLICE_SECONDS))  # noqa: ASYNC251  # There is no event loop.
            else:
                await asyncio.sleep(min(left, _SLICE_SECONDS))
