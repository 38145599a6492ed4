"""The last look of an RQ job, where its worker can't be brought to the point."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import redis

from batch_cancel.adapters.rq import RqScheduler, guarded
from batch_cancel.ports import SchedulerUnavailable
from tests.processes import HOST, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def nobody_listens() -> Iterator[RqScheduler]:
    """Yield a scheduler whose Redis is gone."""
    with redis.Redis(host=HOST, port=free_port()) as client:
        yield RqScheduler(client)


def test_a_guard_without_its_scheduler_is_refused() -> None:
    """A bare `@guarded` would leave a job that no worker can import."""
    with pytest.raises(TypeError, match=r"got function: write @guarded\(RqScheduler\(client\)\)"):

        @guarded  # type: ignore[arg-type]
        def start() -> None: ...


@pytest.mark.parametrize("job", [SimpleNamespace(id="start"), None])
def test_a_job_that_cannot_ask_does_not_start(
    job: object, nobody_listens: RqScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails closed in a worker; a plain call asks nobody."""
    started: list[str] = []
    monkeypatch.setitem(sys.modules, "rq", SimpleNamespace(get_current_job=lambda: job))
    start = guarded(nobody_listens)(started.append)
    if job is None:
        start("batch")
        assert started == ["batch"]
    else:
        with pytest.raises(SchedulerUnavailable):
            start("batch")
        assert started == []
