"""
What holds in a transaction on Postgres, for every adapter on Postgres.

A transaction of our own brings its own settings, whatever the connection's defaults are:

Rule 1: it is READ COMMITTED. A snapshot from before the wait for the job's lock would miss the
        contacts that came in meanwhile.
Rule 2: it is bounded in time by the server's timeouts.
Rule 3: a commit that was answered is on disk. That it survives the loss of that server is for its
        configuration to decide: with `synchronous_standby_names` a promoted replica knows of it,
        with asynchronous replication it may not.
Rule 4: a temporary table of the session comes last, so that it never stands in for the real one.

In the caller's transaction, only rule 3 is set; the rest is looked at.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from batch_cancel.domain.errors import StoreFailed, shown

_MILLISECOND: Final = timedelta(milliseconds=1)

READ_COMMITTED: Final = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"

LEVEL: Final = (
    "coalesce(pg_catalog.current_setting('yb_effective_transaction_isolation_level', true), "
    "pg_catalog.current_setting('transaction_isolation'))"
)
"""
The isolation that the transaction really has. Where READ COMMITTED is not enabled, YugabyteDB
keeps a snapshot while `transaction_isolation` still says otherwise.
"""

# All other values of synchronous_commit than off wait for this server's disk already.
DURABLY: Final = (
    "pg_catalog.set_config('synchronous_commit', coalesce(nullif("
    "pg_catalog.current_setting('synchronous_commit'), 'off'), 'on'), true)"
)
TEMPORARY_LAST: Final = (
    "pg_catalog.set_config('search_path', pg_catalog.concat_ws(', ', nullif("
    "pg_catalog.current_setting('search_path'), ''), 'pg_temp'), true)"
)

LATE_TRIGGERS_NOW: Final = "SET CONSTRAINTS ALL IMMEDIATE"
"""Lets the triggers run that wait for the commit."""


def timeouts(lock_timeout: timedelta, statement_timeout: timedelta) -> dict[str, int]:
    """Return the server's timeouts in milliseconds, by the names of its settings."""
    times = {
        "lock_timeout": lock_timeout,
        "statement_timeout": statement_timeout,
        "idle_in_transaction_session_timeout": statement_timeout,
    }
    return {name: max(1, value // _MILLISECOND) for name, value in times.items()}


def check_isolation(level: object, *, is_joined: bool) -> None:
    """
    Refuse a transaction that would not see the contacts that came in during a wait.

    Arguments:
        level: the isolation that the transaction really has.
        is_joined: whether the transaction is the caller's.
    """
    if level not in {"read committed", "read uncommitted"}:
        what = "joining() needs a" if is_joined else "the server grants no"
        msg = (
            f"{what} READ COMMITTED transaction, and this one is {shown(level)}: it would leave "
            "contacts behind that came in while it waited for the job"
        )
        raise StoreFailed(msg)
