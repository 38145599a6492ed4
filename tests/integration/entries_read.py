"""How the contacts are read: by scans of the whole table, and by entries of indexes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    import psycopg


@attrs.frozen
class Read:
    """How the contacts were read: scans of the whole table, and entries of indexes."""

    scans: int
    entries: int


def read(rows: psycopg.Connection[Any]) -> Read:
    """Return what has been read of the contacts and their partitions, by sessions that ended."""
    [(scans, entries)] = rows.execute(
        "SELECT sum(seq_scan)::bigint, sum(entries)::bigint FROM pg_stat_user_tables AS t "
        "CROSS JOIN LATERAL (SELECT sum(idx_tup_read) AS entries FROM pg_stat_user_indexes AS i "
        "WHERE i.relid = t.relid) AS of_indexes WHERE relname ~ '^batch_contacts(_[0-9])?$' "
        "AND schemaname = current_schema()"
    ).fetchall()
    return Read(scans, entries)
