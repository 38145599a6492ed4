"""The history of cancellations: whole, in order, page by page, and of one organization alone."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch_cancel import CancellationRecord, JobKey
from tests.contract.records import add_and_put, put

if TYPE_CHECKING:
    from tests.pairs import World

DAY = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MOMENT = timedelta(microseconds=1)


def pages(world: World, **options: Any) -> list[list[CancellationRecord]]:
    """Read all pages."""
    found, after = [], None
    while True:
        page = world.history(after=after, **options)
        found.append(list(page.records))
        after = page.next
        if after is None:
            return found


def test_the_newest_comes_first(world: World) -> None:
    """With all that its record holds; nothing is changed or taken."""
    old = add_and_put(world, "old", DAY, operation_id="first", reason="why")
    new = add_and_put(world, "new", DAY + SECOND, contacts_cancelled=0, deferred_id="start")
    before = world.rows()
    assert world.history().records == (new, old)
    assert world.history().next is None
    assert world.rows() == before


def test_there_is_none_at_first(world: World) -> None:
    """One page, which is empty."""
    world.add_job("job", "running")
    assert world.history().records == ()
    assert world.history().next is None


def test_another_organization_has_its_own(world: World) -> None:
    """No organization is one of them, and no wildcard."""
    none = add_and_put(world, "none", DAY)
    mine = add_and_put(world, "mine", DAY, organization_id="org")
    add_and_put(world, "theirs", DAY, organization_id="evil")
    assert world.history().records == (none,)
    assert world.history(organization_id="org").records == (mine,)
    assert world.history(organization_id="or").records == ()
    assert world.history(organization_id="\0").records == ()


def test_a_job_that_is_cancelled_anew_keeps_its_earlier_record(world: World) -> None:
    """Its record is the last one; all are in the history, each as it was."""
    world.add_job("job", "running", ["pending"], organization_id="org")
    records = []
    for number in range(3):
        world.cancel("job", organization_id="org", operation_id=f"op-{number}", actor="ann")
        records.append(world.record("job", "org"))
        world.revive("job", "org")
    assert world.history(organization_id="org").records == tuple(reversed(records))
    assert world.cancellation("job", organization_id="org") == records[-1]
    sizes = [len(page) for page in pages(world, organization_id="org", limit=2)]
    assert sizes == [2, 1]
    assert world.history(organization_id="evil").records == ()


def test_the_record_of_a_job(world: World) -> None:
    """With whether the job has been set back; None where there is none."""
    record = add_and_put(world, "job", DAY, organization_id="org")
    found = world.cancellation("job", organization_id="org")
    assert found == record
    assert found is not None
    assert not found.is_undone
    world.revive("job", "org")
    again = world.cancellation("job", organization_id="org")
    assert again is not None
    assert again.is_undone
    for job_id, organization_id in (("job", None), ("no", "org"), ("\0", "org")):
        assert world.cancellation(job_id, organization_id=organization_id) is None


def test_of_one_moment_none_is_skipped(world: World) -> None:
    """However the pages fall, and whichever table a record is in."""
    records = [add_and_put(world, f"job-{number}", DAY) for number in range(5)]
    world.revive("job-2")
    records.append(put(world, "job-2", DAY, operation_id="again"))
    for limit in range(1, 8):
        found = pages(world, limit=limit)
        assert [len(page) for page in found][:-1] == [limit] * (len(found) - 1)
        listed = [*itertools.chain(*found)]
        assert {it.operation_id + it.key.batch_job_id for it in listed} == {
            it.operation_id + it.key.batch_job_id for it in records
        }
        assert len(listed) == 6


def test_since_is_within_and_until_is_not(world: World) -> None:
    """To the microsecond, in any time zone."""
    at = [DAY - MOMENT, DAY, DAY + SECOND, DAY + SECOND + MOMENT]
    records = [add_and_put(world, f"job-{number}", it) for number, it in enumerate(at)]
    east = DAY.astimezone(tz=(datetime.fromisoformat("2026-01-01T00:00+05:30")).tzinfo)
    assert world.history(since=east).records == (records[3], records[2], records[1])
    assert world.history(until=DAY + SECOND).records == (records[1], records[0])
    assert world.history(since=DAY, until=DAY + SECOND).records == (records[1],)
    assert world.history(since=DAY, until=DAY).records == ()


def test_what_makes_no_sense_is_refused(world: World) -> None:
    """Before anything is asked."""
    for options, what in (
        ({"limit": 0}, "limit must be 1 to"),
        ({"after": "page 2"}, "after must be the `next`"),
        ({"since": datetime(2026, 1, 1)}, "since must be an aware datetime"),  # noqa: DTZ001
        ({"until": datetime(2026, 1, 1)}, "until must be an aware datetime"),  # noqa: DTZ001
    ):
        with pytest.raises(ValueError, match=what):
            world.history(**options)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    moments=st.lists(st.integers(0, 3), max_size=9),
    limit=st.integers(1, 4),
    bounds=st.tuples(st.none() | st.integers(0, 3), st.none() | st.integers(0, 4)),
    later=st.lists(st.sampled_from(["new", "again"]), max_size=4),
)
def test_the_pages_together_are_all_whatever_is_added_meanwhile(
    world: World,
    moments: list[int],
    limit: int,
    bounds: tuple[int | None, int | None],
    later: list[str],
) -> None:
    """Each once, the newest first; cancels between two pages move nothing."""
    world.clear()
    since, until = bounds
    due = []
    for number, moment in enumerate(moments):
        organization_id = "evil" if number % 4 == 3 else "org"
        at = DAY + moment * SECOND
        record = add_and_put(world, f"job-{number}", at, organization_id=organization_id)
        is_within = (since is None or moment >= since) and (until is None or moment < until)
        if organization_id == "org" and is_within:
            due.append(record)
    options = {
        "organization_id": "org",
        "limit": limit,
        "since": None if since is None else DAY + since * SECOND,
        "until": None if until is None else DAY + until * SECOND,
    }
    found, after, events = list[CancellationRecord](), None, iter(later)
    while True:
        page = world.history(after=after, **options)
        assert len(page.records) <= limit
        found += page.records
        after = page.next
        if after is None:
            break
        event, number = next(events, ""), len(found)
        if event == "new":
            add_and_put(world, f"new-{number}", DAY + 9 * SECOND, organization_id="org")
        elif event == "again":
            job_id = due[number % len(due)].key.batch_job_id  # Read already, or not yet.
            world.store.set_status(JobKey(job_id, "org"), "running")
            put(
                world,
                job_id,
                DAY + 9 * SECOND + number * MOMENT,
                operation_id="again",
                organization_id="org",
            )
    first = [it for it in found if it.cancelled_at < DAY + 9 * SECOND]
    assert sorted(it.key.batch_job_id for it in first) == sorted(it.key.batch_job_id for it in due)
    times = [it.cancelled_at for it in found]
    assert times == sorted(times, reverse=True)
    assert len({(it.key, it.cancelled_at) for it in found}) == len(found)
