"""What is seeded in a memory store, how it is read, and its transactions."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import attrs
import pytest

from batch_cancel import (
    JobKey,
    Removal,
)
from batch_cancel.domain.job import CancellationRecord, Job
from batch_cancel.domain.statuses import ContactStatus
from tests.unit.memory_stores import (
    BlockingStore,
    Store,
    Undo,
    cancelled,
    status_of,
    store,
    undone,
)

__all__ = ["store"]


# Seeding and looking -----------------------------------------------------------------------------


def test_a_store_shows_what_it_was_seeded_with(store: Store) -> None:
    """Any status, known or not, or none at all; each organization has its own jobs."""
    store.add_job("job", None, "acme", "arq_job_abc123")
    store.add_contacts("job", {"ann": "vip", "bob": None}, "acme")
    job = store.job("job", "acme")
    assert job is not None
    assert job.key == JobKey("job", "acme")
    assert (job.status, job.deferred_id, job.cancellation) == (None, "arq_job_abc123", None)
    assert job.locked_at.utcoffset() == timedelta(0)
    assert store.contacts("job", "acme") == {"ann": "vip", "bob": None}
    assert store.contacts("job") == {"ann": "pending", "bob": "dialing", "eve": "busy"}


def test_a_job_is_scheduled_unless_told_otherwise(store: Store) -> None:
    """As the default says."""
    store.add_job("other")
    other = store.job("other")
    assert other is not None
    assert (other.status, other.deferred_id) == ("scheduled", None)
    assert store.contacts("other") == {}


def test_what_is_not_there_is_not_shown(store: Store) -> None:
    """No job is None, and has no contacts; another organization's is not there."""
    assert store.job("nobody's") is None
    assert store.contacts("nobody's") == {}
    assert store.job("job", "acme") is None
    assert store.contacts("job", "acme") == {}


def test_contacts_are_added_to_those_that_are_there(store: Store) -> None:
    """The same id again is the same contact, with a new status."""
    store.add_contacts("job", {"ann": "queued", "zoe": "timeout"})
    assert store.contacts("job") == {
        "ann": "queued",
        "bob": "dialing",
        "eve": "busy",
        "zoe": "timeout",
    }


def test_a_look_is_a_copy(store: Store) -> None:
    """Neither what was given nor what was got is the store's own."""
    seed: dict[str, str | None] = {"zoe": "busy"}
    store.add_contacts("job", seed)
    seed["zoe"] = "changed"
    store.contacts("job")["ann"] = "changed"
    assert store.contacts("job") == {
        "ann": "pending",
        "bob": "dialing",
        "eve": "busy",
        "zoe": "busy",
    }


def test_a_seed_must_fit(store: Store) -> None:
    """The same job twice, and contacts of no job, are mistakes of the test."""
    with pytest.raises(ValueError, match="there is already a job 'job' in this organization"):
        store.add_job("job")
    with pytest.raises(LookupError, match="there is no job 'nope' in this organization"):
        store.add_contacts("nope", {})
    with pytest.raises(LookupError, match="there is no job 'job' in this organization"):
        store.add_contacts("job", {}, "acme")
    key: Any = 42
    with pytest.raises(TypeError):
        store.add_job(key)


# Transactions ------------------------------------------------------------------------------------


def test_a_clean_exit_commits(store: Store) -> None:
    """Job, record and contacts together; the contact on the phone is left alone."""

    async def transaction() -> CancellationRecord:
        async with store.awaited() as repositories:
            return await cancelled(repositories)

    record = asyncio.run(transaction())
    job = store.job("job")
    assert job is not None
    assert (job.status, job.cancellation) == ("cancelled", record)
    assert record.contacts_cancelled == 2
    assert store.contacts("job") == {"ann": "cancelled", "bob": "dialing", "eve": "cancelled"}


@pytest.mark.parametrize("error", [Undo, KeyboardInterrupt, asyncio.CancelledError])
def test_any_exception_rolls_back(store: Store, error: type[BaseException]) -> None:
    """Also one that is no error; and it comes out as it went in."""
    fault = error()
    caught: list[BaseException] = []

    async def transaction() -> None:
        try:
            async with store.awaited() as repositories:
                await cancelled(repositories)
                raise fault  # noqa: TRY301  # Through the transaction.
        except BaseException as it:  # noqa: BLE001  # Before asyncio makes another one of it.
            caught.append(it)

    asyncio.run(transaction())
    assert caught == [fault]
    assert status_of(store) == "running"
    assert store.contacts("job") == {"ann": "pending", "bob": "dialing", "eve": "busy"}
    asyncio.run(transaction())  # And the next one has its turn.


def test_a_draft_is_seen_within_its_transaction_alone(store: Store) -> None:
    """Whoever looks sees what was last committed."""

    async def transaction() -> None:
        async with store.awaited() as repositories:
            await cancelled(repositories)
            job = await repositories.jobs.lock(JobKey("job"))
            assert job.status == "cancelled"
            assert status_of(store) == "running"

    asyncio.run(transaction())
    assert status_of(store) == "cancelled"


