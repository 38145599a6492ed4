"""
The kit's tests of turns at a record: at most one process at a time finishes a cancellation.

Whoever is about to call the `on_cancelled` hook claims the record first. This promise of a store
keeps hooks from being called twice. Part of `StoreConformance`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final, cast

import attrs

from batch_cancel.domain.job import CancellationRecord
from batch_cancel.domain.statuses import JobStatus, Removal
from batch_cancel.ports import AsyncUnitOfWork, UnitOfWork
from batch_cancel.testing.adapter import Maybe, StoreAdapter
from batch_cancel.testing.breakpoints import Hook
from batch_cancel.testing.conformance.outcomes import sabotage
from batch_cancel.testing.invariants import PromiseBroken, promise
from batch_cancel.testing.runner import Pause, ended, expect, watch
from batch_cancel.testing.world import World

LEASE: Final = timedelta(seconds=1)
"""Longer than two takes at once are apart, and short enough to wait for its end."""


class TurnConformance(StoreAdapter):
    """The tests of turns; `StoreConformance` has them."""

    @promise(
        "I21",
        cause="`claim` does not compare `taken_at`, or does not set it: of two with the same "
        "record both succeed, and both call the hook.",
        needs=["records"],
    )
    def test_i21_of_claims_with_the_same_record_one_succeeds(self, world: World) -> None:
        """It gets the record with a later turn, by which it may claim once more."""
        found = _left_behind(world)
        first = _claim(world, found)
        if first is None:
            msg = "`claim` gives None to the first who asks with the record as it is."
            raise PromiseBroken(msg)
        expect(first, found, "The record that was claimed:")
        expect(_is_later(first, found), True, "Whether its turn is later than before:")
        expect(_found(world).taken_at, first.taken_at, "The turn in the store:")
        expect(_claim(world, found), None, "What a second claim of the same record gets:")
        expect(_claim(world, first), first, "What a claim of the newer record gets:")

    @promise(
        "I21",
        cause="`mark_cancelled` sets another `taken_at` than `cancelled_at`, so that the process "
        "that cancels can't claim its own record.",
        needs=["records"],
    )
    def test_i21_whoever_cancels_has_the_first_turn(self, world: World) -> None:
        """Its time is that of the cancellation, which the one who cancels knows."""
        found = _left_behind(world)
        expect(found.taken_at, found.cancelled_at, "The turn after the cancel:")
        word = attrs.evolve(found, taken_at=found.cancelled_at)
        expect(_claim(world, word), found, "What the one who cancelled gets:")

    @promise(
        "I21",
        cause="`take` does not set `taken_at`, or does not return it: the process that took the "
        "record can't claim it, or one that read it before can.",
        needs=["records"],
    )
    def test_i21_what_was_taken_is_claimed_by_who_took_it(self, world: World) -> None:
        """And not by a process that read it before."""
        found = _left_behind(world)
        [taken] = _take(world)
        expect(taken, found, "The record that was taken:")
        expect(_is_later(taken, found), True, "Whether its turn is later than before:")
        expect(_claim(world, found), None, "What a claim of the older record gets:")
        expect(_claim(world, taken), found, "What a claim of the record that was taken gets:")

    @promise(
        "I21",
        cause="`claim` looks at `taken_at` alone: the cancellation must be the same, too.",
        needs=["records"],
    )
    def test_i21_another_cancellation_claims_nothing(self, world: World) -> None:
        """Of another operation, or of an earlier life of the job."""
        found = _left_behind(world)
        for word, what in _others(found):
            expect(_claim(world, word), None, f"What {what} gets:")
        expect(_claim(world, found), found, "What this cancellation gets:")

    @promise(
        "I21",
        cause="the outbox's `settle` names the operation alone: a job that came back to life may "
        "be cancelled by the same operation, so compare `cancelled_at` as well.",
        needs=["records"],
    )
    def test_i21_a_note_of_an_earlier_life_settles_nothing(self, world: World) -> None:
        """The removal of the second cancellation stays pending."""
        found = _left_behind(world)
        for word, what in _others(found):
            world.note(f"settle, by {what}")
            mark_done(world, attrs.evolve(word, removal=Removal.ABSENT))
            expect(world.record(), found, "The record:")

    @promise(
        "I21",
        cause="`take` reads what is pending without a lock, and notes afterwards that it took it: "
        "lock the rows that you pick (FOR UPDATE SKIP LOCKED).",
        needs=["records", "row_locks"],
    )
    def test_i21_of_takes_at_once_one_gets_the_record(self, world: World) -> None:
        """Another gets it after the lease at the earliest."""
        _left_behind(world)
        time.sleep(LEASE.total_seconds())
        pause = Pause("taken")
        one = world.beside(_taking(world, pause, LEASE))
        with pause.holding(one):
            world.note("holding who took the record in a transaction")
            other = world.beside(_taking(world, _nothing, LEASE))
            watch(other, self.patience_seconds)
        [taken] = ended(one)
        for again in ended(other):
            was, now = taken.taken_at, again.taken_at
            is_later = was is not None and now is not None and now - was >= LEASE
            expect(is_later, True, f"Whether {now}, the second take, is a lease after {was}:")

    @promise(
        "I21",
        cause="`claim` reads first and writes after: compare and set in one statement, or under "
        "the lock of the record.",
        needs=["records", "row_locks"],
    )
    def test_i21_of_claims_at_once_one_succeeds(self, world: World) -> None:
        """Whoever waited for the other's transaction finds another turn."""
        found = _left_behind(world)
        pause = Pause("claimed")
        one = world.beside(_claiming(world, found, pause))
        with pause.holding(one):
            world.note("holding who claimed the record in a transaction")
            other = world.beside(_claiming(world, found, _nothing))
            watch(other, self.patience_seconds)
        expect(ended(one), found, "The record that the first one got:")
        expect(ended(other), None, "What the second one got:")

    @promise(
        "I8",
        cause="`find`, `take` and `claim` do not look at the job's row: where it is there and not "
        "cancelled, the record must say `is_undone`, or a live job loses its start.",
        needs=["records"],
    )
    def test_i8_a_job_that_was_set_back_keeps_its_start(self, world: World) -> None:
        """Its cancellation is on record, and it is not cancelled."""
        found = _left_behind(world)
        expect(found.is_undone, False, "`is_undone` of a job that is cancelled:")
        sabotage(world, "job set back")
        expect(
            world.rows()[world.key("job")].status, JobStatus.SCHEDULED.value, "The job, set back:"
        )
        expect(_found(world).is_undone, True, "`is_undone` in what `find` gives:")
        [taken] = _take(world)
        expect(taken.is_undone, True, "`is_undone` in what `take` gives:")
        claimed = _claim(world, taken)
        expect(claimed is not None and claimed.is_undone, True, "`is_undone` in what was claimed:")
        waiting = world.waiting()
        [result] = world.reconcile()
        expect(result.removal, Removal.PENDING, "The removal:")
        expect(world.waiting(), waiting, "The starts that still wait:")


