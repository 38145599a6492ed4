"""Cancelling many jobs keeps for each what a single cancel promises, on every store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from batch_cancel import (
    BulkResult,
    JobFilter,
    JobStatus,
    Removal,
    SchedulerUnavailable,
    StoreFailed,
)
from tests.contract.contacts import CONTACTS

if TYPE_CHECKING:
    from tests.pairs import World

LIVE = ["scheduled", "pending", "running"]
EVERY = JobFilter(statuses=LIVE)


def silent(_deferred_id: str, _operation_id: str) -> bool:
    """Be a scheduler that does not answer."""
    reason = "no answer"
    raise SchedulerUnavailable(reason)


def test_each_job_is_cancelled_as_by_a_single_cancel(world: World) -> None:
    """Its contacts, its record, its start; every other job stays as it is."""
    for kind in ("one", "many"):
        for status in LIVE:
            start = f"{kind}-{status}-start"
            world.add_job(f"{kind}-{status}", status, CONTACTS, deferred_id=start)
            world.schedule(start)
        world.add_job(f"{kind}-bare", "scheduled", {})
    world.add_job("beside", "running", CONTACTS)
    before = world.rows()
    names = [*LIVE, "bare"]
    for name in names:
        world.cancel(f"one-{name}", operation_id="op", actor="ann", reason="why")
    result = world.cancel_jobs(
        [f"many-{name}" for name in names], operation_id="op", actor="ann", reason="why"
    )
    assert (result.jobs, result.cancelled, result.contacts_cancelled) == (4, 4, 15)
    assert result.removals[Removal.REMOVED] == 3
    assert world.waiting() == set()
    assert world.row("beside") == before[attrs.evolve(next(iter(before)), batch_job_id="beside")]
    for name in names:
        one, many = world.row(f"one-{name}"), world.row(f"many-{name}")
        assert (many.status, many.statuses) == (one.status, one.statuses)
        one_record, record = world.record(f"one-{name}"), world.record(f"many-{name}")
        assert one_record is not None
        assert record is not None
        assert record == attrs.evolve(
            one_record,
            key=record.key,
            cancelled_at=record.cancelled_at,
            deferred_id=one_record.deferred_id and one_record.deferred_id.replace("one", "many"),
        )


def test_contacts_that_are_no_longer_open_stay_byte_for_byte(world: World) -> None:
    """Of each job."""
    for number in range(3):
        world.add_job(f"job-{number}", "running", CONTACTS)
    before = world.rows()
    assert world.cancel_jobs(EVERY).contacts_cancelled == 15
    for key, row in world.rows().items():
        for label, contact in before[key].contacts.items():
            if row.contacts[label][0] != "cancelled" or contact[0] == "cancelled":
                assert row.contacts[label] == contact


def test_a_filter_finds_the_live_jobs_of_its_organization(world: World) -> None:
    """By status; another organization's job of the same id is none of them."""
    for status in [*LIVE, "completed", "failed", "paused"]:
        world.add_job(f"job-{status}", status, ["pending"], organization_id="org")
    world.add_job("other", "running", ["pending"], organization_id="evil")
    world.add_job("nobody's", "running", ["pending"])
    result = world.cancel_jobs(JobFilter(organization_id="org", statuses=["running"]))
    assert (result.jobs, result.cancelled) == (1, 1)
    assert world.row("job-running", "org").status == "cancelled"
    result = world.cancel_jobs(JobFilter(organization_id="org"))
    assert (result.jobs, result.cancelled, result.failures) == (2, 2, ())
    assert world.row("other", "evil").status == world.row("nobody's").status == "running"
    assert world.cancel_jobs(EVERY).jobs == 1
    assert world.row("other", "evil").status == "running"
    assert world.cancel_jobs(JobFilter(organization_id="nobody")).jobs == 0


def test_a_filter_by_time_is_kept_or_refused(world: World) -> None:
    """By when a job was created; a store that does not know says so."""
    world.add_job("job", "running", ["pending"])
    later = datetime.now(UTC) + timedelta(days=1)
    for named in ({"created_after": later}, {"scheduled_after": later}):
        wanted: dict[str, Any] = dict(named)
        try:
            assert world.cancel_jobs(JobFilter(**wanted)).jobs == 0
        except StoreFailed as error:
            assert "filter" in error.reason  # noqa: PT017  # Either is right.
    assert world.row("job").status == "running"


