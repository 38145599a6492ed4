"""The statements that mark jobs as cancelled and demand the outcome."""

from __future__ import annotations

from typing import Final

import attrs
from psycopg import sql

from batch_cancel.adapters.postgres.sql_parts import in_one_string
from batch_cancel.adapters.postgres_transactions import LATE_TRIGGERS_NOW

RUN_LATE_TRIGGERS: Final = sql.SQL(LATE_TRIGGERS_NOW)
"""Runs all deferred triggers now."""


def _in_callers(marking: Marking) -> sql.SQL:
    return in_one_string(marking.keep, marking.mark, marking.demand)


def _in_own(marking: Marking) -> sql.SQL:
    return in_one_string(marking.keep, marking.mark, RUN_LATE_TRIGGERS, marking.demand)


@attrs.frozen
class Marking:
    """
    The statements that mark jobs, in the order in which they are sent.

    Arguments:
        keep: keeps the records that are replaced; empty if there is no table for them.
        mark: marks the jobs and writes their records.
        demand: fails if the outcome is not as intended.
    """

    keep: sql.SQL
    mark: sql.SQL
    demand: sql.SQL
    in_callers: sql.SQL = attrs.field(
        init=False, default=attrs.Factory(_in_callers, takes_self=True)
    )
    """All of them in the caller's transaction, if no trigger runs late."""
    in_own: sql.SQL = attrs.field(init=False, default=attrs.Factory(_in_own, takes_self=True))
    """All of them in a transaction of our own."""

    def with_late(self, now: sql.SQL, later: sql.SQL) -> sql.SQL:
        """
        Return all of them in a transaction with late triggers.

        Arguments:
            now: runs the triggers.
            later: defers them again.
        """
        return in_one_string(self.keep, self.mark, now, self.demand, later)


def markings(keep: sql.SQL, mark: sql.SQL, demand: sql.SQL) -> tuple[Marking, Marking]:
    """Return the statements without and with a table for the records that are replaced."""
    return Marking(sql.SQL(""), mark, demand), Marking(keep, mark, demand)
