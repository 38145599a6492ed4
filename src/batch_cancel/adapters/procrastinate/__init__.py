"""
Deferred starts that are Procrastinate jobs: `start_campaign.configure(schedule_at=at).defer(...)`.

The id of a deferred start is the job's id, in digits. Exact with Procrastinate's workers as they
are: a job is a row, and either a cancel or a worker gets it first. Procrastinate itself is not
needed here.

    ProcrastinateScheduler(PostgresUnitOfWork(connect))    a transaction of its own
    ProcrastinateScheduler(joining(connection))            yours: your rollback undoes it
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
)
from functools import partial
from typing import Final, Protocol

from batch_cancel.adapters.missing_extra import missing_extra

try:
    from psycopg import sql
except ModuleNotFoundError as _missing:
    raise missing_extra(__name__, "procrastinate", _missing) from _missing

from batch_cancel.adapters.postgres import AsyncPostgresUnitOfWork, PostgresUnitOfWork
from batch_cancel.adapters.postgres.repositories import (
    AsyncPostgresRepositories,
    PostgresRepositories,
)
from batch_cancel.adapters.postgres.sql_parts import trusted
from batch_cancel.adapters.postgres.transaction import Transaction
from batch_cancel.adapters.sql_files import sql_text
from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.retry import ATTEMPTS_MAX
from batch_cancel.ports import SchedulerUnavailable
from batch_cancel.use_cases.run_blocking import run

__all__ = ["AsyncProcrastinateScheduler", "ProcrastinateScheduler"]

_BIGINT_MAX: Final = 2**63 - 1


def _statement(name: str) -> sql.SQL:
    return trusted(sql_text(__name__, f"{name}.sql"))


_CANCEL: Final = _statement("cancel")
_ANSWER: Final = _statement("answer")
_WAITING: Final = _statement("waiting")
_CHECK: Final = _statement("check")


class _Joined(Protocol):
    def begin(self) -> AbstractContextManager[PostgresRepositories]: ...


class _AsyncJoined(Protocol):
    def begin(self) -> AbstractAsyncContextManager[AsyncPostgresRepositories]: ...


class _Jobs:
    """
    The jobs, each step in transactions of either kind.

    Arguments:
        begun: opens a transaction, and yields it.
        is_own: whether a failed one can be retried; the caller's can't.
    """

    def __init__(
        self, begun: Callable[[], AbstractAsyncContextManager[Transaction]], *, is_own: bool
    ) -> None:
        self._begun = begun
        self._is_own = is_own

    async def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """As `ProcrastinateScheduler.cancel`, awaited."""
        if not _is_id(deferred_id):
            return False  # No job can have it.
        parameters = {"job_id": int(deferred_id), "operation_id": operation_id}
        attempts = 0
        while True:
            attempts += 1
            try:
                return await self._cancel(parameters)
            except StoreFailed as error:
                if attempts >= ATTEMPTS_MAX[error.fault] or not self._is_own:
                    raise SchedulerUnavailable(error.reason) from error

    async def _cancel(self, parameters: Mapping[str, object]) -> bool:
        async with self._begun() as transaction:
            # Two statements: the second sees what the first has waited for.
            row = await (await transaction.send(_CANCEL, parameters)).row()
            if row is None:
                row = await (await transaction.send(_ANSWER, parameters)).row()
        return row is not None and bool(row[0])

    async def waiting_among(self, deferred_ids: AbstractSet[str]) -> set[str]:
        """As `ProcrastinateScheduler.waiting_among`, awaited."""
        ids = [int(it) for it in deferred_ids if _is_id(it)]
        try:
            async with self._begun() as transaction:
                answer = await transaction.send(_WAITING, {"ids": ids})
                return {row[0] for row in await answer.rows()}
        except StoreFailed as error:
            raise SchedulerUnavailable(error.reason) from error

    async def check(self) -> list[str]:
        """As `ProcrastinateScheduler.check`, awaited."""
        try:
            async with self._begun() as transaction:
                row = await (await transaction.send(_CHECK)).row()
        except StoreFailed as error:
            return [error.reason]
        return list(_problems(*row)) if row else []


@asynccontextmanager
async def _begun(uow: PostgresUnitOfWork | _Joined) -> AsyncGenerator[Transaction]:
    with uow.begin() as repositories:
        yield repositories.transaction


@asynccontextmanager
async def _begun_async(uow: AsyncPostgresUnitOfWork | _AsyncJoined) -> AsyncGenerator[Transaction]:
    async with uow.begin() as repositories:
        yield repositories.transaction


class ProcrastinateScheduler:
    """
    Cancels jobs of Procrastinate.

    Arguments:
        uow: opens the transaction; its timeouts bound the call. The connection's search_path must
            lead to Procrastinate's tables.
    """

    def __init__(self, uow: PostgresUnitOfWork | _Joined) -> None:
        self._jobs = _Jobs(partial(_begun, uow), is_own=_is_own(uow))

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """
        Cancel the job if it waits. A job that waits for its retry has fired; it is not retried.

        Returns:
            True if this operation removed it before it fired; the same answer on every repeat.

        Raises:
            SchedulerUnavailable: no answer in time; retry with the same operation.
        """
        return run(self._jobs.cancel(deferred_id, operation_id))

    def waiting_among(self, deferred_ids: AbstractSet[str]) -> set[str]:
        """
        Return those of the jobs that wait, for their time or for a retry, without a change.

        Raises:
            SchedulerUnavailable: no answer in time.
        """
        return run(self._jobs.waiting_among(deferred_ids))

    def check(self) -> list[str]:
        """
        Return in sentences what the library misses in this database, without a change.

        An empty list means that it is fit: check when your program starts.
        """
        return run(self._jobs.check())


class AsyncProcrastinateScheduler(_Jobs):
    """As `ProcrastinateScheduler`, awaited."""

    def __init__(self, uow: AsyncPostgresUnitOfWork | _AsyncJoined) -> None:
        super().__init__(partial(_begun_async, uow), is_own=_is_own(uow))


def _problems(
    is_seen: bool,  # noqa: FBT001  # A row's columns, in their order.
    may_write: bool,  # noqa: FBT001
    missing: list[str],
    statuses: int,
    is_replica: bool,  # noqa: FBT001
) -> Iterator[str]:
    """Yield what is wrong."""
    if is_replica:
        yield "this Postgres is a standby, which refuses writes: connect to the primary"
    if not is_seen:
        yield (
            "table procrastinate_jobs is missing: apply Procrastinate's schema, or let the "
            "connection's search_path lead to it"
        )
        return
    if missing:
        columns = ", ".join(missing)
        yield f"procrastinate_jobs lacks columns that a cancel needs: {columns}"
    elif not may_write:
        yield ("the user that connects may not cancel: GRANT SELECT, UPDATE ON procrastinate_jobs")
    if statuses < len(("todo", "cancelled")):
        yield "Procrastinate's jobs have no status todo or cancelled: this version is not known"


def _is_own(uow: object) -> bool:
    return isinstance(uow, PostgresUnitOfWork | AsyncPostgresUnitOfWork)


def _is_id(text: str) -> bool:
    return re.fullmatch("[1-9][0-9]{0,18}", text) is not None and int(text) <= _BIGINT_MAX
