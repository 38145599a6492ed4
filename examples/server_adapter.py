"""An adapter for a database server: campaigns and calls in Postgres, over plain psycopg."""

import random
import time
from collections.abc import Generator
from collections.abc import Set as AbstractSet
from contextlib import closing, contextmanager, suppress
from typing import Any

import psycopg

from batch_cancel import CancellationRecord, ContactStatus, Fault, Job, JobKey, StoreFailed

TABLES = """
CREATE TABLE IF NOT EXISTS campaign (id text PRIMARY KEY, tenant text, state text, alarm text);
CREATE TABLE IF NOT EXISTS call (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign text NOT NULL REFERENCES campaign, state text);
DELETE FROM call; DELETE FROM campaign;
"""
BEGIN = """
BEGIN ISOLATION LEVEL READ COMMITTED;
SET LOCAL lock_timeout = '2s'; SET LOCAL statement_timeout = '10s';
SET LOCAL idle_in_transaction_session_timeout = '30s';
"""
# Found by id and tenant, so that a stranger locks nothing; the clock is read after the wait.
LOCK = """
WITH locked AS MATERIALIZED (
    SELECT state, alarm FROM campaign
    WHERE id = %s AND tenant IS NOT DISTINCT FROM %s FOR NO KEY UPDATE
) SELECT locked.*, clock_timestamp() FROM locked
"""
CANCEL = "UPDATE call SET state = 'cancelled' WHERE campaign = %s AND state = ANY (%s)"
MARK = "UPDATE campaign SET state = 'cancelled' WHERE id = %s"
OUTCOME = """
SELECT state, EXISTS (SELECT 1 FROM call WHERE campaign = campaign.id AND state IN
    ('pending', 'queued', 'no_answer', 'busy', 'timeout')) FROM campaign WHERE id = %s
"""
FAULTS = {
    None: Fault.INTERRUPTED,  # Without an SQLSTATE: the connection broke.
    "57P01": Fault.INTERRUPTED,  # The server shuts down.
    "40001": Fault.CONFLICT,  # Serialization failure.
    "40P01": Fault.CONFLICT,  # Deadlock: the server has rolled the whole transaction back.
    "55P03": Fault.LATE,  # Lock timeout.
    "57014": Fault.LATE,  # Statement timeout.
}


def failed(error: psycopg.Error, *, commit_was_sent: bool) -> StoreFailed:
    """Translate an error; after a break at COMMIT its outcome is unknown."""
    fault = FAULTS.get(error.sqlstate, Fault.REFUSED)
    is_unknown = commit_was_sent and fault is Fault.INTERRUPTED
    reason = f"Postgres: {type(error).__name__}"
    return StoreFailed(reason, "unknown" if is_unknown else "unchanged", fault)


def check_outcome(outcome: tuple[Any, ...] | None) -> None:
    """Refuse to commit what is not cancelled after all."""
    state, is_open = outcome or (None, False)
    if is_open or state != "cancelled":
        reason = "a trigger or a rule undoes the cancel: look at those on campaign and call"
        raise StoreFailed(reason, fault=Fault.INCOMPLETE if is_open else Fault.REFUSED)


class Transaction:
    """The jobs and the contacts within one transaction; the optional ports are None."""

    outbox = inspection = work = None

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection, self.jobs, self.contacts = connection, self, self

    def lock(self, key: JobKey, /) -> Job | None:
        """Lock the row until the transaction ends, and read it as it is then."""
        row = self.connection.execute(LOCK, (key.batch_job_id, key.organization_id)).fetchone()
        return None if row is None else Job(key, *row)

    def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus], /) -> int:
        """Wait for contacts that another has locked: no SKIP LOCKED."""
        return self.connection.execute(CANCEL, (key.batch_job_id, list(statuses))).rowcount

    def mark_cancelled(self, job: Job, record: CancellationRecord, /) -> None:
        """Write, and look at what became of it."""
        self.connection.execute(MARK, (job.key.batch_job_id,))
        check_outcome(self.connection.execute(OUTCOME, (job.key.batch_job_id,)).fetchone())


class Campaigns:
    """A unit of work: each transaction on a connection of its own."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    @contextmanager
    def begin(self) -> Generator[Transaction]:
        """Commit on a clean exit, roll back on any exception."""
        commit_was_sent = False
        try:
            with closing(psycopg.connect(self.dsn, autocommit=True)) as connection:
                connection.execute(BEGIN)
                try:
                    yield Transaction(connection)
                except BaseException:
                    with suppress(psycopg.Error):  # The caller must see what came first.
                        connection.execute("ROLLBACK")
                    raise
                commit_was_sent = True
                connection.execute("COMMIT")
        except psycopg.Error as error:
            raise failed(error, commit_was_sent=commit_was_sent) from error

    def pause(self, attempts: int, /) -> None:
        """Wait before another attempt."""
        time.sleep(0.02 * 2**attempts * random.random())  # noqa: S311  # No secret.
