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
    """Return what has been read of the contacts so far, by sessions that have ended."""
    [(scans, entries)] = rows.execute(
        "SELECT seq_scan, (SELECT sum(idx_tup_read)::bigint FROM pg_stat_user_indexes AS i "
        "WHERE i.relid = t.relid) FROM pg_stat_user_tables AS t "
        "WHERE relid = 'batch_contacts'::regclass"
    ).fetchall()
    return Read(scans, entries)
