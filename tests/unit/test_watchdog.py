"""The watch over connections, without a server: sockets in the place of connections."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from batch_cancel.adapters.postgres import watchdog

if TYPE_CHECKING:
    from collections.abc import Iterator

YEARS_1000 = 1000 * 365 * 86_400.0


@attrs.frozen
class Connection:
    """As much of a connection as the watch needs."""

    line: socket.socket

    def fileno(self) -> int:
        """Return its socket's descriptor."""
        return self.line.fileno()


@pytest.fixture
def connections() -> Iterator[list[Any]]:
    """Yield two connections of which nobody answers."""
    one, other = socket.socketpair()
    with one, other:
        yield [Connection(one), Connection(other)]


@pytest.mark.parametrize("seconds", [YEARS_1000, float("inf")])
def test_a_wait_without_an_end_does_not_end_the_watch(
    connections: list[Any], seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock can wait for 292 years; whoever has less patience is still left in time."""
    watch = watchdog._Watch()
    monkeypatch.setattr(watchdog, "_watch", watch)
    endless, impatient = connections
    cut = threading.Event()
    with watchdog.cut_after(seconds, endless, pytest.fail):
        with watchdog.cut_after(0.05, impatient, cut.set):
            assert cut.wait(10)
        thread = watch._thread
        assert thread is not None
        assert thread.is_alive()
    with watch._changed:
        watch._changed.notify()
    thread.join(10)
    assert not thread.is_alive()
