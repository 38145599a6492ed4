"""Reconcile calls the hooks that a crash left behind, on every store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batch_cancel import (
    AlreadyTerminal,
    CancelResult,
    JobKey,
    Removal,
)
from batch_cancel.presenter import present

if TYPE_CHECKING:
    from tests.pairs import World
from tests.contract.unfinished import down, removal, unfinished

# Announcements -----------------------------------------------------------------------------------


def test_the_hook_is_called_once_for_each_operation(world: World) -> None:
    """After the commit, with the answer; not of a retry, a refusal, or a pass of reconcile."""
    told: list[CancelResult] = []
    hook = world.hook_that(told.append)
    world.add_job("job", "scheduled", ["pending"], deferred_id="start")
    world.schedule("start")

    result = world.cancel("job", operation_id="op", on_cancelled=hook)

    assert told == [result]
    assert result.removal is Removal.REMOVED
    assert world.cancel("job", operation_id="op", on_cancelled=hook).replayed
    with pytest.raises(AlreadyTerminal):
        world.cancel("job", operation_id="other", on_cancelled=hook)
    assert world.reconcile(on_cancelled=hook) == []
    assert told == [result]


@pytest.mark.parametrize("status", ["scheduled", "pending", "running"])
def test_a_hook_that_nobody_lived_to_tell_is_told_by_reconcile(world: World, status: str) -> None:
    """Once; whether or not there was a deferred start."""
    told: list[CancelResult] = []
    hook = world.hook_that(told.append)
    world.add_job("job", status, ["pending", "busy"], organization_id="org")
    world.cancel_rows("job", organization_id="org", operation_id="op", announce=True)

    results = world.reconcile(on_cancelled=hook)

    assert told == results
    assert [(it.batch_job_id, it.contacts_cancelled, it.operation_id) for it in told] == [
        ("job", 2, "op")
    ]
    assert not told[0].replayed
    assert world.reconcile(on_cancelled=hook) == []


def test_a_hook_that_raises_does_not_fail_the_cancellation(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """200 all the same, and reconcile tells it again until it is told."""
    heard: list[CancelResult] = []

    def fail(result: CancelResult) -> None:
        heard.append(result)
        raise RuntimeError

    world.add_job("job", "scheduled", ["pending"], deferred_id="start")
    world.schedule("start")

    result = world.cancel("job", on_cancelled=world.hook_that(fail))

    [entry] = caplog.records
    assert entry.getMessage() == (
        "batch job 'job' is cancelled, but the on_cancelled hook failed (RuntimeError); "
        "reconcile will finish it"
    )
    assert present(result).status == 200
    assert result.redis_job_cancelled
    assert removal(world, "job") is Removal.REMOVED
    assert world.reconcile(on_cancelled=world.hook_that(fail)) == [result]
    told: list[CancelResult] = []
    assert world.reconcile(on_cancelled=world.hook_that(told.append)) == [result]
    assert told == [result]
    assert heard == [result, result]
    assert world.reconcile(on_cancelled=world.hook_that(told.append)) == []


def test_reconcile_without_a_hook_leaves_announcements_for_one_with_it(world: World) -> None:
    """The removal is finished, the telling is still owed."""
    unfinished(world, "job", announce=True)
    assert [it.removal for it in world.reconcile()] == [Removal.REMOVED]
    assert world.reconcile() == []
    told: list[CancelResult] = []
    world.reconcile(on_cancelled=world.hook_that(told.append))
    assert [it.removal for it in told] == [Removal.REMOVED]


def test_a_cancellation_that_announces_nothing_is_not_told(world: World) -> None:
    """Who cancelled without a hook wanted none."""
    unfinished(world, "job")
    told: list[CancelResult] = []
    world.reconcile(on_cancelled=world.hook_that(told.append))
    assert told == []


def test_the_hook_is_called_though_the_removal_is_still_pending(world: World) -> None:
    """The job is cancelled; nobody waits for Redis to hear of it, and nobody hears it twice."""
    told: list[CancelResult] = []
    hook = world.hook_that(told.append)
    world.add_job("job", "scheduled", deferred_id="start")
    world.schedule("start")
    world.cancel("job", scheduler=world.scheduler_that(down), on_cancelled=hook)
    assert [it.removal for it in told] == [Removal.PENDING]

    assert [it.removal for it in world.reconcile(on_cancelled=hook)] == [Removal.REMOVED]

    assert len(told) == 1
    assert world.waiting() == set()


def test_a_job_that_could_not_be_cancelled_is_not_announced(world: World) -> None:
    """No such job, or one that has ended."""
    told: list[CancelResult] = []
    hook = world.hook_that(told.append)
    world.add_job("ended", "completed")
    for job_id in ("ended", "missing"):
        with pytest.raises(Exception, match=r"already completed|there is no"):
            world.cancel(job_id, on_cancelled=hook)
    assert world.reconcile(on_cancelled=hook) == []
    assert told == []


def test_the_key_of_a_finished_job_is_unharmed(world: World) -> None:
    """Reconcile touches the record alone: neither the job's row nor its contacts."""
    unfinished(world, "job")
    before = world.rows()[JobKey("job")]
    world.reconcile()
    assert world.rows()[JobKey("job")] == before


def test_a_record_is_found_by_its_job_alone(world: World) -> None:
    """Not by the id alone, and not where there is none; as it is once it is settled."""
    world.add_job("job", "scheduled", organization_id="org", deferred_id="start")
    world.add_job("live", "running")
    assert world.found("job", "org") is None
    world.schedule("start")
    cancellation = world.cancel_rows("job", organization_id="org", operation_id="op")
    assert world.found("job", "org") == cancellation.record
    world.reconcile()
    assert world.found("job", "org") == world.record("job", "org") != cancellation.record
    for job_id, organization_id in (
        ("job", None),
        ("job", "other"),
        ("live", None),
        ("missing", None),
        ("missing", "org"),
    ):
        assert world.found(job_id, organization_id) is None
