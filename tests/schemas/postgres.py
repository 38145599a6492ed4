"""Schemas on one Postgres server: a database for each encoding, a schema for each case."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Final, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from batch_cancel.adapters.postgres import (
    AsyncPostgresUnitOfWork,
    PostgresSchema,
    PostgresUnitOfWork,
    joining,
    joining_async,
)
from batch_cancel.adapters.postgres.ddl import table_ddl
from tests.schemas import ddl
from tests.schemas.calls import Dump, Row
from tests.schemas.names import literal, quoted
from tests.schemas.plans import Plan, Table
from tests.schemas.steps import AtCommit
from tests.servers import PostgresServer

ENCODINGS: Final = ("UTF8", "LATIN1", "SQL_ASCII")


def run(connection: psycopg.Connection[Any], statement: str) -> None:
    """Carry out a statement of the generator's own."""
    connection.execute(statement.encode())


class Databases:
    """The databases of a campaign on a server."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._cleanup = contextlib.ExitStack()
        self._made: dict[str, tuple[str, psycopg.Connection[Any]]] = {}

    def __enter__(self) -> Self:
        with (
            psycopg.connect(self._server.dsn(), autocommit=True) as connection,
            contextlib.suppress(psycopg.errors.DuplicateObject),
        ):
            run(connection, f"CREATE ROLE {ddl.ROLE}")
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def of(self, encoding: str) -> tuple[str, psycopg.Connection[Any]]:
        """Return a database of this encoding, and a connection of its superuser."""
        if encoding not in self._made:
            self._made[encoding] = self._make(encoding)
        return self._made[encoding]

    def _make(self, encoding: str) -> tuple[str, psycopg.Connection[Any]]:
        name = f"test_{secrets.token_hex(6)}"
        with psycopg.connect(self._server.dsn(), autocommit=True) as connection:
            run(
                connection,
                f"CREATE DATABASE {name} ENCODING {literal(encoding)} TEMPLATE template0 "
                f"LC_COLLATE 'C' LC_CTYPE 'C'",
            )
        self._cleanup.callback(self._drop, name)
        dsn = self._server.dsn(name)
        admin = self._cleanup.enter_context(
            psycopg.connect(make_conninfo(dsn, client_encoding="UTF8"), autocommit=True)
        )
        run(admin, "CREATE EXTENSION citext")
        run(admin, "CREATE EXTENSION postgres_fdw")
        given = conninfo_to_dict(dsn)
        options = ", ".join(
            f"{key} {literal(str(given[key]))}"
            for key in ("host", "port", "dbname")
            if key in given
        )
        run(admin, f"CREATE SERVER loopback FOREIGN DATA WRAPPER postgres_fdw OPTIONS ({options})")
        user = literal(str(given["user"]))
        run(admin, f"CREATE USER MAPPING FOR PUBLIC SERVER loopback OPTIONS (user {user})")
        return dsn, admin

    def _drop(self, name: str) -> None:
        with psycopg.connect(self._server.dsn(), autocommit=True) as connection:
            run(connection, f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def furnished(
    plan: Plan, admin: psycopg.Connection[Any], ours: str | None = None
) -> Generator[list[str]]:
    """
    Make a plan's schema with its rows, and drop it afterwards.

    Arguments:
        plan: what to make.
        admin: a superuser's connection.
        ours: the DDL of the table of cancellations; by default as the adapter prints it.

    Yields:
        all statements, for whoever wants to see them.
    """
    said: list[str] = []

    def say(statement: str) -> None:
        said.append(statement)
        run(admin, statement)

    try:
        run(admin, "SET session_replication_role = origin")
        for statement in ddl.before_rows(plan):
            say(statement)
        default = PostgresSchema(cancellations=plan.cancellations)
        say(ours or table_ddl(default))
        for statement in ddl.rows(plan):
            say(statement)
        if late := ddl.late_index(plan):
            with contextlib.suppress(psycopg.errors.UniqueViolation):
                say(late)
        for statement in ddl.after_rows(plan):
            say(statement)
        yield said
    finally:
        run(admin, f"DROP SCHEMA IF EXISTS {quoted(plan.schema)} CASCADE")


class Dumper:
    """Dumps all tables of a plan; a table that did not change is the same object as before."""

    def __init__(self, plan: Plan, admin: psycopg.Connection[Any]) -> None:
        self._plan, self._admin = plan, admin
        self._last: dict[str, tuple[bytes, Mapping[str, Row]]] = {}
        place = quoted(plan.schema)
        self._queries = {
            "jobs": _query(plan, plan.jobs, "rid"),
            "contacts": _query(plan, plan.contacts, "rid, owner, origin"),
            "audit_log": f"SELECT rid, what FROM {place}.audit_log ORDER BY rid",
            "cancellations": (
                f"SELECT organization_id || chr(10) || batch_job_id AS rid, * "
                f"FROM {place}.{quoted(plan.cancellations)} ORDER BY 1"
            ),
        }

    def dump(self) -> Dump:
        """Return every row of every table."""
        return {table: self._dump(table) for table in self._queries}

    def own(self, contacts: tuple[str, ...], job: int) -> None:
        """Note whose contacts these are, that the library has added."""
        run(
            self._admin,
            f"SET session_replication_role = replica; UPDATE {quoted(self._plan.schema)}."
            f"{quoted(self._plan.contacts.base)} SET owner = {job} "
            f"WHERE rid IN ({', '.join(contacts)}); SET session_replication_role = origin",
        )

    def _dump(self, table: str) -> Mapping[str, Row]:
        query = f"COPY ({self._queries[table]}) TO STDOUT WITH (HEADER)"
        with self._admin.cursor().copy(query.encode()) as copy:
            text = b"".join(copy)
        last = self._last.get(table)
        if last is not None and last[0] == text:
            return last[1]
        header, *lines = text.decode().removesuffix("\n").split("\n")
        names = header.split("\t")
        rows: dict[str, Row] = {}
        for line in lines:
            values = [None if value == "\\N" else value for value in line.split("\t")]
            row = dict(zip(names, values, strict=True))
            rows[(row["rid"] or "").replace("\\n", "\n")] = row
        self._last[table] = text, rows
        return rows


def _query(plan: Plan, table: Table, hidden: str) -> str:
    columns = ", ".join(f"{quoted(it.name)} AS {quoted(it.role)}" for it in table.columns)
    return (
        f"SELECT {hidden}, {columns} FROM {quoted(plan.schema)}.{quoted(table.base)} ORDER BY rid"
    )


class PostgresStore:
    """The adapter for psycopg over a plan's tables, on one connection of each kind."""

    def __init__(self, plan: Plan, dsn: str) -> None:
        self._mapping = PostgresSchema(**plan.mapping)
        options = f"-csearch_path={plan.schema},public -cstatement_timeout=20s"
        if plan.case["relation"].startswith("row security"):
            options += f" -crole={ddl.ROLE}"
        self._dsn = make_conninfo(dsn, options=options)
        self._blocking: psycopg.Connection[Any] | None = None
        self._asyncio: psycopg.AsyncConnection[Any] | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._blocking is not None:
            self._blocking.close()
        if self._asyncio is not None:
            await self._asyncio.close()

    def alone(self) -> PostgresUnitOfWork:
        """Return a unit of work with transactions of its own."""
        return PostgresUnitOfWork(self._connect, self._mapping)

    @contextlib.contextmanager
    def joined(self, *, commits: bool) -> Generator[Any]:
        """Yield a unit of work within a transaction that is then committed, or rolled back."""
        connection = self._usable()
        connection.execute("SELECT 1")
        try:
            yield joining(connection, self._mapping)
        except BaseException:
            connection.rollback()
            raise
        if not commits:
            connection.rollback()
            return
        try:
            connection.commit()
        except psycopg.Error as error:
            raise AtCommit(type(error).__name__) from error

    def alone_async(self) -> AsyncPostgresUnitOfWork:
        """Return `alone` for asyncio."""
        return AsyncPostgresUnitOfWork(self._connect_async, self._mapping)

    @contextlib.asynccontextmanager
    async def joined_async(self, *, commits: bool) -> AsyncGenerator[Any]:
        """Yield `joined` for asyncio."""
        connection = await self._usable_async()
        await connection.execute("SELECT 1")
        try:
            yield joining_async(connection, self._mapping)
        except BaseException:
            await connection.rollback()
            raise
        if not commits:
            await connection.rollback()
            return
        try:
            await connection.commit()
        except psycopg.Error as error:
            raise AtCommit(type(error).__name__) from error

    def _usable(self) -> psycopg.Connection[Any]:
        if self._blocking is None or self._blocking.closed:
            self._blocking = psycopg.connect(self._dsn)
        return self._blocking

    async def _usable_async(self) -> psycopg.AsyncConnection[Any]:
        if self._asyncio is None or self._asyncio.closed:
            self._asyncio = await psycopg.AsyncConnection.connect(self._dsn)
        return self._asyncio

    def _connect(self) -> AbstractContextManager[psycopg.Connection[Any]]:
        return contextlib.nullcontext(self._usable())

    def _connect_async(self) -> AbstractAsyncContextManager[psycopg.AsyncConnection[Any]]:
        @contextlib.asynccontextmanager
        async def lend() -> AsyncGenerator[psycopg.AsyncConnection[Any]]:
            yield await self._usable_async()

        return lend()
