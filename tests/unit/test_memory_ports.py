"""The ports of the memory store, asked directly: both halves, with what no use case asks for."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from batch_cancel import ContactStatus, JobFilter, JobKey, JobStatus, Removal
from batch_cancel.adapters.memory import AsyncMemoryStore, MemoryStore
from batch_cancel.domain.history import Wanted
from batch_cancel.domain.job import CancellationRecord
from batch_cancel.domain.sweep import Chunk
from batch_cancel.domain.worker_rules import Settlement

NOW = datetime(2026, 1, 10, tzinfo=UTC)
DAY = timedelta(days=1)
RUNNING = JobFilter(statuses=[JobStatus.RUNNING])
OPEN = {ContactStatus.PENDING, ContactStatus.BUSY}


class Ports:
    """
    A store that sweeps above two contacts, each of whose ports is asked in a transaction.

    Arguments:
        kind: the kind of the store.
    """

    def __init__(self, kind: Any) -> None:
        self.store: Any = kind(sweep_above=2, clock=lambda: NOW)

    def add(self, job_id: str, **contacts: str) -> JobKey:
        """Add a running job."""
        self.store.add_job(job_id, "running")
        self.store.add_contacts(job_id, contacts)
        return JobKey(job_id)

    def ask(self, port: str, method: str, *arguments: Any) -> Any:
        """Return the answer of a port."""
        if isinstance(self.store, AsyncMemoryStore):
            return asyncio.run(self._ask(port, method, *arguments))
        with self.store.begin() as repositories:
            return getattr(getattr(repositories, port), method)(*arguments)

    async def _ask(self, port: str, method: str, *arguments: Any) -> Any:
        async with self.store.begin() as repositories:
            return await getattr(getattr(repositories, port), method)(*arguments)

    def mark(self, *records: CancellationRecord) -> None:
        """Mark jobs as cancelled, with these records."""
        self.ask("bulk", "mark_cancelled", records)


@pytest.fixture(params=[MemoryStore, AsyncMemoryStore])
def ports(request: pytest.FixtureRequest) -> Ports:
    """Return the ports of an empty store."""
    return Ports(request.param)


def record(job_id: str, days_ago: int = 0, **changes: Any) -> CancellationRecord:
    """Return the record of a cancellation that has nothing pending."""
    plain = CancellationRecord(
        operation_id="op",
        key=JobKey(job_id),
        previous_status=JobStatus.RUNNING,
        contacts_cancelled=0,
        actor=None,
        reason=None,
        cancelled_at=NOW - days_ago * DAY,
        deferred_id=None,
        removal=Removal.NOT_APPLICABLE,
    )
    return attrs.evolve(plain, **changes)


def found(ports: Ports, job_id: str) -> CancellationRecord:
    """Return a job's record."""
    kept: CancellationRecord = ports.ask("outbox", "find", JobKey(job_id))
    return kept


def test_jobs_are_found_in_pages(ports: Ports) -> None:
    """By id, after the last one, and no more than the limit."""
    for job_id in "cab":
        ports.add(job_id)
    a, b, c = map(JobKey, "abc")
    assert ports.ask("bulk", "find", RUNNING, None, 2) == [a, b]
    assert ports.ask("bulk", "find", RUNNING, a, 2) == [b, c]
    assert ports.ask("bulk", "find", RUNNING, c, 2) == []


def test_jobs_are_found_by_their_times(ports: Ports) -> None:
    """When they were to start, and when they were created, each by itself."""
    early, late = NOW - DAY, NOW + DAY
    for job_id, created_at, scheduled_at in (("a", early, late), ("b", late, early)):
        ports.store.add_job(job_id, "running", created_at=created_at, scheduled_at=scheduled_at)
    for condition, expected in (
        ({"created_before": NOW}, "a"),
        ({"created_after": NOW}, "b"),
        ({"scheduled_before": NOW}, "b"),
        ({"scheduled_after": NOW}, "a"),
    ):
        wanted = JobFilter(**condition)  # type: ignore[arg-type]  # Its times are such.
        assert ports.ask("bulk", "find", wanted, None, 9) == [JobKey(expected)], condition


def test_several_jobs_are_locked_cancelled_and_marked(ports: Ports) -> None:
    """Those that exist; together they have no more contacts than the limit."""
    a, b = (
        ports.add("a", ann="pending", bob="completed"),
        ports.add("b", cid="busy", dan="dialing"),
    )
    locked = ports.ask("bulk", "lock", [a, JobKey("missing"), b])
    assert {key: job.status for key, job in locked.items()} == {a: "running", b: "running"}
    assert ports.ask("bulk", "cancel", [a, b], OPEN) == {a: 1, b: 1}
    ports.mark(record("a", contacts_cancelled=1), record("b", contacts_cancelled=1))
    locked = ports.ask("bulk", "lock", [a, b])
    assert {key: job.status for key, job in locked.items()} == {a: "cancelled", b: "cancelled"}
    assert found(ports, "b").contacts_cancelled == 1
    assert ports.store.contacts("b") == {"cid": "cancelled", "dan": "dialing"}


def test_more_contacts_than_the_limit_are_left_alone(ports: Ports) -> None:
    """Of several jobs together, and of one."""
    a, b = ports.add("a", ann="pending", bob="pending"), ports.add("b", cid="pending")
    assert ports.ask("bulk", "cancel", [a, b], OPEN) is None
    assert ports.ask("contacts", "cancel", a, OPEN) == 2
    c = ports.add("c", dan="pending", eve="busy", fay="pending")
    assert ports.ask("contacts", "cancel", c, OPEN) is None
    assert ports.store.contacts("b") == {"cid": "pending"}


