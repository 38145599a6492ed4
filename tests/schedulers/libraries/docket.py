"""docket, in its own environment."""

from __future__ import annotations

import asyncio
import atexit
import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from docket import Docket, Worker
from docket.execution import Disposition, ExecutionState

from tests.schedulers.inside import start

_OFTEN = timedelta(milliseconds=10)


class Client:
    """A docket."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places
        self._runner = asyncio.Runner()
        self._docket = self._runner.run(Docket(url=places["redis"]).__aenter__())
        atexit.register(lambda: self._runner.run(self._docket.__aexit__(None, None, None)))

    def schedule(self, deferred_id: str, at: float) -> bool:
        """Add a task; False if docket takes none under this key."""
        when = datetime.fromtimestamp(at, UTC)

        async def add() -> bool:
            added = await self._docket.add(start_job, when, deferred_id)(deferred_id)
            return added.disposition is Disposition.SCHEDULED

        return self._runner.run(add())

    def cancel(self, deferred_id: str) -> bool:
        """Cancel it; docket does not say whether it was there, so ask before."""

        async def cancel() -> bool:
            found = await self._docket.get_execution(deferred_id)
            await self._docket.cancel(deferred_id)
            waiting = {ExecutionState.SCHEDULED, ExecutionState.QUEUED}
            return found is not None and found.state in waiting

        return self._runner.run(cancel())

    def private_names(self) -> dict[str, str]:
        """Return the keys of a task "ID"."""
        docket = self._docket
        return {
            "queue": docket.queue_key,
            "stream": docket.stream_key,
            "parked": docket.parked_task_key("ID"),
            "record": docket.runs_key("ID"),
            "progress": docket.key("progress:ID"),
            "state": docket.key("state:ID"),
        }


_PLACES: dict[str, str] = {}


async def start_job(deferred_id: str) -> None:
    """Be the deferred start."""
    await asyncio.to_thread(start, _PLACES, deferred_id)


def work(places: Mapping[str, str]) -> None:
    """Run a worker that looks often."""
    logging.disable(logging.WARNING)
    _PLACES.update(places)

    async def main() -> None:
        async with Docket(url=places["redis"]) as docket:
            docket.register(start_job)
            often = {"minimum_check_interval": _OFTEN, "scheduling_resolution": _OFTEN}
            async with Worker(docket, **often) as worker:
                await worker.run_forever()

    asyncio.run(main())
