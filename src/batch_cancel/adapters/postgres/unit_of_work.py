"""
Transactions on Postgres, our own or the caller's, and the repositories within them.

Every statement is sent without a prepared name, so that a pooler in transaction mode can stand
between, and with a cursor of our own, so that the caller's row and cursor factories don't matter.

A transaction of our own brings its own terms, whatever the connection's defaults are:

Rule 1: it is READ COMMITTED. A snapshot from before the wait for the job's lock would miss the
        contacts that came in meanwhile.
Rule 2: it is bounded in time, by the server's timeouts, and by a cut of the connection on a server
        that answers nothing.
Rule 3: a commit that was answered is on disk. That it survives the loss of that server is for its
        configuration to say: with `synchronous_standby_names` a promoted replica knows of it, with
        asynchronous replication it may not.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
from collections.abc import Set as AbstractSet
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from datetime import UTC, timedelta
from itertools import groupby
from typing import Any, Final

import attrs
import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from batch_cancel.adapters.postgres.checks import (
    AsyncCatalog,
    Catalog,
    examined,
    examined_async,
)
from batch_cancel.adapters.postgres.faults import lost, translated
from batch_cancel.adapters.postgres.hangs import cut_after
from batch_cancel.adapters.postgres.schema import PostgresSchema, Queries, queries_for, trusted
from batch_cancel.domain.drift import CancelledJob, DeferredStart, Inventory
from batch_cancel.domain.errors import JobNotFound, StoreFailed, shown
from batch_cancel.domain.fitness import Diagnosis
from batch_cancel.domain.guards import Settlement
from batch_cancel.domain.model import (
    CancellationRecord,
    ContactStatus,
    Job,
    JobKey,
    JobStatus,
    Removal,
)

_Row = tuple[Any, ...]
_Parameters = dict[str, object]

_BROKEN_MAX: Final = 100
"""How many broken connections in turn are passed over; a restart breaks all that a pool has."""

_DEFAULT_SCHEMA: Final = PostgresSchema()


def _named(key: JobKey) -> _Parameters:
    return {"batch_job_id": key.batch_job_id, "organization_id": key.organization_id}


def _named_in_record(key: JobKey) -> _Parameters:
    # The record's primary key can't hold NULL; no organization has an empty id.
    return {"batch_job_id": key.batch_job_id, "organization_id": key.organization_id or ""}


def _job(row: _Row, asked: JobKey, schema: PostgresSchema) -> Job | None:
    job_id, organization_id, spelling, deferred_id, locked_at = row
    key = JobKey(job_id, organization_id)
    if _folded(key) != _folded(asked):
        # Postgres reads " 42 " as 42 and "{6b29...}" as a uuid; an id has one spelling only.
        return None
    status = schema.read_job_status(spelling)
    return Job(key, status, deferred_id, locked_at.astimezone(UTC))


def _folded(key: JobKey) -> tuple[str, str]:
    return key.batch_job_id.casefold(), (key.organization_id or "").casefold()


def _cancellation(row: _Row, key: JobKey) -> CancellationRecord:
    operation_id, previous_status, contacts, actor, reason, cancelled_at, *rest = row
    deferred_id, removal, is_announced = rest
    return CancellationRecord(
        operation_id=operation_id,
        key=key,
        previous_status=JobStatus(previous_status),
        contacts_cancelled=contacts,
        actor=actor,
        reason=reason,
        cancelled_at=cancelled_at.astimezone(UTC),
        deferred_id=deferred_id,
        removal=Removal(removal),
        is_announced=is_announced,
    )


def _recorded(record: CancellationRecord) -> _Parameters:
    return {
        **_named(record.key),
        "record_batch_job_id": record.key.batch_job_id,
        "record_organization_id": record.key.organization_id or "",
        "operation_id": record.operation_id,
        "previous_status": record.previous_status.value,
        "contacts_cancelled": record.contacts_cancelled,
        "actor": record.actor,
        "reason": record.reason,
        "cancelled_at": record.cancelled_at,
        "deferred_id": record.deferred_id,
        "removal": record.removal.value,
        "is_announced": record.is_announced,
    }


def _owing(row: _Row) -> CancellationRecord:
    job_id, organization_id, *rest = row
    return _cancellation(tuple(rest), JobKey(job_id, organization_id or None))


def _inventory(rows: list[_Row]) -> Inventory:
    return Inventory(
        removals_pending=tuple(
            _owing((job_id, organization_id, *record))
            for kind, job_id, organization_id, _, *record in rows
            if kind == "removal"
        ),
        scheduled=tuple(
            DeferredStart(JobKey(job_id, organization_id), deferred_id)
            for kind, job_id, organization_id, *_, deferred_id, _, _ in rows
            if kind == "scheduled"
        ),
        cancelled=tuple(
            CancelledJob(JobKey(job_id, organization_id), deferred_id, contacts_open)
            for kind, job_id, organization_id, contacts_open, *_, deferred_id, _, _ in rows
            if kind == "cancelled"
        ),
    )


@attrs.frozen
class _Statements:
    connection: psycopg.Connection[Any]
    queries: Queries

    def execute(
        self, query: sql.SQL, parameters: _Parameters | list[object]
    ) -> psycopg.Cursor[_Row]:
        cursor = psycopg.Cursor(self.connection, row_factory=tuple_row)
        return cursor.execute(query, parameters, prepare=False)


@attrs.frozen
class _AsyncStatements:
    connection: psycopg.AsyncConnection[Any]
    queries: Queries

    async def execute(
        self, query: sql.SQL, parameters: _Parameters | list[object]
    ) -> psycopg.AsyncCursor[_Row]:
        cursor = psycopg.AsyncCursor(self.connection, row_factory=tuple_row)
        return await cursor.execute(query, parameters, prepare=False)


class _Jobs(_Statements):
    def lock(self, key: JobKey) -> Job | None:
        try:
            cursor = self.execute(self.queries.lock_job, _named(key))
        except (psycopg.DataError, UnicodeEncodeError) as error:
            if _is_of_an_id(error):
                return None
            raise
        row = cursor.fetchone()
        job = None if row is None else _job(row, key, self.queries.schema)
        if job is None or job.status != JobStatus.CANCELLED:
            return job
        cursor = self.execute(self.queries.read_cancellation, _named_in_record(job.key))
        row = cursor.fetchone()
        return job if row is None else attrs.evolve(job, cancellation=_cancellation(row, job.key))

    def mark_cancelled(self, job: Job, record: CancellationRecord) -> None:
        cursor = self.execute(self.queries.mark_cancelled, _recorded(record))
        _check_marked(job, cursor.rowcount)


class _AsyncJobs(_AsyncStatements):
    async def lock(self, key: JobKey) -> Job | None:
        try:
            cursor = await self.execute(self.queries.lock_job, _named(key))
        except (psycopg.DataError, UnicodeEncodeError) as error:
            if _is_of_an_id(error):
                return None
            raise
        row = await cursor.fetchone()
        job = None if row is None else _job(row, key, self.queries.schema)
        if job is None or job.status != JobStatus.CANCELLED:
            return job
        cursor = await self.execute(self.queries.read_cancellation, _named_in_record(job.key))
        row = await cursor.fetchone()
        return job if row is None else attrs.evolve(job, cancellation=_cancellation(row, job.key))

    async def mark_cancelled(self, job: Job, record: CancellationRecord) -> None:
        cursor = await self.execute(self.queries.mark_cancelled, _recorded(record))
        _check_marked(job, cursor.rowcount)


class _Contacts(_Statements):
    def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> int:
        statement = self.queries.cancel_contacts(frozenset(statuses))
        return self.execute(statement, _named(key)).rowcount


class _AsyncContacts(_AsyncStatements):
    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> int:
        statement = self.queries.cancel_contacts(frozenset(statuses))
        return (await self.execute(statement, _named(key))).rowcount


class _Outbox(_Statements):
    def settle(self, record: CancellationRecord) -> None:
        self.execute(self.queries.settle_cancellation, _recorded(record))

    def take(
        self, limit: int, lease: timedelta, *, announcements: bool
    ) -> list[CancellationRecord]:
        parameters: _Parameters = {
            "limit": limit,
            "lease": lease,
            "announcements": announcements,
        }
        cursor = self.execute(self.queries.take_owing, parameters)
        return [_owing(row) for row in cursor.fetchall()]


class _AsyncOutbox(_AsyncStatements):
    async def settle(self, record: CancellationRecord) -> None:
        await self.execute(self.queries.settle_cancellation, _recorded(record))

    async def take(
        self, limit: int, lease: timedelta, *, announcements: bool
    ) -> list[CancellationRecord]:
        parameters: _Parameters = {
            "limit": limit,
            "lease": lease,
            "announcements": announcements,
        }
        cursor = await self.execute(self.queries.take_owing, parameters)
        return [_owing(row) for row in await cursor.fetchall()]


class _Inspection(_Statements):
    def look(self, limit: int, statuses: AbstractSet[ContactStatus]) -> Inventory:
        statement = self.queries.look(frozenset(statuses))
        cursor = self.execute(statement, {"limit": limit})
        return _inventory(cursor.fetchall())


_PARAMETERS_MAX: Final = 60_000
"""The most values in one statement; the wire format counts them in 16 bits."""


def _settled(key: JobKey, contact_id: str, settlement: Settlement) -> _Parameters:
    return {**_named(key), "contact_id": contact_id, "retry_at": settlement.retry_at}


def _inserts(
    queries: Queries, key: JobKey, contacts: Sequence[Mapping[str, object]]
) -> Iterator[tuple[sql.SQL, list[object]]]:
    """Give as few statements as add these contacts, in their order, each with its values."""
    for columns, group in groupby(contacts, key=tuple):
        rows = list(group)
        rows_max = _PARAMETERS_MAX // (1 + len(columns))
        for start in range(0, len(rows), rows_max):
            some = rows[start : start + rows_max]
            values = [
                value
                for row in some
                for value in (key.batch_job_id, *(row[column] for column in columns))
            ]
            yield queries.append_contacts(columns, len(some)), values


@contextmanager
def _unknown_ids(key: JobKey) -> Generator[None]:
    """Take an id that no column can hold for that of a job that is not there."""
    try:
        yield
    except (psycopg.DataError, UnicodeEncodeError) as error:
        if _is_of_an_id(error):
            raise JobNotFound(key) from error
        raise


def _is_of_an_id(error: psycopg.DataError | UnicodeEncodeError) -> bool:
    """
    Tell whether an id is no uuid, no number, or no text in this encoding: no row can have it.

    Postgres says so of a parameter, `$1`; psycopg before it asks. Every other such error is that
    of a constant, of which an enum knows nothing, or of a policy.
    """
    if isinstance(error, UnicodeEncodeError) or error.sqlstate is None:
        return True
    return re.search(r"\$\d", error.diag.context or "") is not None


@contextmanager
def _contacts_refused() -> Generator[None]:
    """Say what kind of fault it is, and not the value: it may be a phone number."""
    try:
        yield
    except (psycopg.DataError, psycopg.IntegrityError, UnicodeEncodeError) as error:
        reason = f"Postgres refused a contact to be added ({type(error).__name__})"
        raise StoreFailed(reason) from error


class _Work(_Statements):
    def start(self, key: JobKey, statuses: AbstractSet[JobStatus]) -> bool:
        with _unknown_ids(key):
            cursor = self.execute(self.queries.start_job(frozenset(statuses)), _named(key))
        return cursor.rowcount == 1

    def claim(self, key: JobKey, statuses: AbstractSet[ContactStatus], limit: int) -> list[str]:
        statement = self.queries.claim_contacts(frozenset(statuses))
        with _unknown_ids(key):
            cursor = self.execute(statement, {**_named(key), "limit": limit})
        return [contact_id for (contact_id,) in cursor.fetchall()]

    def settle(self, key: JobKey, contact_id: str, settlement: Settlement) -> bool:
        statement = self.queries.settle_contact(settlement.status)
        with _unknown_ids(key):
            cursor = self.execute(statement, _settled(key, contact_id, settlement))
        return cursor.rowcount == 1

    def append(self, job: Job, contacts: Sequence[Mapping[str, object]]) -> int:
        added = 0
        for statement, values in _inserts(self.queries, job.key, contacts):
            with _contacts_refused():
                cursor = self.execute(statement, values)
            added += cursor.rowcount
        return added

    def finish(self, key: JobKey, unfinished: AbstractSet[ContactStatus]) -> bool:
        lock, finish = self.queries.finish_job(frozenset(unfinished))
        with _unknown_ids(key):
            cursor = self.execute(lock, _named(key))
        if not cursor.rowcount:
            return False
        cursor = self.execute(finish, _named(key))
        return cursor.rowcount == 1

    def status(self, key: JobKey) -> str | None:
        with _unknown_ids(key):
            cursor = self.execute(self.queries.read_status, _named(key))
        row = cursor.fetchone()
        return None if row is None else self.queries.schema.read_job_status(row[0])


class _AsyncWork(_AsyncStatements):
    async def start(self, key: JobKey, statuses: AbstractSet[JobStatus]) -> bool:
        with _unknown_ids(key):
            cursor = await self.execute(self.queries.start_job(frozenset(statuses)), _named(key))
        return cursor.rowcount == 1

    async def claim(
        self, key: JobKey, statuses: AbstractSet[ContactStatus], limit: int
    ) -> list[str]:
        statement = self.queries.claim_contacts(frozenset(statuses))
        with _unknown_ids(key):
            cursor = await self.execute(statement, {**_named(key), "limit": limit})
        return [contact_id for (contact_id,) in await cursor.fetchall()]

    async def settle(self, key: JobKey, contact_id: str, settlement: Settlement) -> bool:
        statement = self.queries.settle_contact(settlement.status)
        with _unknown_ids(key):
            cursor = await self.execute(statement, _settled(key, contact_id, settlement))
        return cursor.rowcount == 1

    async def append(self, job: Job, contacts: Sequence[Mapping[str, object]]) -> int:
        added = 0
        for statement, values in _inserts(self.queries, job.key, contacts):
            with _contacts_refused():
                cursor = await self.execute(statement, values)
            added += cursor.rowcount
        return added

    async def finish(self, key: JobKey, unfinished: AbstractSet[ContactStatus]) -> bool:
        lock, finish = self.queries.finish_job(frozenset(unfinished))
        with _unknown_ids(key):
            cursor = await self.execute(lock, _named(key))
        if not cursor.rowcount:
            return False
        cursor = await self.execute(finish, _named(key))
        return cursor.rowcount == 1

    async def status(self, key: JobKey) -> str | None:
        with _unknown_ids(key):
            cursor = await self.execute(self.queries.read_status, _named(key))
        row = await cursor.fetchone()
        return None if row is None else self.queries.schema.read_job_status(row[0])


class _AsyncInspection(_AsyncStatements):
    async def look(self, limit: int, statuses: AbstractSet[ContactStatus]) -> Inventory:
        statement = self.queries.look(frozenset(statuses))
        cursor = await self.execute(statement, {"limit": limit})
        return _inventory(await cursor.fetchall())


class PostgresRepositories:
    """What one transaction on Postgres can reach."""

    def __init__(self, connection: psycopg.Connection[Any], schema: PostgresSchema) -> None:
        queries = queries_for(schema)
        self.jobs = _Jobs(connection, queries)
        self.contacts = _Contacts(connection, queries)
        self.outbox = _Outbox(connection, queries)
        self.inspection = _Inspection(connection, queries)
        self.work = _Work(connection, queries)


class AsyncPostgresRepositories:
    """What one transaction on Postgres can reach."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], schema: PostgresSchema) -> None:
        queries = queries_for(schema)
        self.jobs = _AsyncJobs(connection, queries)
        self.contacts = _AsyncContacts(connection, queries)
        self.outbox = _AsyncOutbox(connection, queries)
        self.inspection = _AsyncInspection(connection, queries)
        self.work = _AsyncWork(connection, queries)


