"""Bugs of locks, statements and connections on Postgres."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, ClassVar, Final

import psycopg
from psycopg import sql

from batch_cancel.adapters.postgres import PostgresSchema, PostgresUnitOfWork
from batch_cancel.adapters.postgres.queries import queries_for
from batch_cancel.domain.job import JobKey
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS
from batch_cancel.testing.conformance import StoreConformance
from tests import adapters_under_test
from tests.proof.broken_adapters.planting import SECOND, plant


class Rewritten:
    """The statements, with one piece of text in the place of another."""

    def __init__(self, queries: Any, swaps: Mapping[str, str]) -> None:
        self._queries = queries
        self._swaps = swaps

    def __getattr__(self, name: str) -> Any:
        it = getattr(self._queries, name)
        if not callable(it):
            return self._rewritten(it)
        return lambda *given, **named: self._rewritten(it(*given, **named))

    def fitting(self, *, has_sweeps: bool) -> Rewritten:
        """Return them for a table with the column of sweeps, or without."""
        return Rewritten(self._queries.fitting(has_sweeps=has_sweeps), self._swaps)

    def _rewritten(self, it: Any) -> Any:
        if isinstance(it, tuple):
            return tuple(self._rewritten(one) for one in it)
        if not isinstance(it, sql.Composable):
            return it
        text = it.as_string(None)
        for old, new in self._swaps.items():
            text = text.replace(old, new)
        return sql.SQL(text)  # pyright: ignore[reportArgumentType]


class RewrittenUnitOfWork(PostgresUnitOfWork):
    """Postgres with other statements."""

    swaps: Mapping[str, str]

    @contextmanager
    def begin(self) -> Generator[Any]:
        """Open a transaction with the statements rewritten."""
        with super().begin() as it:
            queries: Any = Rewritten(it.transaction.queries, self.swaps)
            it.transaction.queries = queries
            yield it


class LockingUnitOfWork(RewrittenUnitOfWork):
    """Postgres whose outbox locks the job of the record that it finds."""

    @contextmanager
    def begin(self) -> Generator[Any]:
        """Open a transaction with that outbox."""
        with super().begin() as it:
            outbox, jobs = it.outbox, it.jobs

            def find(key: JobKey) -> Any:
                jobs.lock(key)
                return outbox.find(key)

            yield SimpleNamespace(
                jobs=jobs,
                contacts=it.contacts,
                outbox=SimpleNamespace(
                    find=find, claim=outbox.claim, settle=outbox.settle, take=outbox.take
                ),
                inspection=it.inspection,
                work=it.work,
            )


class ReadingUnitOfWork(RewrittenUnitOfWork):
    """Postgres whose outbox reads the turn first, and writes it after."""

    @contextmanager
    def begin(self) -> Generator[Any]:
        """Open a transaction with that outbox."""
        with super().begin() as it:
            outbox = it.outbox

            def claim(record: Any) -> Any:
                found = outbox.find(record.key)
                if found is None or found.taken_at != record.taken_at:
                    return None
                it.transaction.connection.execute(
                    "UPDATE batch_cancellations SET taken_at = clock_timestamp() "
                    "WHERE batch_job_id = %s",
                    [record.key.batch_job_id],
                )
                return outbox.find(record.key)

            yield SimpleNamespace(
                jobs=it.jobs,
                contacts=it.contacts,
                outbox=SimpleNamespace(
                    find=outbox.find, claim=claim, settle=outbox.settle, take=outbox.take
                ),
                inspection=it.inspection,
                work=it.work,
            )


class UnlockedUnitOfWork(RewrittenUnitOfWork):
    """Postgres whose outbox takes without a lock."""

    @contextmanager
    def begin(self) -> Generator[Any]:
        """Open a transaction with that outbox."""
        with super().begin() as it:
            outbox = it.outbox

            def take(_limit: int, lease: timedelta, **_: Any) -> Any:
                outbox.find(JobKey("none"))  # BEGIN is sent with the first statement.
                connection = it.transaction.connection
                rows = connection.execute(
                    "SELECT batch_job_id, organization_id FROM batch_cancellations "
                    "WHERE removal = 'pending' AND taken_at <= clock_timestamp() - %s",
                    [lease],
                ).fetchall()
                connection.execute(
                    "UPDATE batch_cancellations SET taken_at = clock_timestamp() "
                    "WHERE batch_job_id = ANY (%s)",
                    [[job_id for job_id, _ in rows]],
                )
                return [outbox.find(JobKey(job_id, owner or None)) for job_id, owner in rows]

            yield SimpleNamespace(
                jobs=it.jobs,
                contacts=it.contacts,
                outbox=SimpleNamespace(
                    find=outbox.find, claim=outbox.claim, settle=outbox.settle, take=take
                ),
                inspection=it.inspection,
                work=it.work,
            )


class OnPostgres(adapters_under_test.PostgresTables):
    """Postgres with a bug in its statements, or in a worker's own."""

    swaps: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls) -> None:
        """Refuse a swap that changes nothing: the statements have moved on."""
        queries = queries_for(PostgresSchema())
        written = (queries.lock_job, queries.cancel_contacts(CANCELLABLE_CONTACTS))
        text = "".join(it.as_string(None) for it in written)
        assert [it for it in cls.swaps if it not in text] == []

    def uow(self) -> Any:
        """Return a unit of work with the bug."""
        uow = RewrittenUnitOfWork(self._connect, lock_timeout=SECOND)
        uow.swaps = self.swaps
        return uow

    def send(self, statement: str, values: Sequence[object]) -> int:
        """Send a worker's own statement, and commit it."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            return connection.execute(statement.encode(), values).rowcount


def _rewritten(name: str, test: str, **swaps: str) -> None:
    plant(name, test, OnPostgres, StoreConformance, swaps=swaps)


LOCK: Final = "FOR NO KEY UPDATE\n)\nSELECT locked"
plant(
    "LocksNothing",
    "test_i5_of_two_cancels_at_once_one_succeeds",
    OnPostgres,
    StoreConformance,
    swaps={LOCK: ")\nSELECT locked"},
)


OF_THE_ORGANIZATION: Final = """
AND (
    "organization_id" = %(organization_id)s
    OR ("organization_id" IS NULL AND %(organization_id)s IS NULL)
)"""


class LocksTheStrangersRow(OnPostgres):
    """It locks by id, and looks at the organization afterwards."""

    swaps: ClassVar[Mapping[str, str]] = {
        OF_THE_ORGANIZATION: "",
        "* 1000000)::bigint FROM locked": (
            "* 1000000)::bigint FROM locked "
            "WHERE organization_id IS NOT DISTINCT FROM %(organization_id)s"
        ),
    }


plant(
    "LocksTheStrangersRow",
    "test_i16_a_stranger_can_not_lock_the_job",
    LocksTheStrangersRow,
    StoreConformance,
)
plant(
    "LocksAllJobs",
    "test_i16_other_jobs_are_not_locked",
    OnPostgres,
    StoreConformance,
    swaps={
        "WITH locked AS MATERIALIZED (": (
            "WITH everything AS MATERIALIZED (SELECT pg_advisory_xact_lock(4711) AS it), "
            "locked AS MATERIALIZED ("
        ),
        "FROM locked": "FROM locked, everything WHERE everything.it IS NOT NULL",
    },
)
plant(
    "TouchesTheTimeOfEveryContact",
    "test_i3_an_ended_contact_is_never_changed",
    OnPostgres,
    StoreConformance,
    swaps={
        'UPDATE "batch_contacts"\nSET "status" = \'cancelled\'': (
            'UPDATE "batch_contacts"\n'
            "SET \"status\" = CASE WHEN \"status\" IN ('pending', 'queued', 'no_answer', 'busy', "
            "'timeout') THEN 'cancelled' ELSE \"status\" END"
        ),
        "AND \"status\" IN ('busy', 'no_answer', 'pending', 'queued', 'timeout')": "",
    },
)


class LeaksConnections(OnPostgres):
    """What failed is never closed."""

    def uow(self) -> Any:
        """Return connections that only a success closes."""

        @contextmanager
        def connect() -> Generator[Any]:
            connection = self._connect()
            yield connection
            connection.close()

        return PostgresUnitOfWork(connect)

    def close(self) -> None:
        """Clean up behind the bug."""
        for connection in self.opened:
            connection.close()


plant("LeaksConnections", "test_i18_no_connection_is_leaked", LeaksConnections, StoreConformance)
