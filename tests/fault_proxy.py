"""
A TCP proxy on loopback that misbehaves on command, between a client and a real server.

It stands for the network, so it knows nothing of what passes through it:

    proxy.delay(0.05)                every piece arrives that much later
    proxy.stall(TO_CLIENT)           nothing arrives any more; connections stay open
    proxy.cut_after(0, TO_CLIENT)    the request arrives, then the connection dies: no answer
    proxy.cut_after(9, TO_SERVER)    the connection dies in the middle of a request
    proxy.cut_before(b"COMMIT")      the request with these bytes never arrives
    proxy.cut_answer_to(b"COMMIT")   it arrives, and its answer does not
    proxy.reset()                    every connection dies now
    proxy.refuse()                   and no new one is taken
    proxy.heal()                     all is well again, for connections that still live

`cuts` counts the connections that were cut, so that a test can tell whether the thing that it is
about has happened; `passed` counts the bytes that went either way, and `round_trips` how often a
request followed an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Self

from tests.processes import HOST, free_port

_PIECE_BYTES = 65_536
_CLOSE_BY_RESET = struct.pack("ii", 1, 0)
_CLOSE_IN_ORDER = struct.pack("ii", 0, 0)


class Direction(Enum):
    """Which way the bytes go."""

    TO_SERVER = "to server"
    TO_CLIENT = "to client"


TO_SERVER = Direction.TO_SERVER
TO_CLIENT = Direction.TO_CLIENT


class _Way:
    """What is wrong with one direction at the moment."""

    def __init__(self) -> None:
        self.flows = asyncio.Event()
        self.heal()

    def heal(self) -> None:
        self.flows.set()
        self.delay_seconds = 0.0
        self.bytes_left: int | None = None
        self.watched: bytes | None = None
        self.cuts_answer = False


class FaultProxy:
    """
    Forward connections from a port of its own to another one, on a thread of its own.

    Faults hold for both directions unless some are named. Each method returns once it is in force.
    """

    def __init__(self, port: int, host: str = HOST) -> None:
        self.port = free_port()
        self.cuts = 0
        self.passed: Counter[Direction] = Counter()
        self.round_trips = 0
        self._last = TO_CLIENT
        self._target = (host, port)
        self._ways = {direction: _Way() for direction in Direction}
        self._connections: set[asyncio.Task[None]] = set()
        self._acceptor: asyncio.Task[None] | None = None
        self._loop = asyncio.new_event_loop()
        # A daemon: a test that forgets to close its proxy must not keep the run from ending.
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._run(self._listen)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def delay(self, seconds: float, *directions: Direction) -> None:
        """Hold back each piece for `seconds`."""

        async def delay() -> None:
            for direction in directions or Direction:
                self._ways[direction].delay_seconds = seconds

        self._run(delay)

    def stall(self, *directions: Direction) -> None:
        """Let nothing through until `heal`, on new connections neither."""

        async def stall() -> None:
            for direction in directions or Direction:
                self._ways[direction].flows.clear()

        self._run(stall)

    def cut_after(self, byte_count: int, direction: Direction) -> None:
        """Let `byte_count` more bytes through, reset the connection of the next one, once."""

        async def cut_after() -> None:
            self._ways[direction].bytes_left = byte_count

        self._run(cut_after)

    def cut_before(self, request: bytes) -> None:
        """Reset the next connection on which these bytes are sent, once, before they arrive."""
        self._run(lambda: self._watch(request, cuts_answer=False))

    def cut_answer_to(self, request: bytes) -> None:
        """Let the next request with these bytes arrive, once, and reset instead of answering."""
        self._run(lambda: self._watch(request, cuts_answer=True))

    def reset(self) -> None:
        """Reset every open connection (RST, at both ends)."""
        self._run(self._reset)

    def refuse(self) -> None:
        """Refuse new connections until `heal`, and reset the open ones."""

        async def refuse() -> None:
            await _end(self._acceptor)
            self._acceptor = None
            await self._reset()

        self._run(refuse)

    def heal(self) -> None:
        """Take back every fault: what was held goes through, new connections are taken."""

        async def heal() -> None:
            for way in self._ways.values():
                way.heal()
            await self._listen()

        self._run(heal)

    def close(self) -> None:
        """Reset and refuse for good."""
        self.refuse()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, action: Callable[[], Coroutine[None, None, None]]) -> None:
        asyncio.run_coroutine_threadsafe(action(), self._loop).result(timeout=10)

    # What follows runs on the proxy's thread.

    async def _watch(self, request: bytes, *, cuts_answer: bool) -> None:
        way = self._ways[TO_SERVER]
        way.watched, way.cuts_answer = request, cuts_answer

    async def _listen(self) -> None:
        if self._acceptor is None:
            listener = socket.create_server((HOST, self.port))
            self._acceptor = self._loop.create_task(self._accept(listener))

    async def _reset(self) -> None:
        await _end(*self._connections)

    async def _accept(self, listener: socket.socket) -> None:
        with listener:
            listener.settimeout(0)
            while True:
                client, _ = await self._loop.sock_accept(listener)
                task = self._loop.create_task(self._connect(client))
                self._connections.add(task)
                task.add_done_callback(self._connections.discard)

    async def _connect(self, client: socket.socket) -> None:
        with client, socket.socket() as server:
            for end in (client, server):
                end.settimeout(0)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _CLOSE_BY_RESET)
            # When one end dies, or we cut it, the other end dies with it.
            with contextlib.suppress(OSError, ExceptionGroup):
                await self._loop.sock_connect(server, self._target)
                async with asyncio.TaskGroup() as ways:
                    ways.create_task(self._pump(client, server, TO_SERVER))
                    ways.create_task(self._pump(server, client, TO_CLIENT))
                for end in (client, server):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _CLOSE_IN_ORDER)

    async def _pump(
        self, source: socket.socket, sink: socket.socket, direction: Direction
    ) -> None:
        way = self._ways[direction]
        while piece := await self._loop.sock_recv(source, _PIECE_BYTES):
            if way.delay_seconds:
                await asyncio.sleep(way.delay_seconds)
            await way.flows.wait()
            if way.watched is not None and way.watched in piece:
                way.watched = None
                cut = self._ways[TO_CLIENT] if way.cuts_answer else way
                cut.bytes_left = 0
            if way.bytes_left is not None and len(piece) > way.bytes_left:
                allowed, way.bytes_left = way.bytes_left, None
                await self._send(piece[:allowed], sink, direction)
                self.cuts += 1
                raise ConnectionAbortedError
            if way.bytes_left is not None:
                way.bytes_left -= len(piece)
            await self._send(piece, sink, direction)
        await way.flows.wait()
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    async def _send(self, piece: bytes, sink: socket.socket, direction: Direction) -> None:
        self.passed[direction] += len(piece)  # First: who has the bytes may look at once.
        self.round_trips += direction is TO_SERVER and self._last is TO_CLIENT
        self._last = direction
        await self._loop.sock_sendall(sink, piece)


async def _end(*tasks: asyncio.Task[None] | None) -> None:
    ending = [task for task in tasks if task is not None]
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)
