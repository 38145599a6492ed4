"""The locks of a memory store: one transaction runs at a time."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Final

from batch_cancel.domain.errors import Fault, StoreFailed

_TWO_LOOPS: Final = (
    "another event loop is using this AsyncMemoryStore, and can't be waited for: use the store "
    "from one loop at a time, or use a MemoryStore from several threads"
)


class Turn:
    """A lock of threads; the thread that holds it may take it again."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._owners: list[int] = []

    @property
    def is_mine(self) -> bool:
        """Whether this thread holds the lock."""
        return self._owners[:1] == [threading.get_ident()]

    def __enter__(self) -> None:
        self._lock.acquire()
        self._owners.append(threading.get_ident())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._owners.pop()
        self._lock.release()


class AsyncTurn:
    """A lock of one event loop's tasks; the task that holds it may take it again."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._arrivals = threading.Lock()
        self._present = 0
        self._owner: asyncio.Task[object] | None = None
        self._depth = 0

    @property
    def is_mine(self) -> bool:
        """Whether this task holds the lock."""
        return self._owner is not None and self._owner is asyncio.current_task()

    async def __aenter__(self) -> None:
        self._arrive(asyncio.get_running_loop())
        if self._owner is not asyncio.current_task():
            try:
                await self._lock.acquire()
            except BaseException:
                self._present -= 1
                raise
            self._owner = asyncio.current_task()
        self._depth += 1

    def _arrive(self, loop: asyncio.AbstractEventLoop) -> None:
        """Count a task that holds the lock or waits for it; refuse a task of another loop."""
        with self._arrivals:
            if loop is not self._loop:  # A store outlives a test's loop; its lock can't.
                if self._present and self._loop is not None and not self._loop.is_closed():
                    raise StoreFailed(_TWO_LOOPS, fault=Fault.BUSY)
                self._loop, self._lock = loop, asyncio.Lock()
                self._owner, self._depth, self._present = None, 0, 0
            self._present += 1

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._depth -= 1
        if not self._depth:
            self._owner = None
            self._lock.release()
        self._present -= 1
