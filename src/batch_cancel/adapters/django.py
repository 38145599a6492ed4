"""
Django on Postgres: cancel on the ORM's own connection, in the transaction that `atomic()` holds.

    uow = DjangoUnitOfWork()

    with transaction.atomic():
        cancellation = cancel_rows("batch_xyz789", uow=uow)
        removal = remove_deferred_on_commit(cancellation, scheduler, uow=uow)
    removal.result

Django's connection is a psycopg connection, and the Postgres adapter does the work. This adapter
knows when Django has a transaction open, and when it needs a new connection.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, Final

import attrs
import psycopg
from django import db  # pyright: ignore[reportMissingTypeStubs]

from batch_cancel.adapters.postgres import PostgresSchema, PostgresUnitOfWork, joining
from batch_cancel.adapters.postgres.doctor.catalog import Catalog
from batch_cancel.adapters.postgres.doctor.examination import examined
from batch_cancel.adapters.postgres.errors import lost, translated
from batch_cancel.adapters.postgres.repositories import PostgresRepositories
from batch_cancel.domain.cancellation import Cancellation, CancelResult
from batch_cancel.domain.defaults import LOCK_TIMEOUT, STATEMENT_TIMEOUT
from batch_cancel.domain.diagnosis import Diagnosis
from batch_cancel.domain.errors import CancelFailed, Fault, StoreFailed, shown
from batch_cancel.domain.job import CancellationRecord
from batch_cancel.ports import Scheduler
from batch_cancel.use_cases import kinds, log
from batch_cancel.use_cases.announcement import OnCancelled
from batch_cancel.use_cases.remove_deferred import remove_deferred
from batch_cancel.use_cases.run_blocking import run

__all__ = ["DeferredRemoval", "DjangoUnitOfWork", "remove_deferred_on_commit"]

_django: Any = db  # It brings no types along.
_NOT_YET: Final = (
    "batch job {}: the result of its cancellation is not known before Django's commit: read it "
    "once the outermost atomic() has ended, or answer with present(cancellation) before (in a "
    "TestCase use captureOnCommitCallbacks(execute=True))"
)
_DROPPED: Final = (
    "Django has not run the hook that removes the deferred start, because the atomic() block of "
    "the cancellation was rolled back, or because another on_commit hook failed before it"
)


class DjangoUnitOfWork:
    """
    Transactions on Django's connection: its open transaction, or one of our own.

    Within `atomic()` it is a savepoint, and the end of the outermost `atomic()` decides; timeouts
    are the caller's own. Outside, it is a transaction of its own, as those of
    `PostgresUnitOfWork`.

    Arguments:
        schema: the names of your tables and columns.
        using: the alias of the database.
        lock_timeout: how long a transaction of our own waits for the job's row.
        statement_timeout: how long one statement may take in it, and it may be idle.
    """

    def __init__(
        self,
        schema: PostgresSchema | None = None,
        *,
        using: str = db.DEFAULT_DB_ALIAS,
        lock_timeout: timedelta = LOCK_TIMEOUT,
        statement_timeout: timedelta = STATEMENT_TIMEOUT,
    ) -> None:
        self.using = using
        self._schema = schema or PostgresSchema()
        self._own = PostgresUnitOfWork(
            self._borrowed,
            self._schema,
            lock_timeout=lock_timeout,
            statement_timeout=statement_timeout,
        )

    @property
    def is_joined(self) -> bool:
        """Whether `begin()` would open a savepoint within an `atomic()` block."""
        # The block of a TestCase around each test does not count, as for `durable`.
        blocks = _django.connections[self.using].atomic_blocks
        return any(not block._from_testcase for block in blocks)  # noqa: SLF001

    @contextmanager
    def begin(self) -> Generator[PostgresRepositories]:
        """Open a transaction or a savepoint: keep it on a clean exit, undo it on any exception."""
        wrapper = _django.connections[self.using]
        if not wrapper.in_atomic_block:
            with self._own.begin() as repositories:
                yield repositories
            return
        if wrapper.needs_rollback:
            msg = "an earlier error rolls this atomic() block back: leave it, and cancel again"
            raise StoreFailed(msg)
        with translated():
            connection = self._connection()
        with joining(connection, self._schema).begin() as repositories:
            yield repositories

    def check(self) -> list[str]:
        """
        Return in sentences what the library misses in this database, without a change.

        An empty list means that it is fit: check when your program starts. A missing index makes a
        cancel slow; everything else makes it fail.
        """
        return self.examine().problems

    def examine(self) -> Diagnosis:
        """Return in sentences what fits, what is missing and what is slow, without a change."""
        try:
            with self.begin() as repositories:
                return run(examined(self._schema, Catalog(repositories.transaction)))
        except StoreFailed as error:
            return Diagnosis(missing=(error.reason,))

    def pause(self, attempts: int) -> None:
        """Wait before another attempt; the pause grows with the number of attempts."""
        self._own.pause(attempts)

    @contextmanager
    def _borrowed(self) -> Generator[psycopg.Connection[Any]]:
        """Yield Django's connection, and let Django open a new one if it has broken."""
        connection = self._connection()
        try:
            yield connection
        finally:
            if connection.closed:
                _django.connections[self.using].close()

    def _connection(self) -> psycopg.Connection[Any]:
        wrapper = _django.connections[self.using]
        try:
            wrapper.ensure_connection()
        except db.Error as error:
            # The Postgres adapter reads the driver's own error, which Django has wrapped.
            raise error.__cause__ or lost() from None
        connection: psycopg.Connection[Any] = wrapper.connection
        if not isinstance(wrapper.connection, psycopg.Connection):
            driver = type(wrapper.connection).__module__
            msg = (
                f"Django's database {self.using!r} does not use Postgres by psycopg 3, but "
                f"{wrapper.vendor} by {driver}: install psycopg 3, or name another database by "
                "`using`"
            )
            raise StoreFailed(msg)
        return connection


