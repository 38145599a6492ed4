"""Procrastinate: `cancel_job_by_id`; its jobs are rows of the same Postgres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import procrastinate


class Peer:
    """An app on a blocking connection."""

    def __init__(self, places: Mapping[str, str]) -> None:
        connector = procrastinate.SyncPsycopgConnector(conninfo=places["postgres"])
        self._app = procrastinate.App(connector=connector)
        self._app.open()
        self._app.schema_manager.apply_schema()

    def schedule(self, number: int) -> list[int]:
        """Defer jobs."""
        deferred = self._app.configure_task("start", schedule_in={"days": 1})
        items: list[int] = deferred.batch_defer(*({} for _ in range(number)))
        return items

    def cancel(self, items: Sequence[int]) -> None:
        """Cancel them."""
        for item in items:
            self._app.job_manager.cancel_job_by_id(item)
