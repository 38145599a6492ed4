"""
Parts of SQL made of the adopter's names and constants.

Rule 1: identifiers and constants reach a statement only through psycopg.sql, so that any name and
        any spelling is safe.
Rule 2: a percent sign is doubled, because the statements have placeholders; `typed` takes that
        back where SQL is printed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final, TypeVar

from psycopg import sql

from batch_cancel.adapters.postgres.schema import Constant, Table
from batch_cancel.domain.status_names import Spelling, all_spellings
from batch_cancel.domain.statuses import ContactStatus, JobStatus

PACKAGE: Final = "batch_cancel.adapters.postgres"
"""Where the files of SQL lie."""

_Status = TypeVar("_Status", JobStatus, ContactStatus)


def trusted(text: str) -> sql.SQL:
    """Take `text` for SQL: it is made of our own files, numbers and quoted names alone."""
    return sql.SQL(text)  # pyright: ignore[reportArgumentType]  # No literal, for this reason.


def fixed(part: sql.Composable) -> sql.SQL:
    """Compose a part once and for all."""
    return trusted(part.as_string(None))


def in_one_string(*parts: sql.SQL) -> sql.SQL:
    """Return one string of several statements; empty ones are left out."""
    return trusted("; ".join(filter(None, (part.as_string(None) for part in parts))))


def typed(part: sql.Composable) -> str:
    """Return SQL as it is typed, where nothing stands for a parameter."""
    return part.as_string(None).replace("%%", "%")


def quoted(name: Table | None, otherwise: str = "") -> sql.SQL:
    """Return a name in quotes; without a name, the other text."""
    if name is None:
        return trusted(otherwise)
    identifier = sql.Identifier(*([name] if isinstance(name, str) else name))
    return trusted(identifier.as_string(None).replace("%", "%%"))


def constant(value: Constant) -> sql.SQL:
    """Return a constant; a text has no type, so that it is read as its column's."""
    if not isinstance(value, str):
        return trusted(json.dumps(value))
    return trusted(sql.Literal(value).as_string(None).replace("%", "%%"))


def listed(
    statuses: Collection[_Status], spellings: Mapping[_Status, tuple[Spelling, ...]]
) -> sql.SQL:
    """Return the spellings of statuses as constants, so that a partial index on them serves."""
    if not statuses:
        return sql.SQL("NULL")  # No status is IN (NULL).
    return fixed(sql.SQL(", ").join(map(constant, all_spellings(spellings, statuses))))


def existing_rows(where: Mapping[str, Constant], of: str = "") -> sql.SQL:
    """Return what is added to a condition on rows that count; `of` tells whose the columns are."""
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
    """Return an array as Postgres reads it; without a type, it is one of the column's."""
    escaped = (re.sub(r'(["\\\\])', r"\\\1", text) for text in texts)
    return "{" + ",".join(f'"{text}"' for text in escaped) + "}"


def touched(updated_at: str | None, version: str | None) -> sql.SQL:
    """Return what is set besides when a row is changed: its time and its version."""
    parts = {
        ", {0} = clock_timestamp()": updated_at,
        ", {0} = coalesce({0}, 0) + 1": version,
    }
    return fixed(
        sql.SQL("").join(
            trusted(part).format(quoted(name)) for part, name in parts.items() if name is not None
        )
    )
