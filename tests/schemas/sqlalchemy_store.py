"""SQLAlchemy over a plan's tables: Tables or mapped classes, on psycopg, asyncpg and SQLite."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import AsyncGenerator, Generator
from typing import Any, Final

import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, registry
from sqlalchemy.schema import CreateIndex, CreateTable

from batch_cancel.adapters.sqlalchemy import (
    AsyncSqlAlchemyUnitOfWork,
    SqlAlchemyTables,
    SqlAlchemyUnitOfWork,
    cancellations_table,
    joining,
    joining_async,
)
from tests.schemas import ddl
from tests.schemas.plans import Column, Plan, Table
from tests.schemas.steps import AtCommit

IS_ASYNC: Final = {
    "psycopg": (False, True),
    "asyncpg": (True,),
    "pysqlite": (False,),
    "aiosqlite": (True,),
}
"""Whether steps are called blocking, with asyncio, or both, by driver."""


def tables(plan: Plan) -> SqlAlchemyTables:
    """Return the mapping as an adopter would write it."""
    is_qualified = plan.case["path"] == "qualified"
    metadata = sa.MetaData(schema=plan.schema if is_qualified else None)
    given = dict(plan.mapping)
    model = plan.case["model"]
    if model == "class with version":
        given = {name: it for name, it in given.items() if not name.endswith("_version")}
    for name, table in (("jobs", plan.jobs), ("contacts", plan.contacts)):
        made = _table(plan, table, metadata)
        given[name] = made if model == "table" else _class(plan, table, made)
    given["cancellations"] = cancellations_table(metadata, plan.cancellations)
    return SqlAlchemyTables(**given)


def our_ddl(plan: Plan) -> list[str]:
    """Return what makes the table of cancellations on SQLite."""
    ours = cancellations_table(sa.MetaData(), plan.cancellations)
    dialect = sqlite.dialect()
    each: list[Any] = [CreateTable(ours), *(CreateIndex(it) for it in ours.indexes)]
    return [str(it.compile(dialect=dialect)) for it in each]


def _table(plan: Plan, table: Table, metadata: sa.MetaData) -> sa.Table:
    columns = [
        sa.Column(it.name, _type(plan, table, it)) for it in table.columns if it.role != "created"
    ]
    made = sa.Table(table.name, metadata, *columns)
    key = [table[role] for role in table.key if role != "created"]
    which, _, how = plan.case["unique by"].partition(": ")
    if how and which == ("jobs" if table is plan.jobs else "contacts"):
        if how == "partial":
            some = sa.text("created_at >= '2022-06-01'")
            sa.Index("some", *key, unique=True, postgresql_where=some, sqlite_where=some)
        return made
    if "created" in table.key:
        return made
    is_null = plan.case["organization"] == "nullable" or None
    if which == "index" or plan.case["unique by"] == "index":
        each = (made.c[name] for name in key)
        sa.Index(
            f"one {table.name}"[:60], *each, unique=True, postgresql_nulls_not_distinct=is_null
        )
    else:
        made.append_constraint(sa.UniqueConstraint(*key, postgresql_nulls_not_distinct=is_null))
    if table.has("reference"):
        made.append_constraint(sa.PrimaryKeyConstraint(table["reference"]))
    return made


def _type(plan: Plan, table: Table, column: Column) -> Any:
    if column.type.endswith("_status"):
        status_names = plan.world.status_names
        each = status_names.jobs if table is plan.jobs else status_names.contacts
        if plan.case["status names"] == "contract":
            names = {status.upper(): status for status in each}
            make: Any = enum.Enum
            members = make("Status", names)
            return sa.Enum(
                members, name=column.type, values_callable=lambda it: [one.value for one in it]
            )
        labels = [label for many in each.values() for label in many]
        return sa.Enum(*labels, *status_names.unmapped, name=column.type)
    return {
        "text": sa.Text(),
        "varchar(80)": sa.String(80),
        "char(24)": sa.CHAR(24),
        "citext": postgresql.CITEXT(),
        "uuid": sa.Uuid(),
        "integer": sa.Integer(),
        "bigint": sa.BigInteger(),
        "smallint": sa.SmallInteger(),
        "job_number": sa.BigInteger(),
        "timestamptz": sa.DateTime(timezone=True),
        "boolean": sa.Boolean(),
    }.get(column.type, sa.Text())


def _class(plan: Plan, table: Table, made: sa.Table) -> Any:
    base: Any = registry(metadata=made.metadata).generate_base()
    options: dict[str, Any] = {
        "primary_key": [made.c[table[role]] for role in table.key if role != "created"]
    }
    if plan.case["model"] == "class with version":
        options["version_id_col"] = made.c[table["version"]]
    if plan.case["model"] != "single-table inheritance":
        return type("Mapped", (base,), {"__table__": made, "__mapper_args__": options})
    options |= {"polymorphic_on": made.c[table["deleted"]], "polymorphic_identity": "any"}
    parent = type("Parent", (base,), {"__table__": made, "__mapper_args__": options})
    key = {"primary_key": options["primary_key"]}
    type("Email", (parent,), {"__mapper_args__": {**key, "polymorphic_identity": "email"}})
    return type("Mapped", (parent,), {"__mapper_args__": {**key, "polymorphic_identity": "call"}})


class SqlAlchemyStore:
    """The adapter for SQLAlchemy, on an engine of each kind that the driver has."""

    def __init__(self, plan: Plan, place: str) -> None:
        """
        Open nothing yet.

        Arguments:
            plan: the case.
            place: a connection string, or the path of a SQLite file.
        """
        self._tables = tables(plan)
        self._has_sessions = plan.case["model"] != "table"
        driver = plan.case["driver"]
        url, arguments = _address(plan, driver, place)
        kinds = IS_ASYNC[driver]
        self._engine = sa.create_engine(url, connect_args=arguments) if False in kinds else None
        self._async_engine = (
            create_async_engine(url, connect_args=arguments) if True in kinds else None
        )

    async def close(self) -> None:
        """Close the connections."""
        if self._engine is not None:
            self._engine.dispose()
        if self._async_engine is not None:
            await self._async_engine.dispose()

    def alone(self) -> SqlAlchemyUnitOfWork:
        """Return a unit of work with transactions of its own."""
        assert self._engine is not None
        return SqlAlchemyUnitOfWork(self._engine, self._tables)

    @contextlib.contextmanager
    def joined(self, *, commits: bool) -> Generator[Any]:
        """Yield a unit of work within a transaction that is then committed, or rolled back."""
        assert self._engine is not None
        opened: Any = Session(self._engine) if self._has_sessions else self._engine.connect()
        with opened as caller:
            yield joining(caller, self._tables)
            if commits:
                try:
                    caller.commit()
                except DBAPIError as error:
                    raise AtCommit(type(error.orig).__name__) from error

    def alone_async(self) -> AsyncSqlAlchemyUnitOfWork:
        """Return `alone` for asyncio."""
        assert self._async_engine is not None
        return AsyncSqlAlchemyUnitOfWork(self._async_engine, self._tables)

    @contextlib.asynccontextmanager
    async def joined_async(self, *, commits: bool) -> AsyncGenerator[Any]:
        """Yield `joined` for asyncio."""
        assert self._async_engine is not None
        engine = self._async_engine
        opened: Any = AsyncSession(engine) if self._has_sessions else engine.connect()
        async with opened as caller:
            yield joining_async(caller, self._tables)
            if commits:
                try:
                    await caller.commit()
                except DBAPIError as error:
                    raise AtCommit(type(error.orig).__name__) from error


def _address(plan: Plan, driver: str, place: str) -> tuple[sa.URL, dict[str, Any]]:
    if "sqlite" in driver:
        return sa.URL.create(f"sqlite+{driver}", database=place), {}
    given = conninfo_to_dict(place)
    url = sa.URL.create(
        f"postgresql+{driver}",
        username=str(given["user"]),
        password=str(given["password"]) if "password" in given else None,
        host=str(given["host"]),
        port=int(str(given["port"])),
        database=str(given["dbname"]),
    )
    settings = {"search_path": f"{plan.schema},public", "statement_timeout": "20s"}
    if plan.case["relation"].startswith("row security"):
        settings["role"] = ddl.ROLE
    if driver == "asyncpg":
        return url, {"server_settings": settings, "ssl": False}
    options = " ".join(f"-c{name}={value}" for name, value in settings.items())
    return url, {"options": options, "sslmode": "disable", "gssencmode": "disable"}
