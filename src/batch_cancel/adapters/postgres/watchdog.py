"""
Cut a connection on which no answer comes in time.

Postgres bounds its own work by the timeouts it is given. A server that is frozen, or behind a
network that swallows packets, keeps none of them, and psycopg waits for its answer for ever. So
one thread watches all transactions of this process, and shuts down the socket of one that takes
too long. Whoever waits there, a thread or a task, then finds the connection broken, and a pool
throws it away.

Shut down, not closed: the descriptor stays whose it is, and psycopg notices. It would take a
connection closed behind its back for a transaction that was committed.
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
    """When a connection is to be cut, on the clock of `time.monotonic`."""

    at: float
    line: socket.socket
    note_cut: Callable[[], None]

    def cut(self) -> None:
        self.note_cut()
        with suppress(OSError):  # The other end was faster.
            self.line.shutdown(socket.SHUT_RDWR)


class _Watch:
    """A thread that cuts what is overdue; it lives only while there is something to watch."""

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
                with suppress(RuntimeError):  # Out of threads: better unwatched than not at all.
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
                # A timeout may be longer than a lock can wait: it then just looks once more.
                self._changed.wait(min(self._wakes_at - now, threading.TIMEOUT_MAX))
            self._thread = None

    def _forget(self) -> None:
        """Start anew: a forked child has neither the thread nor the transactions."""
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
    Cut the connection if what is done in here takes longer than `seconds`.

    Arguments:
        seconds: how long it may take.
        connection: blocking or asyncio.
        note_cut: is called right before the cut, on another thread.
    """
    # A descriptor of our own: psycopg may close its own, and another file get the number.
    with socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM) as line:
        deadline = _Deadline(time.monotonic() + seconds, line, note_cut)
        _watch.add(deadline)
        try:
            yield
        finally:
            _watch.discard(deadline)
