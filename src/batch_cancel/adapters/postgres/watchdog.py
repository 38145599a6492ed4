"""
Cut a connection whose server does not answer in time.

Postgres bounds its own work by its timeouts. If the server is frozen, or the network drops
packets, these timeouts do not apply, and psycopg waits without end. So one thread watches all
transactions of this process, and shuts down the socket of one that takes too long. The thread or
task that waits on it then finds the connection broken, and a pool discards it.

The socket is shut down, not closed: the descriptor stays valid, and psycopg sees the end of the
connection. It would take a closed connection for a committed transaction.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any, Final

import attrs
import psycopg


@attrs.frozen(eq=False)
class _Deadline:
    """When to cut a connection, on the clock of `time.monotonic`."""

    at: float
    line: socket.socket
    note_cut: Callable[[], None]

    def cut(self) -> None:
        self.note_cut()
        with suppress(OSError):  # The server has closed it already.
            self.line.shutdown(socket.SHUT_RDWR)


class _Watch:
    """A thread that cuts overdue connections; it runs only while there is one to watch."""

    _changed: threading.Condition
    _deadlines: set[_Deadline]
    _thread: threading.Thread | None
    _wakes_at: float

    def __init__(self) -> None:
        self._forget()
        if hasattr(os, "register_at_fork"):  # Windows has no fork.
            os.register_at_fork(after_in_child=self._forget)

    def add(self, deadline: _Deadline) -> None:
        with self._changed:
            self._deadlines.add(deadline)
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="batch_cancel-watch", daemon=True)
                with suppress(
                    RuntimeError
                ):  # No thread left: then the transaction runs unwatched.
                    thread.start()
                    self._thread = thread
            elif deadline.at < self._wakes_at:
                self._changed.notify()

    def discard(self, deadline: _Deadline) -> None:
        with self._changed:
            self._deadlines.discard(deadline)

    def _run(self) -> None:
        with self._changed:
            while self._deadlines:
                now = time.monotonic()
                for deadline in [each for each in self._deadlines if each.at <= now]:
                    self._deadlines.discard(deadline)
                    deadline.cut()
                self._wakes_at = min((each.at for each in self._deadlines), default=now)
                # A timeout may exceed the longest wait of a lock; then the loop waits again.
                self._changed.wait(min(self._wakes_at - now, threading.TIMEOUT_MAX))
            self._thread = None

    def _forget(self) -> None:
        """Reset after a fork: a child has neither the thread nor the transactions."""
        self._changed = threading.Condition()
        self._deadlines = set()
        self._thread = None
        self._wakes_at = 0.0


_watch: Final = _Watch()


@contextmanager
def cut_after(
    seconds: float,
    connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any],
    note_cut: Callable[[], None],
) -> Generator[None]:
    """
    Cut the connection if the block takes longer than `seconds`.

    Arguments:
        seconds: how long it may take.
        connection: blocking or asyncio.
        note_cut: called right before the cut, on another thread.
    """
    # Our own descriptor: psycopg may close its own, whose number may be reused.
    with socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM) as line:
        deadline = _Deadline(time.monotonic() + seconds, line, note_cut)
        _watch.add(deadline)
        try:
            yield
        finally:
            _watch.discard(deadline)
