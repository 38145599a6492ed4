"""The history of cancellations in a SQLite file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import attrs

from batch_cancel.adapters.sqlite.connection import SQL, Connection, now, text_of
from batch_cancel.adapters.sqlite.rows import key_of, named, read_record
from batch_cancel.domain.history import Place, Wanted
from batch_cancel.domain.job import CancellationRecord, JobKey

_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)


@attrs.frozen
class History:
    """The history."""

    connection: Connection

    def page(self, wanted: Wanted, limit: int) -> list[CancellationRecord]:
        """Return the wanted records, the newest first."""
        after = wanted.after or Place(_LAST, "", "")
        rows = self.connection.rows(
            SQL["page" if has_earlier(self.connection) else "page_without_earlier"],
            (
                wanted.organization_id,
                text_of(wanted.since or _FIRST),
                text_of(wanted.until or _LAST),
                text_of(after.cancelled_at),
                after.batch_job_id,
                after.operation_id,
                limit,
            ),
        )
        return [
            record
            for job_id, organization_id, *row in rows
            if (record := read_record(key_of(job_id, organization_id), row)) is not None
        ]

    def forget(self, before: datetime, retry_window: timedelta, limit: int) -> int:
        """Delete old records with nothing pending, the oldest first, and return how many."""
        at = text_of(min(before, now() - retry_window))
        forgotten = self.connection.execute(SQL["forget"], (at, limit)).rowcount
        if forgotten < limit and has_earlier(self.connection):
            rest = (at, limit - forgotten)
            forgotten += self.connection.execute(SQL["forget_earlier"], rest).rowcount
        return forgotten


def keep_earlier(connection: Connection, key: JobKey) -> None:
    """Copy the job's record, if there is one, to the history before it is replaced."""
    if has_earlier(connection):
        connection.execute(SQL["keep_earlier"], named(key))


def has_earlier(connection: Connection) -> bool:
    """Check whether the file keeps records that are replaced."""
    return connection.row(SQL["has_earlier"]) == (1,)
