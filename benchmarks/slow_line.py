"""
A line that delivers what it is given 1 ms later, as a network does, and loses nothing.

What arrives while something is under way does not wait for it: two pieces sent at once arrive at
once. It runs in a process of its own: in ours it would take turns with what is measured.
"""

from __future__ import annotations

import multiprocessing
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, Final

from tests.processes import HOST

DELAY_SECONDS: Final = 0.001
_PIECE: Final = 1 << 16


@contextmanager
def slow_line(port: int) -> Generator[int]:
    """Yield a port whose connections lead to the given one."""
    context: Any = multiprocessing.get_context("spawn")
    ours, its = context.Pipe()
    process = context.Process(target=_serve, args=(port, its), daemon=True)
    process.start()
    its.close()
    try:
        yield ours.recv()
    finally:
        ours.close()
        process.join()


def _serve(port: int, line: Connection[int, None]) -> None:
    """Accept connections until the other end of the line is closed."""
    with socket.create_server((HOST, 0)) as listener:
        threading.Thread(target=_accept, args=(listener, port), daemon=True).start()
        line.send(listener.getsockname()[1])
        with suppress(EOFError):
            line.recv()


def _accept(listener: socket.socket, port: int) -> None:
    while True:
        near, _ = listener.accept()
        far = socket.create_connection((HOST, port))
        for from_, to in ((near, far), (far, near)):
            to.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            under_way: _UnderWay = SimpleQueue()
            threading.Thread(target=_take, args=(from_, under_way), daemon=True).start()
            threading.Thread(target=_deliver, args=(under_way, to), daemon=True).start()


_UnderWay = SimpleQueue[tuple[float, bytes]]


def _take(from_: socket.socket, under_way: _UnderWay) -> None:
    """Note when each piece is due; an empty one is the end."""
    piece = b"-"
    while piece:
        try:
            piece = from_.recv(_PIECE)
        except OSError:
            piece = b""
        under_way.put((time.perf_counter() + DELAY_SECONDS, piece))


def _deliver(under_way: _UnderWay, to: socket.socket) -> None:
    while True:
        due, piece = under_way.get()
        time.sleep(max(0.0, due - time.perf_counter()))
        with suppress(OSError):
            if not piece:
                to.shutdown(socket.SHUT_WR)
                return
            to.sendall(piece)
