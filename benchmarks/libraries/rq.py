"""RQ: `cancel_job`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import uuid4

import redis
from rq import Queue
from rq.job import cancel_job


class Peer:
    """A queue."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._connection = redis.Redis.from_url(places["redis"])
        self._queue = Queue(connection=self._connection)

    def schedule(self, number: int) -> list[str]:
        """Schedule jobs."""
        items = [uuid4().hex for _ in range(number)]
        for item in items:
            self._queue.enqueue_in(timedelta(days=1), "time.sleep", 0, job_id=item)
        return items

    def cancel(self, items: Sequence[str]) -> None:
        """Cancel them."""
        for item in items:
            cancel_job(item, self._connection)
