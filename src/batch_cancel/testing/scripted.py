"""Schedulers for the tests of a store that comes without one of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

import attrs


class Starts:
    """Deferred starts, for the tests of a store that comes without a scheduler of its own."""

    def __init__(self) -> None:
        self.waiting: set[str] = set()
        self._removed_by: dict[str, str] = {}
        self._lock = threading.Lock()

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """Take a deferred start back."""
        with self._lock:
            if deferred_id in self.waiting:
                self.waiting.remove(deferred_id)
                self._removed_by[deferred_id] = operation_id
            return self._removed_by.get(deferred_id) == operation_id


@attrs.frozen
class Scripted:
    """A scheduler with a scripted answer."""

    behave: Callable[[str, str], bool]

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """Return or raise the scripted answer."""
        return self.behave(deferred_id, operation_id)


@attrs.frozen
class AsyncScripted:
    """As `Scripted`, awaited."""

    behave: Callable[[str, str], bool]

    async def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """As `Scripted.cancel`, awaited."""
        return self.behave(deferred_id, operation_id)


def unreachable(_deferred_id: str, _operation_id: str) -> bool:
    """Raise as an unreachable scheduler does."""
    raise ConnectionError
