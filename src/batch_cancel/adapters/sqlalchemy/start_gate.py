"""The start gate in a table that SQLAlchemy reaches: of a cancel and a start exactly one wins."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs
import sqlalchemy as sa
from sqlalchemy import Connection, exc
from sqlalchemy.dialects import mysql

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
from batch_cancel.adapters.sqlalchemy.columns import Moment, Word, is_mysql
from batch_cancel.adapters.sqlalchemy.dialects import database_of
from batch_cancel.adapters.sqlalchemy.facts import Seen, name_parts
from batch_cancel.adapters.sqlalchemy.repositories import bridged
from batch_cancel.adapters.sqlalchemy.statements import Statements
from batch_cancel.adapters.sqlalchemy.unit_of_work import (
    AsyncSqlAlchemyUnitOfWork,
    SqlAlchemyUnitOfWork,
)
from batch_cancel.domain.defaults import RETENTION
from batch_cancel.domain.diagnosis import Findings, not_granted
from batch_cancel.domain.job import ID_BYTES_MAX
from batch_cancel.use_cases.run_blocking import run


class StartId(sa.types.TypeDecorator[str]):
    """An id of a start; in MariaDB and MySQL its bytes, whose order no collation changes."""

    impl: sa.types.TypeEngine[Any] | type[sa.types.TypeEngine[Any]] = sa.Text
    cache_ok: bool | None = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """Return the type of this database."""
        if is_mysql(dialect):
            return dialect.type_descriptor(mysql.VARBINARY(ID_BYTES_MAX))
        return super().load_dialect_impl(dialect)

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> Any:  # noqa: ANN401  # A text, or its bytes.
        """Return the id as this database keeps it."""
        return value.encode() if value is not None and is_mysql(dialect) else value

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> str | None:  # noqa: ANN401
        """Return the id."""
        return bytes(value).decode() if value is not None and is_mysql(dialect) else value


def start_gates_table(metadata: sa.MetaData, name: str = START_GATES) -> sa.Table:
    """
    Return the table of `SqlStartGate`, for your migrations.

    On Postgres it equals the one that `batch-cancel schema --start-gates` prints.

    Arguments:
        metadata: yours.
        name: of the table.
    """
    table = sa.Table(
        name,
        metadata,
        sa.Column("deferred_id", StartId, primary_key=True),
        sa.Column("state", Word, nullable=False),
        sa.Column("operation_id", Word(None)),
        sa.Column("forget_at", Moment, nullable=False),
        mysql_engine="InnoDB",
        mariadb_engine="InnoDB",
    )
    is_known = table.c.state.in_(sorted(GateState))
    table.append_constraint(sa.CheckConstraint(is_known, name=f"{name}_state_check"))
    sa.Index(f"{name}_by_age", table.c.forget_at)
    return table


@attrs.frozen
class _Rows:
    """The rows of the gate in one transaction."""

    connection: Connection
    gates: sa.Table
    seen: Seen

    async def now(self) -> datetime:
        return database_of(self.connection.dialect).now(self.connection)

    async def change(self, deferred_id: str, states: Collection[GateState], to: Row) -> bool:
        its = self.gates.c
        until = sa.literal(to.forget_at, Moment)
        values: dict[str, Any] = {
            "state": to.state.value,
            "forget_at": sa.case((its.forget_at > until, its.forget_at), else_=until),
        }
        if to.operation_id is not None:
            values["operation_id"] = to.operation_id
        changed = (
            sa.update(self.gates)
            .where(its.deferred_id == deferred_id, its.state.in_(sorted(states)))
            .values(**values)
        )
        if self.connection.execute(changed).rowcount == 1:
            return True
        return to.state in states and self._is_already(deferred_id, to)

    def _is_already(self, deferred_id: str, to: Row) -> bool:
        """Check for a row that is as it was to be: MariaDB may count only those that change."""
        if not is_mysql(self.connection.dialect):
            return False
        its = self.gates.c
        is_so = sa.and_(its.state == to.state.value, its.forget_at >= to.forget_at)
        asked = sa.select(sa.literal(1)).where(its.deferred_id == deferred_id, is_so)
        return self.connection.execute(asked).first() is not None

    async def add(self, deferred_id: str, row: Row) -> bool:
        values = {**attrs.asdict(row), "deferred_id": deferred_id, "state": row.state.value}
        database = database_of(self.connection.dialect)
        return database.added(self.connection, self.gates, values)

    async def read(self, deferred_id: str) -> tuple[str, str | None] | None:
        its = self.gates.c
        asked = sa.select(its.state, its.operation_id).where(its.deferred_id == deferred_id)
        row = self.connection.execute(asked).first()
        return None if row is None else (row[0], row[1])

    async def armed_among(self, deferred_ids: Sequence[str]) -> set[str]:
        its = self.gates.c
        armed = its.deferred_id.in_(deferred_ids), its.state == GateState.ARMED.value
        return set(self.connection.execute(sa.select(its.deferred_id).where(*armed)).scalars())

    async def forget(self, before: datetime, limit: int) -> None:
        its = self.gates.c
        old = (
            sa.select(its.deferred_id)
            .where(its.forget_at < before)
            .order_by(its.forget_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        database_of(self.connection.dialect).delete(self.connection, self.gates, old)

    async def check(self) -> list[str]:
        return list(_problems(self.connection, self.gates, self.seen))


def _problems(connection: Connection, gates: sa.Table, seen: Seen) -> Iterator[str]:
    """Yield what is wrong."""
    database, found = database_of(connection.dialect), Findings()
    database.see_server(connection, seen, found)
    yield from found.missing
    schema, name = name_parts(connection, gates)
    table, inspector = ".".join(filter(None, (schema, name))), sa.inspect(connection)
    try:
        there = {it["name"] for it in inspector.get_columns(name, schema=schema)}
    except exc.NoSuchTableError:
        yield (
            f"table {table} is missing: let your migrations create the table of "
            "start_gates_table(metadata)"
        )
        return
    names = [it.name for it in gates.columns]
    if missing := [it for it in names if it not in there]:
        yield f"table {table} lacks columns: {', '.join(missing)}"
        return
    if inspector.get_pk_constraint(name, schema=schema)["constrained_columns"] != [names[0]]:
        yield (
            f"{names[0]} is not the primary key of {table}, so that two could decide on one start"
        )
    # SQLAlchemy 2.0 knows none of another database.
    options = (
        inspector.get_table_options(name, schema=schema) if is_mysql(connection.dialect) else {}
    )
    for key, engine in options.items():
        if key.endswith("_engine") and engine != "InnoDB":
            yield f"{table} is kept by {engine}, which has no transactions: use InnoDB"
    if denied := [*_not_allowed(connection, gates, table)]:
        yield from denied
    elif _finds_equal(connection, gates):
        yield (
            f"column {names[0]} of {table} takes different ids for one, such as 'a' and 'A': "
            "create the table as start_gates_table(metadata) does"
        )
    if found.missing:
        return  # Nothing can be deleted here, whoever connects.
    try:
        with connection.begin_nested():
            connection.execute(sa.delete(gates).where(sa.false()))
    except exc.DBAPIError:
        yield f"the user that connects may not DELETE old rows of {table}"


def _not_allowed(connection: Connection, gates: sa.Table, table: str) -> Iterator[str]:
    """Yield the privileges that are missing."""
    names = [it.name for it in gates.columns]
    for privilege in ("SELECT", "INSERT", "UPDATE"):
        lacking = database_of(connection.dialect).lacking(connection, gates, names, privilege)
        if lacking:
            yield not_granted(privilege, lacking, table)


def _finds_equal(connection: Connection, gates: sa.Table) -> bool:
    """Check whether the column finds ids equal that differ in case, or in trailing blanks."""
    # A column of a UNION compares like the column of its first part.
    none: sa.Select[Any] = sa.select(gates.c.deferred_id.label("it")).where(sa.false())
    one: sa.Select[Any] = sa.select(sa.literal_column("'a'"))
    it = sa.union_all(none, one).limit(1).subquery().c.it
    others = (it == sa.literal_column(other) for other in ("'A'", "'a '"))
    return any(connection.execute(sa.select(*others)).one())


@attrs.frozen
class _Transactions:
    """Transactions of the gate's own."""

    uow: SqlAlchemyUnitOfWork
    gates: sa.Table

    async def commit(self, step: Step[T]) -> T:
        with self.uow.begin() as repositories:
            return _done(repositories.jobs, self.gates, step)

    def pause(self, attempts: int) -> None:
        self.uow.pause(attempts)