class DeferredRemoval:
    """
    The removal of a deferred start, which Django runs after its commit.

    Arguments:
        record: the record of the cancellation.
        remove: removes its deferred start, if the cancellation is committed.
        using: the alias of the database.
    """

    def __init__(
        self, record: CancellationRecord, remove: Callable[[], CancelResult], using: str
    ) -> None:
        self._record = record
        self._remove = remove
        self._outcome: CancelResult | CancelFailed | None = None
        self._connection = _django.connections[using]
        _django.transaction.on_commit(self._run, using=using, robust=True)

    @property
    def result(self) -> CancelResult:
        """
        Return the result of the cancellation, whose transaction is committed.

        Raises:
            RuntimeError: the transaction is still open: ask once its outermost `atomic()` has
                ended.
            CancelFailed: the cancellation was rolled back, or Django has not run the hook that
                removes the deferred start.
        """
        match self._outcome:
            case CancelResult():
                return self._outcome
            case CancelFailed():
                raise self._outcome
            case None:
                raise self._without_outcome()

    def _run(self) -> None:
        try:
            self._outcome = self._remove()
        except CancelFailed as failure:
            log.not_committed(self._record, failure)
            self._outcome = failure

    def _without_outcome(self) -> Exception:
        # Django drops a hook together with the block that it was registered in.
        if any(hook == self._run for _, hook, *_ in self._connection.run_on_commit):
            return RuntimeError(_NOT_YET.format(shown(self._record.key.batch_job_id)))
        return CancelFailed(self._record.key, _DROPPED, "unknown", Fault.INTERRUPTED)


def remove_deferred_on_commit(
    cancellation: Cancellation,
    scheduler: Scheduler,
    *,
    uow: DjangoUnitOfWork,
    on_cancelled: OnCancelled | None = None,
) -> DeferredRemoval:
    """
    Remove the deferred start once Django has committed; not at all if it rolls back.

    A failure does not stop the other hooks of the commit: the record says what is pending, and
    reconcile finishes it. The record is read before the scheduler is asked, because Django runs
    its hooks even after a COMMIT that Postgres turned into a rollback, and the block of the
    cancellation may have been rolled back alone. Without a record the deferred start is left
    alone, and a warning is logged. Django drops the hook, without a warning, if the block in which
    it was registered is rolled back.

    Arguments:
        cancellation: what `cancel_rows` returned in this transaction.
        scheduler: the scheduler of the deferred starts.
        uow: the store of the jobs.
        on_cancelled: called with the result; `cancel_rows` must have been called with
            `announce=True`.

    Returns:
        a handle, whose `result` is available once Django has committed.

    Raises:
        TypeError: a store, a scheduler or a hook is of the wrong kind.
    """
    kinds.check_scheduler(scheduler)
    kinds.check_hook(on_cancelled)
    kinds.check_store(uow)
    if not isinstance(getattr(uow, "using", None), str):
        msg = f"the store (uow) must be a DjangoUnitOfWork, got {type(uow).__name__}"
        raise TypeError(msg)
    # Also for a cancellation on the plain connection: the transaction is Django's.
    joined = attrs.evolve(cancellation, joined=True)
    remove = partial(remove_deferred, joined, scheduler, uow=uow, on_cancelled=on_cancelled)
    return DeferredRemoval(cancellation.record, remove, uow.using)
