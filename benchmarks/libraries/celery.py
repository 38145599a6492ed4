"""Celery: `control.revoke`, a message to all workers; none of them is waited for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import uuid4

from celery import Celery


class Peer:
    """An app."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._app = Celery("benchmarks", broker=places["redis"], set_as_current=False)

    def schedule(self, number: int) -> list[str]:
        """Return ids: a message that revokes one is the same whether or not its task waits."""
        return [uuid4().hex for _ in range(number)]

    def cancel(self, items: Sequence[str]) -> None:
        """Revoke them."""
        for item in items:
            self._app.control.revoke(item)