class PostgresUnitOfWork:
    """
    Transactions of our own, each on a connection from `connect`.

    Arguments:
        connect: gives a new connection, or one from a pool: `lambda: psycopg.connect(dsn)`, or the
            `connection` method of a psycopg_pool pool. It is closed, or given back, after each
            transaction. How long it takes is for it to bound: psycopg by `connect_timeout` (130 s
            unless said), a pool by `timeout` (30 s).
        schema: the names of your tables and columns.
        lock_timeout: how long to wait for the job's row.
        statement_timeout: how long one statement may take, and the transaction may be idle. A
            server that answers nothing at all is left after both timeouts together: its
            connection is cut.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractContextManager[psycopg.Connection[Any]]],
        schema: PostgresSchema = _DEFAULT_SCHEMA,
        *,
        lock_timeout: timedelta = timedelta(seconds=5),
        statement_timeout: timedelta = timedelta(seconds=60),
    ) -> None:
        self._connect = connect
        self._schema = schema
        self._terms = _terms(lock_timeout, statement_timeout)
        self._patience_seconds = (lock_timeout + statement_timeout).total_seconds()

    @contextmanager
    def begin(self) -> Generator[PostgresRepositories]:
        """Open a transaction: commit on a clean exit, roll back on any exception."""
        with translated() as progress:  # noqa: SIM117  # Its async twin can't be one statement.
            with self._connected() as connection:
                progress.phase = "working"
                _check_idle(connection)
                with cut_after(self._patience_seconds, connection, progress.note_cut):
                    with connection.transaction():
                        cursor = psycopg.Cursor(connection)
                        cursor.execute(self._terms, prepare=False)
                        yield PostgresRepositories(connection, self._schema)
                        progress.phase = "committing"
                    _check_committed(connection)
                    progress.phase = "committed"

    def check(self) -> list[str]:
        """
        Name in sentences what the library misses in this database; nothing is changed.

        An empty list says that it is fit: ask when your program starts. That an index is missing
        makes a cancel slow; everything else makes it fail.
        """
        return self.examine().problems

    def examine(self) -> Diagnosis:
        """Say in sentences what fits, what is missing and what is slow; nothing is changed."""
        try:
            with self.begin() as repositories:
                return examined(self._schema, Catalog(repositories.jobs.connection))
        except StoreFailed as error:
            return Diagnosis(missing=(error.reason,))

    @contextmanager
    def _connected(self) -> Generator[psycopg.Connection[Any]]:
        """Connect, and pass over what a pool has kept although the server has closed it."""
        for _ in range(_BROKEN_MAX):
            with self._connect() as connection:
                if not _is_broken(connection):
                    yield connection
                    return
        raise lost()

    def pause(self, attempts: int) -> None:
        """Wait a little before another attempt, longer the more were made."""
        time.sleep(_pause_seconds(attempts))


class AsyncPostgresUnitOfWork:
    """
    Transactions of our own, each on a connection from `connect`.

    Arguments:
        connect: gives a new connection, or one from a pool:
            `lambda: psycopg.AsyncConnection.connect(dsn)`, or the `connection` method of a
            psycopg_pool pool. It is closed, or given back, after each transaction. How long it
            takes is for it to bound: psycopg by `connect_timeout` (130 s unless said), a pool by
            `timeout` (30 s).
        schema: the names of your tables and columns.
        lock_timeout: how long to wait for the job's row.
        statement_timeout: how long one statement may take, and the transaction may be idle. A
            server that answers nothing at all is left after both timeouts together: its
            connection is cut.
    """

    def __init__(
        self,
        connect: Callable[
            [],
            AbstractAsyncContextManager[psycopg.AsyncConnection[Any]]
            | Awaitable[psycopg.AsyncConnection[Any]],
        ],
        schema: PostgresSchema = _DEFAULT_SCHEMA,
        *,
        lock_timeout: timedelta = timedelta(seconds=5),
        statement_timeout: timedelta = timedelta(seconds=60),
    ) -> None:
        self._connect = connect
        self._schema = schema
        self._terms = _terms(lock_timeout, statement_timeout)
        self._patience_seconds = (lock_timeout + statement_timeout).total_seconds()

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[AsyncPostgresRepositories]:
        """Open a transaction: commit on a clean exit, roll back on any exception."""
        with translated() as progress:
            async with self._connected() as connection:
                progress.phase = "working"
                _check_idle(connection)
                with cut_after(self._patience_seconds, connection, progress.note_cut):
                    async with connection.transaction():
                        cursor = psycopg.AsyncCursor(connection)
                        await cursor.execute(self._terms, prepare=False)
                        yield AsyncPostgresRepositories(connection, self._schema)
                        progress.phase = "committing"
                    _check_committed(connection)
                    progress.phase = "committed"

    async def check(self) -> list[str]:
        """
        Name in sentences what the library misses in this database; nothing is changed.

        An empty list says that it is fit: ask when your program starts. That an index is missing
        makes a cancel slow; everything else makes it fail.
        """
        return (await self.examine()).problems

    async def examine(self) -> Diagnosis:
        """Say in sentences what fits, what is missing and what is slow; nothing is changed."""
        try:
            async with self.begin() as repositories:
                return await examined_async(
                    self._schema, AsyncCatalog(repositories.jobs.connection)
                )
        except StoreFailed as error:
            return Diagnosis(missing=(error.reason,))

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator[psycopg.AsyncConnection[Any]]:
        """Connect, and pass over what a pool has kept although the server has closed it."""
        for _ in range(_BROKEN_MAX):
            async with await _awaited(self._connect()) as connection:
                if not _is_broken(connection):
                    yield connection
                    return
        raise lost()

    async def pause(self, attempts: int) -> None:
        """Wait a little before another attempt, longer the more were made."""
        await asyncio.sleep(_pause_seconds(attempts))


@attrs.frozen
class _Joined:
    connection: psycopg.Connection[Any]
    schema: PostgresSchema
    is_joined = True

    @contextmanager
    def begin(self) -> Generator[PostgresRepositories]:
        with translated() as progress:
            progress.phase = "working"
            _check_transaction(self.connection)
            cursor = psycopg.Cursor(self.connection, row_factory=tuple_row)
            cursor.execute("SHOW transaction_isolation", prepare=False)
            _check_isolation(cursor.fetchone())
            with self.connection.transaction():
                yield PostgresRepositories(self.connection, self.schema)


@attrs.frozen
class _AsyncJoined:
    connection: psycopg.AsyncConnection[Any]
    schema: PostgresSchema
    is_joined = True

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[AsyncPostgresRepositories]:
        with translated() as progress:
            progress.phase = "working"
            _check_transaction(self.connection)
            cursor = psycopg.AsyncCursor(self.connection, row_factory=tuple_row)
            await cursor.execute("SHOW transaction_isolation", prepare=False)
            _check_isolation(await cursor.fetchone())
            async with self.connection.transaction():
                yield AsyncPostgresRepositories(self.connection, self.schema)


def joining(
    connection: psycopg.Connection[Any], schema: PostgresSchema = _DEFAULT_SCHEMA
) -> _Joined:
    """
    Give a unit of work that is a savepoint in the caller's open transaction.

    The caller's commit is the moment of cancellation, his rollback undoes it. Django and
    SQLAlchemy begin their transactions lazily; that is taken care of. Timeouts stay the caller's
    own.

    Arguments:
        connection: the caller's; it is neither committed nor closed.
        schema: the names of your tables and columns.

    Raises:
        StoreFailed: on `begin`, if the connection commits by itself and is in no transaction, or
            its transaction is REPEATABLE READ or SERIALIZABLE.
    """
    return _Joined(connection, schema)


def joining_async(
    connection: psycopg.AsyncConnection[Any], schema: PostgresSchema = _DEFAULT_SCHEMA
) -> _AsyncJoined:
    """
    Give a unit of work that is a savepoint in the caller's open transaction.

    The caller's commit is the moment of cancellation, his rollback undoes it. Django and
    SQLAlchemy begin their transactions lazily; that is taken care of. Timeouts stay the caller's
    own.

    Arguments:
        connection: the caller's; it is neither committed nor closed.
        schema: the names of your tables and columns.

    Raises:
        StoreFailed: on `begin`, if the connection commits by itself and is in no transaction, or
            its transaction is REPEATABLE READ or SERIALIZABLE.
    """
    return _AsyncJoined(connection, schema)


_AnyConnection = psycopg.Connection[Any] | psycopg.AsyncConnection[Any]


def _is_broken(connection: _AnyConnection) -> bool:
    """Tell, without asking the server, whether it has closed the connection meanwhile."""
    try:
        for _ in ("its last words", "the end"):
            connection.pgconn.consume_input()
    except psycopg.OperationalError:
        return True
    return False


def _check_idle(connection: _AnyConnection) -> None:
    match connection.info.transaction_status:
        case TransactionStatus.IDLE:
            return
        case TransactionStatus.UNKNOWN:
            raise lost()
        case _:
            msg = (
                "`connect` gave a connection that is in a transaction already: to cancel within "
                "your own transaction use joining(connection)"
            )
            raise StoreFailed(msg)


def _check_committed(connection: _AnyConnection) -> None:
    # psycopg's `transaction` ends without a word, and without a COMMIT, on a connection that
    # somebody has closed meanwhile.
    if connection.info.transaction_status != TransactionStatus.IDLE:
        msg = "the connection was closed before the commit was confirmed"
        raise psycopg.OperationalError(msg)


def _check_transaction(connection: _AnyConnection) -> None:
    """
    Refuse a connection that is in no transaction, and will begin none with its next statement.

    That statement is ours: were the savepoint the first, it would be a transaction of its own.
    """
    if connection.info.transaction_status == TransactionStatus.IDLE and connection.autocommit:
        msg = (
            "joining() needs a connection with an open transaction, and this one commits by "
            "itself: open one, or use PostgresUnitOfWork"
        )
        raise StoreFailed(msg)


def _check_isolation(row: _Row | None) -> None:
    """Refuse a transaction that would not see the contacts that came in during a wait."""
    if row not in {("read committed",), ("read uncommitted",)}:
        level = row[0] if row else None
        msg = (
            f"joining() needs a READ COMMITTED transaction, and this one is {shown(level)}: it "
            "would leave contacts behind that came in while it waited for the job"
        )
        raise StoreFailed(msg)


def _check_marked(job: Job, rows_changed: int) -> None:
    if rows_changed != 1:
        msg = (
            f"marking the locked job changed {rows_changed} rows instead of 1: a trigger or a "
            f"policy is in the way, or organization {shown(job.key.organization_id)} has several "
            "jobs of this id"
        )
        raise StoreFailed(msg)


def _pause_seconds(attempts: int) -> float:
    # About 25, 50, 100 ... ms, each somewhere between its half and its whole: those who met once
    # should not meet again. Six attempts outlast a server's restart, and take 0.8 s at most.
    seconds: float = 0.025 * 2 ** (attempts - 1)
    return seconds * random.uniform(0.5, 1)  # noqa: S311  # No secret.


def _terms(lock_timeout: timedelta, statement_timeout: timedelta) -> sql.SQL:
    """Give what is said at the beginning of each transaction of ours, and holds in it alone."""
    milliseconds = {
        "lock_timeout": lock_timeout,
        "statement_timeout": statement_timeout,
        "idle_in_transaction_session_timeout": statement_timeout,
    }
    timeouts = "; ".join(
        f"SET LOCAL {name} = {max(1, value // timedelta(milliseconds=1))}"
        for name, value in milliseconds.items()
    )
    # All other values of synchronous_commit than off wait for this server's disk already.
    durably = (
        "SELECT set_config('synchronous_commit', 'on', true) "
        "WHERE current_setting('synchronous_commit') = 'off'"
    )
    # Read committed whatever the connection's default: under a higher level the statements after
    # the wait for the job's lock would see the contacts from before it, and leave those that came
    # in meanwhile. One string without parameters: one round trip.
    return trusted(f"SET TRANSACTION ISOLATION LEVEL READ COMMITTED; {timeouts}; {durably}")


async def _awaited(
    connection: AbstractAsyncContextManager[psycopg.AsyncConnection[Any]]
    | Awaitable[psycopg.AsyncConnection[Any]],
) -> AbstractAsyncContextManager[psycopg.AsyncConnection[Any]]:
    """Take a pool's context manager as it is, and wait for a new connection."""
    if isinstance(connection, Awaitable):
        return await connection
    return connection
