"""Whatever is done to a memory store, and undone: its index says what a scan of it says."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch_cancel import ContactStatus, JobKey
from batch_cancel.adapters.memory import MemoryRepositories, MemoryStore
from batch_cancel.adapters.memory.contacts import Contact
from batch_cancel.domain.statuses import JobStatus
from batch_cancel.domain.worker_rules import CLAIMABLE_CONTACTS, UNFINISHED_CONTACTS, Settlement
from tests.unit.memory_scans import complaints, scanned
from tests.unit.memory_stores import AT_ONCE, SOME_DAY, Undo

KEY = JobKey("job")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *("begin", "commit", "roll back", "seed", "claim", "settle", "expire"),
                *("append", "finish", "cancel", "start"),
            ]
        ),
        st.integers(0, 5),
        st.sampled_from(ContactStatus),
    ),
    max_size=30,
)


class Driven:
    """A memory store, and the transactions that are open in it, the innermost last."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.store.add_job("job", "running")
        self.store.add_contacts("job", dict.fromkeys("012", "pending"))
        self.open: list[tuple[AbstractContextManager[Any], MemoryRepositories]] = []
        self.before: list[dict[str, Contact]] = []

    def take(self, name: str, number: int, status: ContactStatus) -> None:
        """Take a step; outside of a transaction, in one of its own."""
        match name:
            case "begin":
                self.before.append(self.contacts())
                transaction = self.store.begin()
                self.open.append((transaction, transaction.__enter__()))
            case "commit" | "roll back" if self.open:
                self.end(is_undone=name == "roll back")
            case "commit" | "roll back":
                pass
            case "seed" if self.open:  # A store is filled before its transactions start.
                pass
            case "seed":
                self.store.add_contacts("job", {str(number): status, "x": None, "y": "vip"})
            case _ if self.open:
                self.write(self.open[-1][1], name, number, status)
            case _:
                with self.store.begin() as it:
                    self.write(it, name, number, status)

    def end(self, *, is_undone: bool) -> None:
        """End the innermost transaction."""
        transaction, _ = self.open.pop()
        before, written = self.before.pop(), self.contacts()
        error = Undo() if is_undone else None
        assert not transaction.__exit__(type(error) if error else None, error, None)
        assert self.contacts() == (before if is_undone else written)

    def write(self, it: MemoryRepositories, name: str, number: int, status: ContactStatus) -> None:
        """Write what a step writes."""
        settlement = Settlement(status, SOME_DAY if number % 2 else None)
        job = it.jobs.lock(KEY)
        assert job is not None
        match name:
            case "claim":
                due = scanned(self.contacts(), CLAIMABLE_CONTACTS, datetime.now(UTC))
                claimed = it.work.claim(KEY, CLAIMABLE_CONTACTS, number)
                assert claimed == (due[:number] if job.status == "running" else [])
            case "settle":
                it.work.settle(KEY, str(number), settlement)
            case "expire":
                it.work.expire(KEY, settlement, AT_ONCE)
            case "append":
                it.work.append(job, [{"next_attempt_at": SOME_DAY} if number % 2 else {}] * number)
            case "finish":
                has_ended = all(
                    contact.status not in UNFINISHED_CONTACTS
                    for contact in self.contacts().values()
                )
                is_due = has_ended and job.status == "running"
                assert it.work.finish(KEY, UNFINISHED_CONTACTS) is is_due
            case "cancel":
                it.contacts.cancel(KEY, CLAIMABLE_CONTACTS - {status})
            case _:
                it.work.start(KEY, frozenset(JobStatus), None)

    def contacts(self) -> dict[str, Contact]:
        """Return the contacts as the innermost transaction sees them."""
        return dict(self.store._top[KEY].contacts.items())

    def complaints(self) -> list[str]:
        """Return what is wrong with the index: in the transaction, and beside it."""
        rows = self.store._top[KEY], self.store._committed[KEY]
        return [complaint for row in rows for complaint in complaints(row.contacts)]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_the_index_says_what_a_scan_says(steps: list[tuple[str, int, ContactStatus]]) -> None:
    """After every step, and after every rollback."""
    driven = Driven()
    for step in steps:
        driven.take(*step)
        assert driven.complaints() == []
    while driven.open:
        driven.end(is_undone=True)
        assert driven.complaints() == []
