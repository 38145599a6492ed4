"""How many starts a pump takes if nobody says so."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from batch_cancel import pump, pump_async
from batch_cancel.adapters.memory import AsyncMemoryScheduler, MemoryScheduler

DEFAULT = 100


def test_a_hundred_starts_are_taken_at_most() -> None:
    """The others wait for the next round; asyncio or not."""
    past = datetime.now(UTC) - timedelta(hours=1)
    store, store_async = MemoryScheduler(), AsyncMemoryScheduler()
    delivered: list[object] = []
    for number in range(DEFAULT + 1):
        store.schedule(f"start-{number}", past)
    assert pump(store, delivered.append) == DEFAULT
    assert pump(store, delivered.append) == 1

    async def run() -> int:
        for number in range(DEFAULT + 1):
            await store_async.schedule(f"start-{number}", past)
        return await pump_async(store_async, delivered.append)

    assert asyncio.run(run()) == DEFAULT
