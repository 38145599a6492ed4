"""
Parts of SQL made of the adopter's names and constants.

Rule 1: identifiers and constants reach a statement only through psycopg.sql, so that any name is
        safe.
Rule 2: a percent sign is doubled, because the statements have placeholders; `typed` undoes that
        for printed SQL.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final, TypeVar

from psycopg import sql

from batch_cancel.adapters.postgres.schema import Constant, Table
from batch_cancel.domain.status_names import StatusName, all_status_names
from batch_cancel.domain.statuses import ContactStatus, JobStatus

PACKAGE: Final = "batch_cancel.adapters.postgres"
"""The package of the SQL files."""

_Status = TypeVar("_Status", JobStatus, ContactStatus)


def trusted(text: str) -> sql.SQL:
    """Return `text` as SQL; it must consist of our own files, numbers and quoted names."""
    return sql.SQL(text)  # pyright: ignore[reportArgumentType]  # It is not a literal.


def fixed(part: sql.Composable) -> sql.SQL:
    """Compose a part once."""
    return trusted(part.as_string(None))


def in_one_string(*parts: sql.SQL) -> sql.SQL:
    """Return one string of several statements; empty ones are left out."""
    return trusted("; ".join(filter(None, (part.as_string(None) for part in parts))))


def typed(part: sql.Composable) -> str:
    """Return SQL as printed, without placeholders."""
    return part.as_string(None).replace("%%", "%")


def quoted(name: Table | None, otherwise: str = "") -> sql.SQL:
    """Return a name in quotes; the other text if there is no name."""
    if name is None:
        return trusted(otherwise)
    identifier = sql.Identifier(*([name] if isinstance(name, str) else name))
    return trusted(identifier.as_string(None).replace("%", "%%"))


def constant(value: Constant) -> sql.SQL:
    """Return a constant; a text has no type, so that it takes its column's."""
    if not isinstance(value, str):
        return trusted(json.dumps(value))
    return trusted(sql.Literal(value).as_string(None).replace("%", "%%"))


def listed(
    statuses: Collection[_Status], status_names: Mapping[_Status, tuple[StatusName, ...]]
) -> sql.SQL:
    """Return the names of statuses as constants, so that partial indexes on them can be used."""
    if not statuses:
        return sql.SQL("NULL")  # No status is IN (NULL).
    return fixed(sql.SQL(", ").join(map(constant, all_status_names(status_names, statuses))))


def existing_rows(where: Mapping[str, Constant], of: str = "") -> sql.SQL:
    """Return the condition on the rows that count; `of` qualifies the columns."""
    parts = (
        sql.SQL(" AND {}{} IS NULL").format(trusted(of), quoted(column))
        if value is None
        else sql.SQL(" AND {}{} = {}").format(trusted(of), quoted(column), constant(value))
        for column, value in where.items()
    )
    return fixed(sql.SQL("").join(parts))


def beside(table: Table, name: str) -> sql.SQL:
    """Return a name in quotes, in the schema of a table."""
    return quoted(name if isinstance(table, str) else (table[0], name))


def array_of(texts: Iterable[str]) -> str:
    """Return an array literal; without a type, it takes its column's."""
    escaped = (re.sub(r'(["\\\\])', r"\\\1", text) for text in texts)
    return "{" + ",".join(f'"{text}"' for text in escaped) + "}"


def touched(updated_at: str | None, version: str | None) -> sql.SQL:
    """Return the assignments of a changed row's time and version."""
    parts = {
        ", {0} = clock_timestamp()": updated_at,
        ", {0} = coalesce({0}, 0) + 1": version,
    }
    return fixed(
        sql.SQL("").join(
            trusted(part).format(quoted(name)) for part, name in parts.items() if name is not None
        )
    )