def _left_behind(world: World) -> CancellationRecord:
    world.add_job("job", "scheduled", ["pending"], deferred_id="start of job")
    world.schedule("job")
    world.cancel_rows("job", "operation of job")
    return _found(world)


def _others(record: CancellationRecord) -> list[tuple[CancellationRecord, str]]:
    earlier = record.cancelled_at - timedelta(hours=1)
    return [
        (attrs.evolve(record, operation_id="another"), "another operation"),
        (attrs.evolve(record, cancelled_at=earlier), "an earlier life of the job"),
    ]


def _is_later(one: CancellationRecord, other: CancellationRecord) -> bool:
    return (
        one.taken_at is not None and other.taken_at is not None and one.taken_at > other.taken_at
    )


def _nothing(_point: str) -> None:
    """Let everything pass."""


def _found(world: World) -> CancellationRecord:
    record = world.run(world.finding(world.key("job"), _nothing))
    if record is None:
        msg = "`find` gives None for a job whose cancellation is committed."
        raise PromiseBroken(msg)
    return record


def _claim(world: World, record: CancellationRecord) -> CancellationRecord | None:
    claimed = world.run(_claiming(world, record, _nothing))
    world.note(f"claim, turn {record.taken_at} -> {claimed and claimed.taken_at}")
    return claimed


def _claiming(
    world: World, record: CancellationRecord, hook: Hook
) -> Callable[[], Maybe[CancellationRecord | None]]:
    """Return a claim, whose hook is called at the point "claimed" before the transaction's end."""

    def claim() -> CancellationRecord | None:
        with cast("UnitOfWork", world.adapter.uow()).begin() as repositories:
            outbox = repositories.outbox
            claimed = None if outbox is None else outbox.claim(record)
            hook("claimed")
            return claimed

    async def claim_async() -> CancellationRecord | None:
        async with cast("AsyncUnitOfWork", world.adapter.uow()).begin() as repositories:
            outbox = repositories.outbox
            claimed = None if outbox is None else await outbox.claim(record)
            await asyncio.to_thread(hook, "claimed")
            return claimed

    return world.either(claim, claim_async)


def _take(world: World) -> list[CancellationRecord]:
    return world.run(_taking(world, _nothing, timedelta()))


def _taking(
    world: World, hook: Hook, lease: timedelta
) -> Callable[[], Maybe[list[CancellationRecord]]]:
    """Return a take, whose hook is called at the point "taken" before the transaction's end."""

    def take() -> list[CancellationRecord]:
        with cast("UnitOfWork", world.adapter.uow()).begin() as repositories:
            outbox = repositories.outbox
            taken = [] if outbox is None else outbox.take(9, lease, announcements=False)
            hook("taken")
            return taken

    async def take_async() -> list[CancellationRecord]:
        async with cast("AsyncUnitOfWork", world.adapter.uow()).begin() as repositories:
            outbox = repositories.outbox
            taken = [] if outbox is None else await outbox.take(9, lease, announcements=False)
            await asyncio.to_thread(hook, "taken")
            return taken

    world.note(f"take what is pending, with a lease of {lease}")
    return world.either(take, take_async)


def mark_done(world: World, record: CancellationRecord) -> None:
    """Let the store note what a record says."""

    def settle() -> None:
        with cast("UnitOfWork", world.adapter.uow()).begin() as repositories:
            if repositories.outbox is not None:
                repositories.outbox.settle(record)

    async def settle_async() -> None:
        async with cast("AsyncUnitOfWork", world.adapter.uow()).begin() as repositories:
            if repositories.outbox is not None:
                await repositories.outbox.settle(record)

    world.run(world.either(settle, settle_async))
