"""The start gate in a table of Postgres: of a cancel and a start exactly one wins."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import attrs
from psycopg import sql

from batch_cancel.adapters.postgres.schema import Table
from batch_cancel.adapters.postgres.sql_parts import PACKAGE, quoted, trusted, typed
from batch_cancel.adapters.postgres.transaction import Transaction
from batch_cancel.adapters.postgres.unit_of_work import AsyncPostgresUnitOfWork, PostgresUnitOfWork
from batch_cancel.adapters.sql_files import statements
from batch_cancel.adapters.sql_gate import (
    START_GATES,
    GateCalls,
    GateState,
    Row,
    SqlGate,
    Step,
    T,
    check_own,
)
from batch_cancel.domain.defaults import RETENTION

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _statements(table: Table) -> Mapping[str, sql.SQL]:
    """Return the statements on a table of this name."""
    name = quoted(table)
    names = {"gates": name, "named": sql.Literal(typed(name))}
    return {
        key: trusted(trusted(text).format(**names).as_string(None))
        for key, text in statements(PACKAGE, "start_gate.sql").items()
    }


@attrs.frozen
class _Rows:
    """The rows of the gate in one transaction."""

    transaction: Transaction
    sql: Mapping[str, sql.SQL]

    async def now(self) -> datetime:
        row = await (await self.transaction.ask(self.sql["now"], {})).row()
        return _EPOCH + timedelta(microseconds=int(row[0] if row else 0))

    async def change(self, deferred_id: str, states: Collection[GateState], to: Row) -> bool:
        its = {**attrs.asdict(to), "deferred_id": deferred_id, "states": sorted(states)}
        return (await self.transaction.send(self.sql["change"], its)).rowcount == 1

    async def add(self, deferred_id: str, row: Row) -> bool:
        its = {**attrs.asdict(row), "deferred_id": deferred_id}
        return (await self.transaction.send(self.sql["add"], its)).rowcount == 1

    async def read(self, deferred_id: str) -> tuple[str, str | None] | None:
        its = {"deferred_id": deferred_id}
        row = await (await self.transaction.send(self.sql["read"], its)).row()
        return None if row is None else (row[0], row[1])

    async def armed_among(self, deferred_ids: Sequence[str]) -> set[str]:
        its = {"deferred_ids": list(deferred_ids)}
        answer = await self.transaction.send(self.sql["armed"], its)
        return {row[0] for row in await answer.rows()}

    async def forget(self, before: datetime, limit: int) -> None:
        its = {"before": before, "limit": limit}
        await self.transaction.send(self.sql["forget"], its)

    async def check(self) -> list[str]:
        row = await (await self.transaction.send(self.sql["check"])).row()
        return list(_problems(*row)) if row else []


def _problems(
    is_seen: bool,  # noqa: FBT001  # A row's columns, in their order.
    missing: list[str],
    is_unique: bool,  # noqa: FBT001
    denied: list[str],
    is_read_only: bool,  # noqa: FBT001
) -> Iterator[str]:
    """Yield what is wrong."""
    if is_read_only:
        yield "Postgres is read-only here: connect to the primary, as a user that may write"
    if not is_seen:
        yield (
            "the table of the start gate is missing: create it by batch-cancel schema "
            "--start-gates, or pass its name with table=..."
        )
        return
    if missing:
        yield f"the table of the start gate lacks columns: {', '.join(missing)}"
    elif not is_unique:
        yield (
            "deferred_id is not unique in the table of the start gate, so that two could decide "
            "on one start: make it the primary key"
        )
    if denied:
        yield f"the user that connects may not {', '.join(denied)} in the table of the start gate"


@attrs.frozen
class _Transactions:
    """Transactions of the gate's own."""

    uow: PostgresUnitOfWork
    sql: Mapping[str, sql.SQL]

    async def commit(self, step: Step[T]) -> T:
        with self.uow.begin() as repositories:
            return await step(_Rows(repositories.transaction, self.sql))

    def pause(self, attempts: int) -> None:
        self.uow.pause(attempts)


@attrs.frozen
class _AsyncTransactions:
    uow: AsyncPostgresUnitOfWork
    sql: Mapping[str, sql.SQL]

    async def commit(self, step: Step[T]) -> T:
        async with self.uow.begin() as repositories:
            return await step(_Rows(repositories.transaction, self.sql))

    async def pause(self, attempts: int) -> None:
        await self.uow.pause(attempts)


class SqlStartGate(GateCalls):
    """
    A gate for the deferred starts of any scheduler, in a table of Postgres.

    Arguments:
        uow: opens the gate's transactions; its timeouts bound each. Another database than that of
            the jobs may be behind it.
        table: the name of the table that `batch-cancel schema --start-gates` creates, or its
            schema and name.
        retention: how late a start may fire and still be known to the gate. With
            `armed_only=False` also how far ahead an unarmed start may be scheduled.
        armed_only: whether an unknown start is refused. With False it passes, even if it was
            cancelled and its row is lost.

    Raises:
        TypeError: `uow` is no `PostgresUnitOfWork`; what `joining` returns is not, for an answer
            counts only once it is committed.
        ValueError: the retention is not positive, or longer than a century.
    """

    def __init__(
        self,
        uow: PostgresUnitOfWork,
        *,
        table: Table = START_GATES,
        retention: timedelta = RETENTION,
        armed_only: bool = True,
    ) -> None:
        check_own(uow, PostgresUnitOfWork)
        transactions = _Transactions(uow, _statements(table))
        super().__init__(SqlGate(transactions, retention, armed_only))


class AsyncSqlStartGate(SqlGate):
    """As `SqlStartGate`, awaited."""

    def __init__(
        self,
        uow: AsyncPostgresUnitOfWork,
        *,
        table: Table = START_GATES,
        retention: timedelta = RETENTION,
        armed_only: bool = True,
    ) -> None:
        check_own(uow, AsyncPostgresUnitOfWork)
        transactions = _AsyncTransactions(uow, _statements(table))
        super().__init__(transactions, retention, armed_only)
