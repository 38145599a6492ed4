"""An adapter of one's own: campaigns and calls in tables that batch_cancel never heard of."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from collections.abc import Set as AbstractSet
from contextlib import closing, contextmanager
from datetime import UTC, datetime

from batch_cancel import CancellationRecord, ContactStatus, Fault, Job, JobKey, StoreFailed

TABLES = """
DROP TABLE IF EXISTS campaign; DROP TABLE IF EXISTS call;
CREATE TABLE campaign (id TEXT PRIMARY KEY, tenant TEXT, state TEXT, alarm TEXT, touched REAL);
CREATE TABLE call (id INTEGER PRIMARY KEY, campaign TEXT, state TEXT, touched REAL);
"""


class Transaction:
    """The jobs and the contacts within one transaction; the optional ports are None."""

    outbox = inspection = work = None

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.jobs, self.contacts = Jobs(connection), Contacts(connection)


class Jobs:
    """The table of campaigns."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def lock(self, key: JobKey, /) -> Job | None:
        """Read the job; BEGIN IMMEDIATE has locked it. On a server: SELECT ... FOR UPDATE."""
        find = "SELECT state, alarm FROM campaign WHERE id = ? AND tenant IS ?"
        named = (key.batch_job_id, key.organization_id)
        row = self.connection.execute(find, named).fetchone()
        return None if row is None else Job(key, row[0], row[1], datetime.now(UTC))

    def mark_cancelled(self, job: Job, record: CancellationRecord, /) -> None:
        """Cancel the job, and check the outcome; a store of records writes it here."""
        named = (job.key.batch_job_id,)
        cancel = "UPDATE campaign SET state = 'cancelled', touched = julianday('now') WHERE id = ?"
        self.connection.execute(cancel, named)
        state, is_open = self.connection.execute(
            "SELECT state, EXISTS (SELECT 1 FROM call WHERE campaign = campaign.id AND state IN "
            "('pending', 'queued', 'no_answer', 'busy', 'timeout')) FROM campaign WHERE id = ?",
            named,
        ).fetchone()
        if is_open or state != "cancelled":
            reason = "a trigger undoes the cancel: look at those on campaign and call"
            raise StoreFailed(reason, fault=Fault.INCOMPLETE if is_open else Fault.REFUSED)


class Contacts:
    """The table of calls."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus], /) -> int:
        """Cancel the contacts in these statuses; return the number of rows changed."""
        cancel = "UPDATE call SET state = 'cancelled', touched = julianday('now') "
        cancel += f"WHERE campaign = ? AND state IN ({', '.join('?' * len(statuses))})"
        return self.connection.execute(cancel, (key.batch_job_id, *statuses)).rowcount


class OwnStore:
    """A unit of work: each transaction on a connection of its own."""

    def __init__(self, path: str) -> None:
        self.path = path

    @contextmanager
    def begin(self) -> Generator[Transaction]:
        """Commit on a clean exit, roll back on any exception, BaseException included."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as busy:
                reason = "another transaction has the file locked"
                raise StoreFailed(reason, fault=Fault.BUSY) from busy
            try:
                yield Transaction(connection)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")


# What the workers do: compare and set, each in one statement.


def start(store: OwnStore, campaign: str, tenant: str | None) -> bool:
    """Start a campaign whose time has come, unless it was cancelled."""
    with store.begin() as transaction:
        started = transaction.connection.execute(
            "UPDATE campaign SET state = 'running', touched = julianday('now') "
            "WHERE id = ? AND tenant IS ? AND state IN ('scheduled', 'pending')",
            (campaign, tenant),
        )
        return started.rowcount == 1


def claim(store: OwnStore, campaign: str, tenant: str | None, limit: int) -> list[str]:
    """Take calls of a running campaign to dial."""
    with store.begin() as transaction:
        claimed = transaction.connection.execute(
            "UPDATE call SET state = 'dialing', touched = julianday('now') WHERE id IN ("
            "  SELECT call.id FROM call JOIN campaign ON campaign.id = call.campaign"
            "  WHERE campaign.id = ? AND campaign.tenant IS ? AND campaign.state = 'running'"
            "  AND call.state IN ('pending', 'queued', 'no_answer', 'busy', 'timeout') LIMIT ?"
            ") RETURNING id",
            (campaign, tenant, limit),
        )
        return [str(call_id) for (call_id,) in claimed.fetchall()]
