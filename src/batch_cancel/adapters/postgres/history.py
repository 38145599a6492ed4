"""The history of cancellations on Postgres; reading it locks nothing."""

from __future__ import annotations

from datetime import datetime, timedelta

from batch_cancel.adapters.postgres.rows import Parameters, owing
from batch_cancel.adapters.postgres.statements import AsyncStatements, Statements
from batch_cancel.domain.history import Wanted
from batch_cancel.domain.job import CancellationRecord


class History(Statements):
    """The history."""

    def page(self, wanted: Wanted, limit: int) -> list[CancellationRecord]:
        """Return the records that are asked for, the newest first."""
        statement = self.queries.page[self.ground.keeps_earlier]
        cursor = self.execute(statement, asked(wanted, limit))
        return [owing(row) for row in cursor.fetchall()]

    def forget(self, before: datetime, retry_window: timedelta, limit: int) -> int:
        """Delete old records that owe nothing, the oldest first, and return how many."""
        parameters: Parameters = {"before": before, "retry_window": retry_window, "limit": limit}
        forgotten = self.execute(self.queries.forget, parameters).rowcount
        if forgotten < limit and self.ground.keeps_earlier:
            parameters["limit"] = limit - forgotten
            forgotten += self.execute(self.queries.forget_earlier, parameters).rowcount
        return forgotten


class AsyncHistory(AsyncStatements):
    """As `History`, awaited."""

    async def page(self, wanted: Wanted, limit: int) -> list[CancellationRecord]:
        """As `History.page`, awaited."""
        statement = self.queries.page[self.ground.keeps_earlier]
        cursor = await self.execute(statement, asked(wanted, limit))
        return [owing(row) for row in await cursor.fetchall()]

    async def forget(self, before: datetime, retry_window: timedelta, limit: int) -> int:
        """As `History.forget`, awaited."""
        parameters: Parameters = {"before": before, "retry_window": retry_window, "limit": limit}
        forgotten = (await self.execute(self.queries.forget, parameters)).rowcount
        if forgotten < limit and self.ground.keeps_earlier:
            parameters["limit"] = limit - forgotten
            forgotten += (await self.execute(self.queries.forget_earlier, parameters)).rowcount
        return forgotten


def asked(wanted: Wanted, limit: int) -> Parameters:
    """Return the parameters that ask for a page."""
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