def test_each_job_has_its_own_answer(world: World) -> None:
    """Of the same operation, of another, ended, unknown, another organization's, none at all."""
    for job_id in ("ours", "theirs", "fresh"):
        world.add_job(job_id, "running", ["pending"])
    world.add_job("ended", "failed", ["pending"])
    world.add_job("odd", "paused", ["pending"])
    world.add_job("foreign", "running", ["pending"], organization_id="evil")
    world.cancel("ours", operation_id="op")
    world.cancel("theirs", operation_id="other")
    before = world.rows()
    hostile = [
        "",
        "\0",
        "\ud800",
        "x" * 2000,
        "%",
        "*",
        "{}",
        "'",
        '"',
        "\\",
        "../",
        "a\nb",
        "NULL",
    ]
    ids = ["ours", "theirs", "fresh", "ended", "odd", "foreign", *hostile]
    result = world.cancel_jobs(ids, operation_id="op")
    assert (result.cancelled, result.replayed, result.contacts_cancelled) == (1, 1, 1)
    assert result.refused == {JobStatus.CANCELLED: 1, JobStatus.FAILED: 1}
    assert result.not_found == 1 + len(hostile)
    assert [failure.key.batch_job_id for failure in result.failures] == ["odd"]
    assert result.left == 0
    after = world.rows()
    assert {key.batch_job_id for key in after if after[key] != before[key]} == {"fresh"}


def test_a_job_of_the_same_id_elsewhere_is_untouched(world: World) -> None:
    """Two organizations may have one each, where the store allows it."""
    world.add_job("job", "running", CONTACTS)
    try:
        world.add_job("job", "running", CONTACTS, organization_id="org")
    except Exception:  # noqa: BLE001  # Its tables know an id once.
        return
    before = world.row("job")
    assert world.cancel_jobs(["job"], organization_id="org").contacts_cancelled == 5
    assert world.row("job") == before


class Unplugged(Exception):
    """What ends a bulk in the middle."""


def test_it_goes_on_where_it_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each job once, nothing twice; what is pending is finished by reconcile."""
    monkeypatch.setattr("batch_cancel.domain.bulk.BULK_SLICE", 2)
    ids = [f"job-{number}" for number in range(5)]
    for job_id in ids:
        world.add_job(job_id, "scheduled", ["pending", "busy"], deferred_id=f"start-{job_id}")
        world.schedule(f"start-{job_id}")

    def unplug(so_far: BulkResult) -> None:
        if so_far.done >= 2:
            raise Unplugged

    more: dict[str, Any] = {"operation_id": "op"}
    with pytest.raises(Unplugged):
        world.cancel_jobs(ids, progress=unplug, scheduler=world.scheduler_that(silent), **more)
    first = {it: world.record(it) for it in ids[:2]}
    assert all(first.values())
    result = world.cancel_jobs(ids, **more)
    assert (result.cancelled, result.replayed, result.contacts_cancelled) == (3, 2, 6)
    assert world.waiting() == set()
    for job_id, record in first.items():
        assert record is not None
        assert world.record(job_id) == attrs.evolve(record, removal=Removal.REMOVED)
    assert world.reconcile() == []


def test_a_removal_that_is_not_confirmed_is_found_by_reconcile(world: World) -> None:
    """Every one of them; the hook as well, once for each job."""
    ids = [f"job-{number}" for number in range(3)]
    for job_id in ids:
        world.add_job(job_id, "scheduled", ["pending"], deferred_id=f"start-{job_id}")
        world.schedule(f"start-{job_id}")
    called = list[str]()

    def hook(result: Any) -> None:
        called.append(result.batch_job_id)
        if len(called) == 1:
            raise Unplugged

    result = world.cancel_jobs(
        ids, scheduler=world.scheduler_that(silent), on_cancelled=world.hook_that(hook)
    )
    assert (result.cancelled, result.removals_pending) == (3, 3)
    results = world.reconcile(on_cancelled=world.hook_that(hook))
    assert {it.removal for it in results} == {Removal.REMOVED}
    assert sorted(called) == sorted([*ids, called[0]])
    assert world.waiting() == set()
