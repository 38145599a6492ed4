"""What the pages say of defaults is what the library does."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

import pytest

from batch_cancel.adapters.postgres.doctor.statuses import ROWS_MAX
from batch_cancel.adapters.redis import claims
from batch_cancel.domain import defaults
from batch_cancel.domain.errors import Fault
from batch_cancel.domain.retry import ATTEMPTS_MAX, ATTEMPTS_MAX_UNKNOWN
from tests.docs.pages import ROOT, text

SECOND: Final = timedelta(seconds=1)
MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)

HOW_IT_WORKS: Final = ROOT / "docs" / "how-it-works.md"

LIMITS: Final = {
    "wait for the job's row (Postgres, SQLAlchemy, Django)": "LOCK_TIMEOUT",
    "one statement, or an idle transaction": "STATEMENT_TIMEOUT",
    "wait for another writer (SQLite)": "BUSY_TIMEOUT_SECONDS",
    "one call to Redis, retries included": "SCHEDULER_BUDGET",
    "one request to `AsgiApp`": "HTTP_BUDGET",
    "lease of `reconcile`": "RECONCILE_LEASE",
    "lease of `pump`": "PUMP_LEASE",
    "how long Redis keeps what became of a start": "RETENTION",
    "connecting from the command line": "CONNECT_TIMEOUT_SECONDS",
    "age from which `inspect` names a call": "CALL_AGE_SUSPECT",
    "removals in one `reconcile`, and of each kind in `inspect`": "LOOK_LIMIT",
    "starts in one `pump`": "PUMP_LIMIT",
    "retries of a client, before which `forget` deletes no record": "RETRY_WINDOW",
    "records in one transaction of `forget`": "FORGET_SLICE",
    "records in a page of the history": "PAGE_LIMIT",
    "removals noted in one transaction": "NOTED_TOGETHER",
    "deferred starts removed at once, where the scheduler can": "REMOVED_TOGETHER",
    "jobs that `cancel_jobs` cancels in one transaction": "BULK_SLICE",
    "contacts of a job in one transaction on Postgres (psycopg)": "SWEEP_ABOVE",
    "jobs in one page of those that a filter finds": "FIND_SLICE",
}
"""The rows of the page's table, each with the default that it states."""

FAULTS: Final = {
    "conflict with another transaction (deadlock, serialization failure)": {Fault.CONFLICT},
    "contacts left open, because one was added meanwhile": {Fault.INCOMPLETE},
    "broken connection": {Fault.INTERRUPTED},
    "lock timeout, statement timeout, pool timeout, store busy": {Fault.LATE, Fault.BUSY},
    "missing table, column or permission": {Fault.REFUSED},
}
"""The rows of the page's table of retries, each with the kinds of fault that it names."""


def table(header: str) -> dict[str, str]:
    """Return the rows of a table of two columns, by the first of them."""
    after = text(HOW_IT_WORKS).partition(f"{header}\n")[2]
    rows = re.match(r"\| --- \| --- \|\n((?:\|.*\|\n)+)", after)
    assert rows is not None, header
    return dict(re.findall(r"^\| (.*) \| (.*) \|$", rows[1], re.MULTILINE))


def read(written: str) -> timedelta | int:
    """Return what a row says: a time with its unit, or a number."""
    number, _, unit = written.replace(",", "").partition(" ")
    times = {
        "ms": timedelta(milliseconds=1),
        "s": SECOND,
        "min": MINUTE,
        "h": HOUR,
        "days": timedelta(days=1),
    }
    return int(number) * times[unit] if unit else int(number)


def default(name: str) -> timedelta | int:
    """Return a default, a time as a timedelta whatever its unit is."""
    value: timedelta | int = getattr(defaults, name)
    if isinstance(value, timedelta) or not name.endswith("_SECONDS"):
        return value
    return timedelta(seconds=value)


def test_the_table_of_limits_states_the_defaults() -> None:
    """Row by row; none is missing and none too many."""
    stated = {what: read(written) for what, written in table("| what | default |").items()}
    assert stated == {what: default(name) for what, name in LIMITS.items()}


def test_every_default_is_in_the_table() -> None:
    """A new one gets a row; only the bound of what may be passed is no default."""
    names = {name for name in vars(defaults) if name.isupper()}
    assert names == {*LIMITS.values(), "CENTURY"}


def test_the_table_of_retries_states_the_attempts() -> None:
    """For every kind of fault."""
    stated = table("| fault | attempts in all |")
    by_fault = {fault: int(stated[row]) for row, faults in FAULTS.items() for fault in faults}
    assert by_fault == ATTEMPTS_MAX
    assert stated.keys() == FAULTS.keys()


MINUTES: Final = {2: "two"}[defaults.RECONCILE_LEASE // MINUTE]
UNKNOWN: Final = (max(ATTEMPTS_MAX_UNKNOWN.values()), ATTEMPTS_MAX_UNKNOWN[Fault.LATE])


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        ("how-it-works", "up to {}, and {} if the store does not".format(*UNKNOWN)),
        ("http", f"longer than `budget` ({defaults.HTTP_BUDGET // SECOND} seconds)"),
        ("operations", f"taken less than {MINUTES} minutes ago (`--lease`)"),
        ("operations", f"live for more than {defaults.CALL_AGE_SUSPECT // HOUR} hours"),
        ("operations", f"at most {ROWS_MAX:,} rows of each table"),
        ("schedulers", f"its lease ({defaults.PUMP_LEASE // SECOND} seconds)"),
        ("schedulers", f"({claims._STARTS_MAX:,} starts, {claims._BYTES_MAX // 1024} KB)"),
        (
            "add-a-scheduler",
            f"{defaults.SCHEDULER_BUDGET // timedelta(milliseconds=1)} ms is ours",
        ),
    ],
)
def test_a_sentence_states_the_default(page: str, sentence: str) -> None:
    """Wherever else a page names a number."""
    assert sentence in " ".join(text(ROOT / "docs" / f"{page}.md").split())
