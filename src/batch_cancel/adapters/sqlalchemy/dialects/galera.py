"""
Nodes of Galera: MariaDB servers that all take writes, and send each other no row locks.

What follows from it for the workers' steps is in `certification.py`.
"""

from __future__ import annotations

from typing import Any, Final
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy import Connection

from batch_cancel.adapters.sqlalchemy.facts import Seen
from batch_cancel.adapters.sqlalchemy.tables import SqlAlchemyTables
from batch_cancel.domain.diagnosis import Findings

_MAY_BE_NODES: Final = WeakKeyDictionary[sa.Dialect, bool]()
"""Whether an engine's servers can be nodes of Galera; that depends on how they were built."""


def may_be_node(connection: Connection) -> bool:
    """Check whether the server can be a node of Galera: then it has the variables of one."""
    dialect = connection.dialect
    if dialect not in _MAY_BE_NODES:
        found = connection.exec_driver_sql("SHOW VARIABLES LIKE 'wsrep_on'").first()
        _MAY_BE_NODES[dialect] = found is not None
    return _MAY_BE_NODES[dialect]


def guard_columns(tables: SqlAlchemyTables) -> list[sa.Column[Any]]:
    """Return the columns of a job that show each write."""
    names = (tables.job_version, tables.job_updated_at)
    return [tables.jobs.c[it] for it in names if it is not None]


def guard_missing(tables: SqlAlchemyTables) -> str | None:
    """Return the problem if no column of a job can be written as a guard; None if there is one."""
    if guard_columns(tables):
        return None
    return (
        "nodes of a cluster send each other no row locks, so a worker's step has to write its "
        "job's row: map a time with job_updated_at=..., or a number with job_version=...; if the "
        "table has neither, add a column updated_at DATETIME(6)"
    )


def see_cluster(connection: Connection, seen: Seen, found: Findings) -> None:
    """Note what holds in a cluster whose nodes all take writes."""
    found.notes.append(
        "this is a node of Galera, which sends no row locks to other nodes, so a worker's step "
        "also writes its job's row: let whatever else adds contacts, or opens them again, write "
        "it too, not only lock it"
    )
    if (missing := guard_missing(seen.tables)) is not None:
        found.workers.append(missing)
    if not seen.is_joined:
        return
    names = ("wsrep_sync_wait", "wsrep_trx_fragment_size")
    asked = sa.select(*(sa.literal_column(f"@@{it}", sa.Integer) for it in names))
    row: Any = connection.execute(asked).one()
    waits_for, fragment_size = row
    if fragment_size:
        found.notes.append(
            "wsrep_trx_fragment_size is not 0, so a transaction is sent to other nodes before its "
            "commit, and nodes have come to a halt over two of one row: set it to 0 on the "
            "connections that you join"
        )
    if not waits_for & 1:
        found.notes.append(
            "wsrep_sync_wait is off, so a transaction may not yet see what another node has "
            "committed before it: set it to 1 on the connections that you join"
        )
