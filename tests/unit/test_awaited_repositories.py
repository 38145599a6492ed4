"""The repositories of a blocking store in wrappers that look awaited."""

from __future__ import annotations

from typing import Any

import pytest

from batch_cancel.adapters.memory.repositories import MemoryRepositories
from batch_cancel.use_cases.awaited_repositories import AwaitedRepositories

PARTS = (
    "jobs",
    "contacts",
    "outbox",
    "inspection",
    "work",
    "overview",
    "history",
    "bulk",
    "sweep",
)


@pytest.mark.parametrize("part", PARTS)
def test_each_repository_is_called_as_its_store_says(part: str) -> None:
    """Such as by SQLAlchemy on the connection of an engine of asyncio."""
    rows: Any = {}
    told: Any = object()
    blocking = MemoryRepositories.of(rows, 1, is_joined=False)
    wrapper = getattr(AwaitedRepositories(blocking, told), part)
    assert (wrapper.port, wrapper.call) == (getattr(blocking, part), told)