def test_a_store_is_joined_where_it_is_in_a_transaction(store: Store) -> None:
    """Of this thread, of this task: what another is at says nothing."""

    async def transaction() -> None:
        other = ThreadPoolExecutor(1) if isinstance(store, BlockingStore) else None
        loop = asyncio.get_running_loop()

        async def is_joined_elsewhere() -> bool:
            if other is not None:
                return await loop.run_in_executor(other, lambda: store.is_joined)
            return await asyncio.create_task(_is_joined(store))

        assert not store.is_joined
        async with store.awaited():
            assert store.is_joined
            async with store.awaited():
                assert store.is_joined
            assert store.is_joined
            assert not await is_joined_elsewhere()
        assert not store.is_joined
        if other is not None:
            other.shutdown()

    asyncio.run(transaction())


async def _is_joined(store: Store) -> bool:
    return store.is_joined


def test_a_transaction_within_is_a_savepoint(store: Store) -> None:
    """Rolled back alone, it leaves what was before it and after it."""
    store.add_job("other", "running")

    async def transaction() -> None:
        async with store.awaited() as outer:
            await cancelled(outer, "other")
            with undone():
                async with store.awaited() as inner:
                    await cancelled(inner)
                    raise Undo
            job = await outer.jobs.lock(JobKey("job"))
            assert job.status == "running"

    asyncio.run(transaction())
    assert status_of(store) == "running"
    other = store.job("other")
    assert other is not None
    assert other.status == "cancelled"


def test_a_savepoint_is_undone_with_the_transaction_around_it(store: Store) -> None:
    """Its clean exit commits nothing by itself."""

    async def transaction() -> None:
        with undone():
            async with store.awaited() as outer:
                async with store.awaited() as inner:
                    await cancelled(inner)
                job = await outer.jobs.lock(JobKey("job"))
                assert job.status == "cancelled"
                assert status_of(store) == "running"
                raise Undo

    asyncio.run(transaction())
    assert status_of(store) == "running"


def test_a_savepoint_of_a_savepoint(store: Store) -> None:
    """Each level undoes what is within it, and no more."""
    for name in ("first", "second", "third"):
        store.add_job(name, "running")

    async def transaction() -> None:
        async with store.awaited() as outermost:
            await cancelled(outermost, "first")
            with undone():
                async with store.awaited() as middle:
                    await cancelled(middle, "second")
                    async with store.awaited() as innermost:
                        await cancelled(innermost, "third")
                    job = await middle.jobs.lock(JobKey("third"))
                    assert job.status == "cancelled"
                    raise Undo

    asyncio.run(transaction())
    jobs = [store.job(name) for name in ("first", "second", "third")]
    assert [job and job.status for job in jobs] == ["cancelled", "running", "running"]


def test_a_job_that_is_not_there_is_not_locked(store: Store) -> None:
    """Another organization's is not there."""

    async def transaction() -> list[Job | None]:
        async with store.awaited() as repositories:
            keys = [JobKey("nope"), JobKey("job", "acme"), JobKey("job", "")]
            return [await repositories.jobs.lock(key) for key in keys]

    assert asyncio.run(transaction()) == [None, None, None]


def test_only_the_statuses_given_are_cancelled(store: Store) -> None:
    """The rule is the caller's; unknown statuses and NULL are never in it."""
    store.add_contacts("job", {"odd": "vip", "none": None, "old": "completed"})

    async def transaction() -> int:
        async with store.awaited() as repositories:
            statuses = frozenset({ContactStatus.BUSY})
            changed: int = await repositories.contacts.cancel(JobKey("job"), statuses)
            return changed

    assert asyncio.run(transaction()) == 1
    assert store.contacts("job") == {
        "ann": "pending",
        "bob": "dialing",
        "eve": "cancelled",
        "odd": "vip",
        "none": None,
        "old": "completed",
    }


def test_a_removal_is_settled_on_its_own_record_only(store: Store) -> None:
    """What another operation has left meanwhile is not touched."""

    async def transaction() -> CancellationRecord:
        async with store.awaited() as repositories:
            record = attrs.evolve(await cancelled(repositories), removal=Removal.PENDING)
            job = await repositories.jobs.lock(JobKey("job"))
            await repositories.jobs.mark_cancelled(job, record)
            another = attrs.evolve(record, operation_id="op-2")
            await repositories.outbox.settle(attrs.evolve(another, removal=Removal.ABSENT))
            await repositories.outbox.settle(attrs.evolve(record, removal=Removal.REMOVED))
            # The second answer to one question changes nothing any more.
            await repositories.outbox.settle(attrs.evolve(record, removal=Removal.ABSENT))
            return record

    record = asyncio.run(transaction())
    job = store.job("job")
    assert job is not None
    assert job.cancellation == attrs.evolve(record, removal=Removal.REMOVED)