def test_a_page_of_the_history_ends_at_the_limit(ports: Ports) -> None:
    """The newest come first."""
    for job_id in "abc":
        ports.add(job_id)
    ports.mark(record("a", 3), record("b", 1), record("c", 2))
    page = ports.ask("history", "page", Wanted(None), 2)
    assert [it.key.batch_job_id for it in page] == ["b", "c"]


def test_what_is_forgotten_is_older_and_no_more_than_the_limit(ports: Ports) -> None:
    """The oldest first; one of that very time stays, and so does one that is pending."""
    for job_id in "abcd":
        ports.add(job_id)
    ports.mark(record("a", 3), record("b", 2), record("c", 4), record("d", 5, is_swept=False))
    assert ports.ask("history", "forget", NOW - 2 * DAY, DAY, 1) == 1
    assert found(ports, "c") is None
    assert ports.ask("history", "forget", NOW - 2 * DAY, DAY, 9) == 1
    assert [found(ports, it) is None for it in "abcd"] == [True, False, True, False]
    assert ports.ask("history", "forget", NOW, 2 * DAY, 9) == 0


def test_an_earlier_record_of_that_very_time_stays(ports: Ports) -> None:
    """As the last one does."""
    ports.add("a")
    ports.mark(record("a", 3, operation_id="first"))
    ports.mark(record("a", 1, operation_id="second"))
    assert ports.ask("history", "forget", NOW - 3 * DAY, DAY, 9) == 0
    assert ports.ask("history", "forget", NOW - 2 * DAY, DAY, 9) == 1


def test_a_sweep_is_locked_by_its_own_cancellation(ports: Ports) -> None:
    """A chunk has as many contacts as the limit; its progress is kept in the record."""
    a = ports.add("a", ann="pending", bob="busy", cid="pending")
    ours = record("a", is_swept=False)
    assert ports.ask("sweep", "lock", ours) is None
    ports.mark(ours)
    assert ports.ask("sweep", "lock", ours) == ours
    assert ports.ask("sweep", "lock", attrs.evolve(ours, operation_id="other")) is None
    assert ports.ask("sweep", "cancel", a, OPEN) == Chunk(found=2, cancelled=2, limit=2)
    ports.ask("sweep", "note", attrs.evolve(ours, contacts_cancelled=2))
    assert (found(ports, "a").contacts_cancelled, found(ports, "a").is_swept) == (2, False)
    assert ports.ask("sweep", "cancel", a, OPEN) == Chunk(found=1, cancelled=1, limit=2)
    ports.ask("sweep", "note", attrs.evolve(ours, contacts_cancelled=3, is_swept=True))
    assert (found(ports, "a").contacts_cancelled, found(ports, "a").is_swept) == (3, True)


def test_sweeps_are_listed_by_age(ports: Ports) -> None:
    """The oldest first, whatever the order of the jobs, and no more than the limit."""
    for job_id in "abc":
        ports.add(job_id)
    ages = {"a": 1, "b": 3, "c": 2}
    ports.mark(*(record(it, age, is_swept=False) for it, age in ages.items()))
    for limit, expected in ((9, ["b", "c", "a"]), (2, ["b", "c"])):
        seen = ports.ask("inspection", "look", limit, OPEN, DAY)
        assert [it.key.batch_job_id for it in seen.sweeps_pending] == expected


def test_contacts_are_claimed_with_their_columns(ports: Ports) -> None:
    """As many as the limit; the status is the new one, and the time is the one before."""
    a = ports.add("a")
    job = ports.ask("jobs", "lock", a)
    soon = NOW - DAY
    ports.ask("work", "append", job, [{"id": "ann", "phone": "+1", "next_attempt_at": soon}])
    ports.ask("work", "append", job, [{"id": "bob", "phone": "+2"}])
    columns = ["id", "status", "next_attempt_at", "phone"]
    seen = [ports.ask("work", "claim_returning", a, OPEN, 1, columns) for _ in range(3)]
    assert seen == [
        [("bob", dict(zip(columns, ("bob", "dialing", None, "+2"), strict=True)))],
        [("ann", dict(zip(columns, ("ann", "dialing", soon, "+1"), strict=True)))],
        [],
    ]
    again = NOW - timedelta(hours=1)
    ports.ask("work", "settle", a, "ann", Settlement(ContactStatus.BUSY, again))
    [(_, row)] = ports.ask("work", "claim_returning", a, OPEN, 1, columns)
    assert row == {"id": "ann", "status": "dialing", "next_attempt_at": again, "phone": "+1"}
    assert ports.ask("work", "has_contacts", a, {ContactStatus.DIALING}) is True
    assert ports.ask("work", "has_contacts", a, OPEN) is False


@pytest.mark.parametrize("kind", [MemoryStore, AsyncMemoryStore])
def test_there_is_a_sweep_in_transactions_of_its_own_alone(kind: Any) -> None:
    """And where a number of contacts says when."""

    def sweeps(store: Any) -> list[bool]:
        if isinstance(store, MemoryStore):
            with store.begin() as outer, store.begin() as inner:
                return [it.sweep is not None for it in (outer, inner)]

        async def run() -> list[bool]:
            async with store.begin() as outer, store.begin() as inner:
                return [it.sweep is not None for it in (outer, inner)]

        return asyncio.run(run())

    assert sweeps(kind(sweep_above=2)) == [True, False]
    assert sweeps(kind()) == [False, False]
