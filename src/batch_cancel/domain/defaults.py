"""Default timeouts, leases and limits: what holds where an adopter passes no other."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

LOCK_TIMEOUT: Final = timedelta(seconds=5)
"""How long a transaction of ours on Postgres waits for the job's row."""

STATEMENT_TIMEOUT: Final = timedelta(seconds=60)
"""How long one statement of it may take, and how long it may be idle."""

BUSY_TIMEOUT_SECONDS: Final = 5.0
"""How long a transaction on SQLite waits for its turn."""

SCHEDULER_BUDGET: Final = timedelta(milliseconds=250)
"""How long one answer of Redis may take, retries included."""

RETENTION: Final = timedelta(days=30)
"""How long Redis remembers what became of a deferred start."""

RETRY_WINDOW: Final = timedelta(days=30)
"""How long a client may retry with its operation id: no younger record is forgotten."""

FORGET_SLICE: Final = 1000
"""How many records are forgotten in one transaction."""

PAGE_LIMIT: Final = 100
"""How many records a page of the history holds at most."""

HTTP_BUDGET: Final = timedelta(seconds=30)
"""How long an asyncio server waits for a cancel before it answers."""

RECONCILE_LEASE: Final = timedelta(minutes=2)
"""How long whoever cancelled a job, or took its removal up, may still be at work on it."""

PUMP_LEASE: Final = timedelta(seconds=30)
"""How long the delivery of a deferred start may take before the start is handed out again."""

PUMP_LIMIT: Final = 100
"""How many deferred starts a `pump` delivers at most."""

LOOK_LIMIT: Final = 1000
"""How many removals a `reconcile` takes up, and how much of each kind an `inspect` looks at."""

NOTED_TOGETHER: Final = 100
"""How many removals are noted in one transaction."""

REMOVED_TOGETHER: Final = 100
"""How many deferred starts a scheduler that can is asked to remove at once."""

BULK_SLICE: Final = 200
"""How many jobs `cancel_jobs` cancels in one transaction."""

SWEEP_ABOVE: Final = 100_000
"""How many contacts of a job are cancelled in one transaction on Postgres; above, it sweeps."""

FIND_SLICE: Final = 10_000
"""How many jobs a page of those that a filter finds has at most."""

CALL_AGE_SUSPECT: Final = timedelta(hours=4)
"""A call that has been live for longer is most likely that of a dead worker."""

CONNECT_TIMEOUT_SECONDS: Final = 10
"""How long the command line waits for a server, which a wall may hide."""

CENTURY: Final = timedelta(days=36_500)
"""The longest lease, and the longest age of a call: no clock can add much more to its time."""
