"""The adapter for a database server as an asyncio program has it."""

import asyncio
import random
from collections.abc import AsyncGenerator
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg

from batch_cancel import CancellationRecord, ContactStatus, Job, JobKey
from examples.server_adapter import (
    BEGIN,
    CANCEL,
    LOCK,
    MARK,
    OUTCOME,
    check_outcome,
    failed,
)


class AsyncTransaction:
    """The jobs and the contacts within one transaction; the optional ports are None."""

    outbox = inspection = work = None

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self.connection = connection
        self.jobs = self.contacts = self

    async def lock(self, key: JobKey, /) -> Job | None:
        """Lock the row until the transaction ends, and read it as it is then."""
        found = await self.connection.execute(LOCK, (key.batch_job_id, key.organization_id))
        row = await found.fetchone()
        return None if row is None else Job(key, *row)

    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus], /) -> int:
        """Wait for contacts that another has locked: no SKIP LOCKED."""
        written = await self.connection.execute(CANCEL, (key.batch_job_id, list(statuses)))
        return written.rowcount

    async def mark_cancelled(self, job: Job, record: CancellationRecord, /) -> None:
        """Write, and look at what became of it."""
        await self.connection.execute(MARK, (job.key.batch_job_id,))
        outcome = await self.connection.execute(OUTCOME, (job.key.batch_job_id,))
        check_outcome(await outcome.fetchone())


class AsyncCampaigns:
    """A unit of work: each transaction on a connection of its own."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[AsyncTransaction]:
        """Commit on a clean exit, roll back on any exception."""
        commit_was_sent = False
        try:
            connection = await psycopg.AsyncConnection.connect(self.dsn, autocommit=True)
            try:
                await connection.execute(BEGIN)
                try:
                    yield AsyncTransaction(connection)
                except BaseException:
                    # Called off within a statement, the connection may be unfit for another: the
                    # caller must see the CancelledError, and closing rolls back as well.
                    with suppress(psycopg.Error):
                        await connection.execute("ROLLBACK")
                    raise
                commit_was_sent = True
                await connection.execute("COMMIT")
            finally:
                await connection.close()
        except psycopg.Error as error:
            raise failed(error, commit_was_sent=commit_was_sent) from error

    async def pause(self, attempts: int, /) -> None:
        """Wait before another attempt."""
        await asyncio.sleep(0.02 * 2**attempts * random.random())  # noqa: S311  # No secret.