@attrs.frozen
class _AsyncTransactions:
    uow: AsyncSqlAlchemyUnitOfWork
    gates: sa.Table

    async def commit(self, step: Step[T]) -> T:
        async with self.uow.begin() as repositories:
            return await bridged(repositories, lambda its: _done(its, self.gates, step))

    async def pause(self, attempts: int) -> None:
        await self.uow.pause(attempts)


def _done(its: Statements, gates: sa.Table, step: Step[T]) -> T:
    """Return the answer of a step; on an asyncio engine this runs over its bridge."""
    return run(step(_Rows(its.connection, gates, its.seen)))


class SqlStartGate(GateCalls):
    """
    A gate for the deferred starts of any scheduler, in a table of your database.

    Arguments:
        uow: opens the gate's transactions; its timeouts bound each.
        gates: the table, from `start_gates_table`.
        retention: how late a start may fire and still be known to the gate. With
            `armed_only=False` also how far ahead an unarmed start may be scheduled.
        armed_only: whether an unknown start is refused. With False it passes, even if it was
            cancelled and its row is lost.

    Raises:
        TypeError: `uow` is no `SqlAlchemyUnitOfWork`; what `joining` returns is not, for an answer
            counts only once it is committed.
        ValueError: the retention is not positive, or longer than a century.
    """

    def __init__(
        self,
        uow: SqlAlchemyUnitOfWork,
        gates: sa.Table,
        *,
        retention: timedelta = RETENTION,
        armed_only: bool = True,
    ) -> None:
        check_own(uow, SqlAlchemyUnitOfWork)
        transactions = _Transactions(uow, gates)
        super().__init__(SqlGate(transactions, retention, armed_only))


class AsyncSqlStartGate(SqlGate):
    """As `SqlStartGate`, awaited."""

    def __init__(
        self,
        uow: AsyncSqlAlchemyUnitOfWork,
        gates: sa.Table,
        *,
        retention: timedelta = RETENTION,
        armed_only: bool = True,
    ) -> None:
        check_own(uow, AsyncSqlAlchemyUnitOfWork)
        transactions = _AsyncTransactions(uow, gates)
        super().__init__(transactions, retention, armed_only)
