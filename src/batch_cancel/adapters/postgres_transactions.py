"""
The settings of a transaction on Postgres, for every adapter on Postgres.

A transaction of our own has its own settings, whatever the connection's defaults are:

Rule 1: it is READ COMMITTED. A snapshot from before the wait for the job's lock would miss
        contacts that were added meanwhile.
Rule 2: the server's timeouts bound it in time.
Rule 3: a confirmed commit is on disk. Whether it survives the loss of that server depends on its
        configuration: with `synchronous_standby_names` a promoted replica has it, with
        asynchronous replication it may not.
Rule 4: temporary tables come last in the search path, so that they never hide the real ones.

In the caller's transaction, only rule 3 is set; the rest is checked.
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
The actual isolation of the transaction. If READ COMMITTED is not enabled, YugabyteDB keeps a
snapshot although `transaction_isolation` says otherwise.
"""

# All values of synchronous_commit but off wait for this server's disk.
DURABLY: Final = (
    "pg_catalog.set_config('synchronous_commit', coalesce(nullif("
    "pg_catalog.current_setting('synchronous_commit'), 'off'), 'on'), true)"
)
TEMPORARY_LAST: Final = (
    "pg_catalog.set_config('search_path', pg_catalog.concat_ws(', ', nullif("
    "pg_catalog.current_setting('search_path'), ''), 'pg_temp'), true)"
)

LATE_TRIGGERS_NOW: Final = "SET CONSTRAINTS ALL IMMEDIATE"
"""Runs the deferred triggers now."""


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
    Check that a transaction sees contacts that were added while it waited.

    Arguments:
        level: the actual isolation of the transaction.
        is_joined: whether the transaction is the caller's.
    """
    if level not in {"read committed", "read uncommitted"}:
        what = "joining() needs a" if is_joined else "the server grants no"
        msg = (
            f"{what} READ COMMITTED transaction, and this one is {shown(level)}: it would miss "
            "contacts that were added while it waited for the job"
        )
        raise StoreFailed(msg)
