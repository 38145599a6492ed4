"""The tables that earlier releases created, and what the catalogs say of tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, LiteralString

import psycopg

from tests.pairs import create_reference_tables

_FOLDER: Final = Path(__file__).parent / "released"

POSTGRES_0_1: Final = (_FOLDER / "postgres_0_1.sql").read_text("utf-8")
"""What `batch-cancel schema` printed."""

SQLITE_0_1: Final = (_FOLDER / "sqlite_0_1.sql").read_text("utf-8")
"""How a file of `SqliteStore` was made."""

_SEEN: Final[tuple[LiteralString, ...]] = (
    """
    SELECT table_name, column_name, data_type, is_nullable, column_default
    FROM information_schema.columns WHERE table_schema = %s
    """,
    """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = %s::regnamespace AND contype <> 'n'
    """,
    """
    SELECT tablename, replace(indexdef, schemaname || '.', ''), indisvalid
    FROM pg_indexes
    JOIN pg_index
    ON indexrelid = (quote_ident(schemaname) || '.' || quote_ident(indexname))::regclass
    WHERE schemaname = %s
    """,
)


def shape(rows: psycopg.Connection[Any], schema: str) -> set[tuple[Any, ...]]:
    """Return the columns, constraints and indexes of our tables in a schema."""
    found = {row for query in _SEEN for row in rows.execute(query, (schema,))}
    return {row for row in found if str(row[0]).startswith("batch_cancellations")}


def create_released_tables(rows: psycopg.Connection[Any]) -> None:
    """Create the reference tables, and ours as release 0.1 created them."""
    create_reference_tables(rows)
    rows.execute("DROP TABLE batch_cancellations, batch_cancellations_earlier")
    rows.execute(POSTGRES_0_1.encode())
