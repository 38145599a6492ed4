"""Whether a server of MariaDB or MySQL fits: its settings, and the privileges of its user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection, exc

from batch_cancel.adapters.sqlalchemy.mysql_faults import number_of
from batch_cancel.domain.diagnosis import Findings
from batch_cancel.domain.errors import StoreFailed

_MARIADB_MIN: Final = (10, 6)
_MYSQL_MIN: Final = (8, 0)
"""The first versions with SKIP LOCKED."""

_LOCK_SECONDS_MAX: Final = 10
"""Who waits longer for a job's row has most likely not chosen to."""

_DENIED: Final = frozenset({"1142", "1143"})

_CHARSET: Final = "character_set_client"
"""The variable by which the server reads what a connection sends."""

_TEXTS_CHANGE: Final = ("PAD_CHAR_TO_FULL_LENGTH", "EMPTY_STRING_IS_NULL")
"""Modes in which a text is read otherwise than it was written."""


def check_mode(mode: object) -> None:
    """
    Check that texts are read as they were written.

    Raises:
        StoreFailed: the connection's sql_mode changes them.
    """
    if found := [it for it in _TEXTS_CHANGE if it in str(mode).split(",")]:
        msg = (
            f"sql_mode has {' and '.join(found)}, so that a text is read otherwise than it was "
            "written, and a status is not found: take it out of the sql_mode of these connections"
        )
        raise StoreFailed(msg)


def is_strict(mode: object) -> bool:
    """Check whether what a column can't hold is an error, and not cut."""
    return "STRICT" in str(mode)


def see_server(
    connection: Connection, found: Findings, *, is_mariadb: bool, is_joined: bool
) -> None:
    """Note what the server's settings forbid, slow down or leave open."""
    level = "tx_isolation" if is_mariadb else "transaction_isolation"
    names = ("version", "read_only", level, "innodb_lock_wait_timeout", "sql_mode", _CHARSET)
    asked: list[sa.ColumnElement[Any]] = [sa.literal_column(f"@@{it}") for it in names]
    row: Any = connection.execute(sa.select(*asked)).one()
    version, is_read_only, isolation, lock_seconds, mode, charset = row
    name, version_min = ("MariaDB", _MARIADB_MIN) if is_mariadb else ("MySQL", _MYSQL_MIN)
    if tuple(int(it) for it in str(version).split("-")[0].split(".")[:2]) < version_min:
        needed = ".".join(map(str, version_min))
        found.missing.append(f"{name} is version {version}: {needed} or later is needed")
    if is_read_only:
        found.missing.append(f"{name} is read-only here: connect to the primary")
    if lock_seconds > _LOCK_SECONDS_MAX and (is_joined or not is_mariadb):
        found.slow.append(
            f"innodb_lock_wait_timeout is {lock_seconds} s, and so long a cancel waits for its "
            "job's row: set it on your connections, such as to 5"
        )
    if isolation != "READ-COMMITTED":
        found.notes.append(
            f"the connection's transactions are {isolation}: joining() needs READ COMMITTED, "
            'such as by isolation_level="READ COMMITTED" of the engine'
        )
    if charset != "utf8mb4":
        found.notes.append(
            f"the connection's character set is {charset}, which can't send every text: a job "
            "with an emoji in its id is not found; add charset=utf8mb4 to the URL of the engine"
        )
    if not is_strict(mode):
        found.notes.append(
            "sql_mode is not strict, so what is too long for its column is cut without an error: "
            "add STRICT_TRANS_TABLES"
        )


def denied(
    connection: Connection, schema: str | None, name: str, columns: Sequence[str], privilege: str
) -> list[str]:
    """Return on which of these columns the user lacks a privilege; no row is touched."""
    if _may(connection, schema, name, columns, privilege):
        return []
    return [it for it in columns if not _may(connection, schema, name, [it], privilege)]


def _may(
    connection: Connection, schema: str | None, name: str, columns: Sequence[str], privilege: str
) -> bool:
    try:
        connection.execute(_tried(schema, name, columns, privilege))
    except exc.DBAPIError as error:
        if number_of(error.orig) not in _DENIED:
            raise
        return False
    return True


def _tried(schema: str | None, name: str, columns: Sequence[str], privilege: str) -> Any:  # noqa: ANN401  # A statement of one of three kinds.
    """Return a statement that needs the privilege and meets no row."""
    its: list[sa.ColumnClause[Any]] = [sa.column(it) for it in columns]
    table = sa.table(name, *its, schema=schema)
    if privilege == "SELECT":
        return sa.select(*table.c).where(sa.false())
    if privilege == "UPDATE":
        return sa.update(table).values({it: it for it in table.c}).where(sa.false())
    nothing = sa.select(*(sa.null() for _ in columns)).where(sa.false())
    return sa.insert(table).from_select(list(columns), nothing)
