"""A memory store some parts of which can be replaced by broken ones."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import attrs

from batch_cancel.testing.conformance import StoreConformance
from tests import adapters_under_test
from tests.proof.broken_adapters.planting import plant
from tests.sabotage import UndoneStore


class Tampered(UndoneStore):
    """A memory store some parts of which are not its own."""

    def __init__(self, parts: Mapping[str, Callable[[Any], object]]) -> None:
        super().__init__()
        self._parts = parts

    @contextmanager
    def begin(self) -> Generator[Any]:
        """Open a transaction with the parts in their places."""
        with super().begin() as it:
            parts: dict[str, Any] = {
                name: part(getattr(it, name).rows) for name, part in self._parts.items()
            }
            yield attrs.evolve(it, **parts)


class OnMemory(adapters_under_test.MemoryTables):
    """A memory store with a bug."""

    parts: ClassVar[Mapping[str, Callable[[Any], object]]]

    def fresh(self) -> None:
        """Forget everything."""
        super().fresh()
        self._store = Tampered(self.parts)


def in_memory(test: str, **parts: type) -> None:
    """Plant a bug in one part of the memory store."""
    [bug] = parts.values()
    plant(bug.__name__, test, OnMemory, StoreConformance, parts=parts)
