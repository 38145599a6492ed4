"""An argument that makes no sense is refused, the same by all stores, before they are asked."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from batch_cancel import (
    inspect,
    inspect_async,
    reconcile,
    reconcile_async,
    start_job,
    start_job_async,
)
from batch_cancel.adapters.memory import (
    AsyncMemoryScheduler,
    AsyncMemoryStore,
    MemoryScheduler,
    MemoryStore,
)
from batch_cancel.use_cases.pump import pump, pump_async

WRONG: list[tuple[object, type[Exception]]] = [
    (-1, ValueError),
    (1_000_001, ValueError),
    (2.5, TypeError),
    ("3", TypeError),
    (True, TypeError),
    (None, TypeError),
]
"""SQLite takes -1 for no limit, Postgres refuses it, and a list leaves out its last."""


class Untouched:
    """A store or a scheduler that nothing may be asked of."""

    def begin(self) -> Any:
        """Fail."""
        raise AssertionError

    def cancel(self, _deferred_id: str, _operation_id: str) -> Any:
        """Fail."""
        raise AssertionError

    def claim(self, _limit: int, _lease: timedelta) -> Any:
        """Fail."""
        raise AssertionError

    def ack(self, _deferred_id: str, _token: str) -> Any:
        """Fail."""
        raise AssertionError


@pytest.mark.parametrize(("limit", "error"), WRONG)
def test_a_limit_that_makes_no_sense_is_refused(limit: Any, error: type[Exception]) -> None:
    """Blocking and asyncio."""
    port: Any = Untouched()
    for function in (reconcile, inspect):
        with pytest.raises(error, match=r"^limit must be "):
            function(uow=port, scheduler=port, limit=limit)
    for function_async in (reconcile_async, inspect_async):
        with pytest.raises(error, match=r"^limit must be "):
            asyncio.run(function_async(uow=port, scheduler=port, limit=limit))
    with pytest.raises(error, match=r"^limit must be "):
        pump(port, print, limit=limit)
    with pytest.raises(error, match=r"^limit must be "):
        asyncio.run(pump_async(port, print, limit=limit))


@pytest.mark.parametrize("limit", [0, 1, 1_000_000])
def test_a_limit_within_the_bounds_is_taken(limit: int) -> None:
    """The test above would also pass if everything was refused."""
    starts, starts_async = MemoryScheduler(), AsyncMemoryScheduler()
    assert reconcile(uow=MemoryStore(), scheduler=starts, limit=limit) == []
    passed = reconcile_async(uow=AsyncMemoryStore(), scheduler=starts_async, limit=limit)
    assert asyncio.run(passed) == []
    assert not inspect(uow=MemoryStore(), scheduler=starts, limit=limit).is_found
    assert pump(starts, print, limit=limit) == 0
    assert asyncio.run(pump_async(starts_async, print, limit=limit)) == 0


@pytest.mark.parametrize("deferred_id", [7, b"start", UUID(int=7)])
def test_a_deferred_id_that_is_no_text_is_refused(deferred_id: Any) -> None:
    """Otherwise a start that fired would be taken for one that the job does not name."""
    store, store_async = MemoryStore(), AsyncMemoryStore()
    with pytest.raises(TypeError, match=r"^deferred_id must be a str, got .*: pass str\("):
        start_job("job", uow=store, deferred_id=deferred_id)
    with pytest.raises(TypeError, match=r"^deferred_id must be a str, got .*: pass str\("):
        asyncio.run(start_job_async("job", uow=store_async, deferred_id=deferred_id))
