"""The history of cancellations on Postgres; reading it locks nothing."""

from __future__ import annotations

from datetime import datetime, timedelta

from batch_cancel.adapters.postgres.rows import Parameters, pending_record
from batch_cancel.adapters.postgres.statements import Statements
from batch_cancel.domain.history import Wanted
from batch_cancel.domain.job import CancellationRecord


class History(Statements):
    """The history."""

    async def page(self, wanted: Wanted, limit: int) -> list[CancellationRecord]:
        """As `HistoryRepository.page`."""
        ground = await self.transaction.ground()
        statement = self.queries.page[ground.keeps_earlier]
        answer = await self.execute_alone(statement, page_parameters(wanted, limit))
        return [pending_record(row) for row in await answer.rows()]

    async def forget(self, before: datetime, retry_window: timedelta, limit: int) -> int:
        """As `HistoryRepository.forget`."""
        parameters: Parameters = {"before": before, "retry_window": retry_window, "limit": limit}
        ground = await self.transaction.ground()
        forgotten = (await self.execute(self.queries.forget, parameters)).rowcount
        if forgotten < limit and ground.keeps_earlier:
            parameters["limit"] = limit - forgotten
            forgotten += (await self.execute(self.queries.forget_earlier, parameters)).rowcount
        return forgotten


def page_parameters(wanted: Wanted, limit: int) -> Parameters:
    """Return the parameters of a page."""
    after = wanted.after
    return {
        "organization_id": wanted.organization_id or "",
        "since": wanted.since,
        "until": wanted.until,
        "after_at": None if after is None else after.cancelled_at,
        "after_job": "" if after is None else after.batch_job_id,
        "after_operation": "" if after is None else after.operation_id,
        "limit": limit,
    }
