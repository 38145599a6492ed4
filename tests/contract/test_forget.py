"""Old records are forgotten once they owe nothing, on every store, and no younger one is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch_cancel import AlreadyTerminal, Removal
from batch_cancel.use_cases import history as use_case
from tests.contract.records import add_and_put, put

if TYPE_CHECKING:
    from tests.pairs import World

DAY = timedelta(days=1)
NOTHING = timedelta(0)
PENDING: dict[str, Any] = {"deferred_id": "start", "removal": Removal.PENDING}


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def kept(world: World, organization_id: str | None = None) -> list[str]:
    """Return the jobs whose records are left, in the order of the alphabet."""
    records = world.history(organization_id=organization_id, limit=1000).records
    return sorted(it.key.batch_job_id for it in records)


def test_what_is_old_and_owes_nothing_is_forgotten(world: World) -> None:
    """Of all organizations; the jobs stay as they are."""
    add_and_put(world, "old", now() - 100 * DAY)
    add_and_put(world, "theirs", now() - 100 * DAY, organization_id="org")
    add_and_put(world, "new", now() - 50 * DAY)
    before = world.rows()
    assert world.forget(now() - 60 * DAY) == 2
    assert (kept(world), kept(world, "org")) == (["new"], [])
    assert world.rows() == before
    assert world.forget(now() - 60 * DAY) == 0
    assert world.cancellation("old") is None


def test_what_is_owed_is_never_forgotten(world: World) -> None:
    """A removal, or an announcement; once it is settled it is."""
    add_and_put(world, "removal", now() - 100 * DAY, **PENDING)
    add_and_put(world, "announcement", now() - 100 * DAY, is_announced=False)
    world.schedule("start")
    assert world.forget(now()) == 0
    assert kept(world) == ["announcement", "removal"]
    assert world.reconcile(on_cancelled=world.hook_that(lambda _: None))
    assert world.forget(now()) == 2
    assert kept(world) == []


def test_what_a_client_may_ask_for_again_is_kept(world: World) -> None:
    """For 30 days unless said otherwise, whatever is to be forgotten."""
    add_and_put(world, "29 days", now() - 29 * DAY)
    add_and_put(world, "31 days", now() - 31 * DAY)
    assert world.forget(now() + DAY) == 1
    assert kept(world) == ["29 days"]
    assert world.forget(now(), retry_window=30 * DAY) == 0
    assert world.forget(now() - 29 * DAY - timedelta(hours=1), retry_window=NOTHING) == 0
    assert world.forget(now(), retry_window=NOTHING) == 1


def test_a_forgotten_operation_is_told_that_the_job_is_cancelled(world: World) -> None:
    """Nobody knows any more that it was this one."""
    world.add_job("job", "running", ["pending"])
    world.cancel("job", operation_id="op")
    assert world.cancel("job", operation_id="op").replayed
    assert world.forget(now() + DAY, retry_window=NOTHING) == 1
    with pytest.raises(AlreadyTerminal, match=r"is already cancelled$"):
        world.cancel("job", operation_id="op")


def test_earlier_records_are_forgotten_too(world: World) -> None:
    """What was pending in them keeps none of them; the job's own record is kept."""
    add_and_put(world, "job", now() - 100 * DAY, **PENDING)
    for number, days in enumerate((90, 40)):
        world.revive("job")
        put(world, "job", now() - days * DAY, operation_id=f"again-{number}")
    assert len(kept(world)) == 3
    assert world.forget(now() - 60 * DAY) == 2
    assert kept(world) == ["job"]
    assert world.forget(now() - 30 * DAY) == 1
    assert kept(world) == []


def test_the_oldest_go_first_in_slices(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many transactions as it takes; earlier records fill a slice up."""
    monkeypatch.setattr(use_case, "FORGET_SLICE", 2)
    for number in range(5):
        add_and_put(world, f"job-{number}", now() - (100 - number) * DAY)
    world.revive("job-4")
    put(world, "job-4", now() - 50 * DAY, operation_id="again")
    assert world.forget(now() - 97 * DAY - timedelta(hours=1)) == 3
    assert kept(world) == ["job-3", "job-4", "job-4"]
    assert world.forget(now() - 40 * DAY) == 3
    assert kept(world) == []


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    records=st.lists(
        st.tuples(st.integers(0, 60), st.booleans(), st.booleans()), min_size=1, max_size=6
    ),
    before=st.integers(0, 60),
    window=st.integers(0, 60),
)
def test_for_any_records_those_and_no_others_go(
    world: World, records: list[tuple[int, bool, bool]], before: int, window: int
) -> None:
    """Old enough by both measures, and without a debt."""
    world.clear()
    at, due = now() - timedelta(hours=1), set[str]()
    for number, (days, is_pending, is_announced) in enumerate(records):
        job_id = f"job-{number}"
        owed = PENDING if is_pending else {}
        add_and_put(world, job_id, at - days * DAY, is_announced=is_announced, **owed)
        if days >= before and days >= window and is_announced and not is_pending:
            due.add(job_id)
    # An hour of tolerance: half of it on either side.
    moment = at - before * DAY + timedelta(minutes=30)
    assert world.forget(moment, retry_window=window * DAY) == len(due)
    assert set(kept(world)) == {f"job-{number}" for number in range(len(records))} - due
