"""Drift between store and scheduler, in every world: each kind is found, and nothing else is."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from batch_cancel import Drift, JobKey
from batch_cancel.domain.drift import CancelledJob, DeferredStart, OverdueCalls
from tests import pairs

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tests.pairs import World

HOUR = timedelta(hours=1)
OPEN = ["pending", "queued", "no_answer", "busy", "timeout"]
CLOSED = ["dialing", "completed", "failed", "blocked", "cancelled", "voicemail", None]


def drift(**found: Any) -> Drift:
    """Return what an inspection finds, where no call is overdue unless it says so."""
    found.setdefault("calls_overdue", ())
    return Drift(**found)


def silent(*_: Any) -> None:
    """Confirm nothing."""


def test_an_empty_store_has_no_drift(world: World) -> None:
    """Nothing is amiss where nothing is."""
    assert world.inspect() == drift()
    assert not world.inspect().is_found


def test_jobs_in_order_are_no_drift(world: World) -> None:
    """Scheduled with a start that waits, live, ended, unknown, and cancelled by us."""
    for status in ("pending", "running", "completed", "failed", "paused", None):
        world.add_job(f"{status}", status, [*OPEN, *CLOSED], deferred_id=f"start-{status}")
    world.add_job("scheduled", "scheduled", OPEN, deferred_id="start")
    world.schedule("start")
    world.add_job("cancelled", "scheduled", [*OPEN, *CLOSED], deferred_id="taken back")
    world.schedule("taken back")
    world.cancel("cancelled")
    world.schedule("nobody's")
    before = world.rows()

    assert world.inspect() == drift()

    assert world.rows() == before
    assert world.waiting() == {"start", "nobody's"}


def test_a_removal_still_pending_is_found(world: World) -> None:
    """With its record, and its start as long as that waits; reconcile clears both away."""
    world.add_job("job", "scheduled", OPEN, organization_id="org", deferred_id="start")
    world.schedule("start")
    world.cancel("job", organization_id="org", scheduler=world.scheduler_that(silent))
    record = world.record("job", "org")
    assert record is not None

    assert world.inspect() == drift(
        removals_pending=(record,),
        starts_waiting=(DeferredStart(JobKey("job", "org"), "start"),),
    )

    world.reconcile()
    assert world.inspect() == drift()


def test_a_start_of_a_job_that_somebody_else_cancelled_is_found(world: World) -> None:
    """No record says that it is owed."""
    world.add_job("job", "cancelled", deferred_id="start")
    world.schedule("start")
    assert world.inspect() == drift(starts_waiting=(DeferredStart(JobKey("job"), "start"),))


@pytest.mark.parametrize("deferred_id", ["never scheduled", None])
def test_a_scheduled_job_that_nothing_will_start_is_found(
    world: World, deferred_id: str | None
) -> None:
    """Its start does not wait, or it names none; the others are not blamed."""
    world.add_job("job", "scheduled", OPEN, deferred_id=deferred_id)
    world.add_job("good", "scheduled", OPEN, organization_id="org", deferred_id="start")
    world.schedule("start")
    assert world.inspect() == drift(starts_missing=(DeferredStart(JobKey("job"), deferred_id),))


def test_a_scheduled_job_whose_start_has_fired_is_found(world: World) -> None:
    """It was handed out, and nobody started the job."""
    world.add_job("job", "scheduled", deferred_id="start")
    world.fire("start")
    assert world.inspect() == drift(starts_missing=(DeferredStart(JobKey("job"), "start"),))


def test_open_contacts_under_a_cancelled_job_are_counted(world: World) -> None:
    """The five statuses, each job by itself, and no other job's."""
    world.add_job("five", "cancelled", [*OPEN, *CLOSED])
    world.add_job("one", "cancelled", ["busy"], organization_id="org")
    world.add_job("none", "cancelled", CLOSED)
    world.add_job("live", "running", OPEN)

    found = world.inspect()

    assert set(found.contacts_open) == {
        CancelledJob(JobKey("five"), None, 5),
        CancelledJob(JobKey("one", "org"), None, 1),
    }
    assert found == drift(contacts_open=found.contacts_open)


def test_ids_are_just_their_bytes(world: World) -> None:
    """Whatever they look like."""
    odd = ["%", "*", "{}", "'", '"', "../", "a\nb", "☎", "\\", "%(limit)s", "[1]"]
    for number, deferred_id in enumerate(odd):
        world.add_job(f"{deferred_id}{number}", "scheduled", deferred_id=deferred_id)
        world.add_job(f"gone{number}", "cancelled", deferred_id=f"{deferred_id}{deferred_id}")
        world.schedule(deferred_id)
    assert world.inspect() == drift()

    world.schedule("☎☎")
    assert world.inspect().starts_waiting == (DeferredStart(JobKey("gone7"), "☎☎"),)


def test_a_limit_that_was_met_is_said(world: World) -> None:
    """No more than that of each kind is looked at, and what was not looked at is not clean."""
    for number in range(4):
        world.add_job(f"job-{number}", "scheduled", deferred_id=f"start-{number}")
        world.add_job(f"cancelled-{number}", "cancelled", OPEN)

    found = world.inspect(limit=3)

    assert (len(found.starts_missing), len(found.contacts_open)) == (3, 3)
    assert found.is_partial
    assert not world.inspect(limit=5).is_partial


