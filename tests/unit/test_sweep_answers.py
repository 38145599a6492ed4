"""What is answered while contacts are left to sweep, and by a store that has no sweep."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from batch_cancel import (
    AlreadyTerminal,
    CancelFailed,
    cancel_job,
    cancel_job_async,
    cancel_rows,
    remove_deferred,
)
from batch_cancel.adapters.memory import AsyncMemoryScheduler, AsyncMemoryStore, MemoryScheduler
from tests.unit.swept_stores import kill, store_of


def test_an_asyncio_store_may_lack_the_attribute() -> None:
    """As a blocking one: it has no sweep, and an error says so."""
    store = AsyncMemoryStore(sweep_above=2)
    store.add_job("j", "running")
    store.add_contacts("j", {str(number): "pending" for number in range(5)})

    class Lame:
        @asynccontextmanager
        async def begin(self) -> AsyncGenerator[Any]:
            async with store.begin() as its:
                yield SimpleNamespace(jobs=its.jobs, contacts=its.contacts, outbox=its.outbox)

    cancelled = cancel_job_async("j", uow=Lame(), scheduler=AsyncMemoryScheduler())
    with pytest.raises(CancelFailed, match="returned None instead of the number") as failed:
        asyncio.run(cancelled)
    assert failed.value.outcome == "unchanged"


def test_without_a_store_what_is_left_to_sweep_is_left(caplog: pytest.LogCaptureFixture) -> None:
    """For reconcile, without a word; the start is removed all the same."""
    store = store_of(5)
    kill(store, 2)
    with store.begin():
        cancellation = cancel_rows("j", uow=store, operation_id="op")
    caplog.clear()
    assert remove_deferred(cancellation, MemoryScheduler()).contacts_cancelled == 2
    assert caplog.messages == []


def test_a_refusal_tells_what_the_sweep_before_it_has_counted() -> None:
    """Not what was counted when the other cancel was met."""
    store = store_of(5)
    kill(store, 2)
    with pytest.raises(AlreadyTerminal) as refused:
        cancel_job("j", uow=store, scheduler=MemoryScheduler(), operation_id="other")
    assert refused.value.cancellation is not None
    assert refused.value.cancellation.contacts_cancelled == 5
