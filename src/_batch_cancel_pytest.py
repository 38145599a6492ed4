"""
The fixtures that pytest finds by itself where batch_cancel is installed.

Rule: a test run that asks for none of them imports nothing of batch_cancel. So this module is
      none of the package's, which would be imported with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from batch_cancel.adapters.memory import (
        AsyncMemoryScheduler,
        AsyncMemoryStore,
        MemoryScheduler,
        MemoryStore,
    )


@pytest.fixture
def cancel_store() -> MemoryStore:
    """Return an empty memory store, which is a unit of work."""
    from batch_cancel.adapters.memory import MemoryStore  # noqa: PLC0415

    return MemoryStore()


@pytest.fixture
def cancel_store_async() -> AsyncMemoryStore:
    """As `cancel_store`."""
    from batch_cancel.adapters.memory import AsyncMemoryStore  # noqa: PLC0415

    return AsyncMemoryStore()


@pytest.fixture
def cancel_scheduler() -> MemoryScheduler:
    """Return an empty memory scheduler."""
    from batch_cancel.adapters.memory import MemoryScheduler  # noqa: PLC0415

    return MemoryScheduler()


@pytest.fixture
def cancel_scheduler_async() -> AsyncMemoryScheduler:
    """As `cancel_scheduler`."""
    from batch_cancel.adapters.memory import AsyncMemoryScheduler  # noqa: PLC0415

    return AsyncMemoryScheduler()