def test_the_limit_keeps_the_likeliest(world: World) -> None:
    """The oldest removals, the longest untouched scheduled jobs, the last cancelled jobs."""
    for number in range(3):
        world.add_job(f"left-{number}", "scheduled", deferred_id=f"left-{number}")
        world.add_job(f"job-{number}", "scheduled", OPEN, deferred_id=f"start-{number}")
    for number in range(3):
        world.cancel(f"job-{number}", scheduler=world.scheduler_that(silent))

    found = world.inspect(limit=1)

    assert [it.key for it in found.removals_pending] == [JobKey("job-0")]
    assert [it.key for it in found.starts_missing] == [JobKey("left-0")]
    assert found.is_partial


def test_overdue_calls_are_counted(world: World) -> None:
    """Those that have been live for longer, each job by itself, those with most of them first."""
    world.add_job("two", "running", ["dialing", "dialing", "dialing", "pending"])
    world.add_job("one", "cancelled", ["dialing", "completed"], organization_id="org")
    world.add_job("none", "running", ["dialing"])
    for job_id, label, organization_id in (
        ("two", "0", None),
        ("two", "2", None),
        ("two", "3", None),
        ("one", "0", "org"),
        ("one", "1", "org"),
    ):
        world.make_old(job_id, label, HOUR * 5, organization_id)
    before = world.rows()

    two, one = OverdueCalls(JobKey("two"), 2), OverdueCalls(JobKey("one", "org"), 1)
    assert world.inspect() == drift(calls_overdue=(two, one))
    assert world.inspect().is_found
    assert world.inspect(calls_older_than=HOUR * 6) == drift()
    assert world.inspect(limit=1).calls_overdue == (two,)
    assert world.inspect(limit=1).is_partial
    assert world.rows() == before


def test_an_age_of_calls_that_makes_no_sense_is_refused(world: World) -> None:
    """Before anybody is asked."""
    with pytest.raises(ValueError, match="older_than must be positive"):
        world.inspect(calls_older_than=HOUR * 0)


class Meanwhile:
    """A scheduler that something happens beside while it is asked what waits."""

    def __init__(self, world: World, happens: Callable[[], object]) -> None:
        self._world = world
        self._happens = happens

    def waiting_among(self, deferred_ids: set[str]) -> set[str]:
        """Answer, and let it happen."""
        waiting = self._world.waiting() & deferred_ids
        self._happens()
        return waiting


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def blocking(request: pytest.FixtureRequest) -> Generator[World]:
    """Yield a world that may be used while it is being asked; an event loop could not be."""
    with pairs.opened(request.param, "memory", request) as world:
        yield world


def test_a_start_that_fires_meanwhile_is_no_drift(blocking: World) -> None:
    """The job was scheduled at the first look, and is running at the second."""
    blocking.add_job("job", "scheduled", OPEN, deferred_id="start")
    starting = Meanwhile(blocking, lambda: blocking.store.set_status(JobKey("job"), "running"))
    assert blocking.inspect(scheduler=starting) == drift()


def test_a_cancel_meanwhile_is_no_drift(blocking: World) -> None:
    """Its removal was owed at the first look, and is settled at the second."""
    blocking.add_job("job", "scheduled", OPEN, deferred_id="start")
    blocking.schedule("start")
    cancellation = blocking.cancel_rows("job")
    finishing = Meanwhile(
        blocking, lambda: blocking.remove_deferred(cancellation, uow=blocking.store.uow)
    )
    assert blocking.inspect(scheduler=finishing) == drift()


def test_contacts_settled_meanwhile_are_no_drift(blocking: World) -> None:
    """They were open under a cancelled job at the first look only."""
    blocking.add_job("job", "cancelled", OPEN)

    def settle() -> None:
        blocking.store.set_status(JobKey("job"), "running")
        blocking.cancel("job")

    assert blocking.inspect(scheduler=Meanwhile(blocking, settle)) == drift()


def test_drift_stays_whatever_happens_beside_it(blocking: World) -> None:
    """A new job meanwhile neither hides nor adds any."""
    blocking.add_job("job", "cancelled", OPEN, deferred_id="start")
    blocking.add_job("lost", "scheduled")
    blocking.schedule("start")
    busy = Meanwhile(blocking, lambda: blocking.add_job("new", "cancelled", OPEN))
    assert blocking.inspect(scheduler=busy) == drift(
        starts_waiting=(DeferredStart(JobKey("job"), "start"),),
        starts_missing=(DeferredStart(JobKey("lost"), None),),
        contacts_open=(CancelledJob(JobKey("job"), "start", 5),),
    )


def test_a_scheduler_that_cannot_see_what_waits_says_so(world: World) -> None:
    """Its silence does not pass for an empty answer; what the store alone knows is reported."""
    world.add_job("job", "scheduled", OPEN, deferred_id="start")
    world.add_job("nameless", "scheduled")
    assert world.inspect(scheduler=world.scheduler_that(silent)) == drift(
        starts_missing=(DeferredStart(JobKey("nameless"), None),), starts_seen=False
    )
