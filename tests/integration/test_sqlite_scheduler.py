"""What is SQLite's own about its scheduler; the life of a start is tested for all schedulers."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from batch_cancel import Removal, cancel_job
from batch_cancel.adapters.sqlite import SqliteScheduler, SqliteStore
from batch_cancel.ports import SchedulerUnavailable

if TYPE_CHECKING:
    from pathlib import Path

HOUR = timedelta(hours=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a file that does not exist yet."""
    return tmp_path / "jobs.db"


def test_store_and_scheduler_share_one_file(path: Path) -> None:
    """The embedded default: one file is all there is."""
    store, scheduler = SqliteStore(path), SqliteScheduler(path)
    store.add_job("j", "scheduled", deferred_id="d")
    scheduler.schedule("d", datetime.now(UTC) + HOUR)

    result = cancel_job("j", uow=store, scheduler=scheduler)

    assert result.removal is Removal.REMOVED
    assert SqliteScheduler(path).waiting() == set()
    job = SqliteStore(path).job("j")
    assert job is not None
    assert job.cancellation is not None
    assert job.cancellation.removal is Removal.REMOVED


def test_what_one_object_schedules_another_claims(path: Path) -> None:
    """The file is the scheduler; payloads are bytes, whatever is in them."""
    payload = bytes(range(256))
    assert SqliteScheduler(path).schedule("d", datetime.now(UTC) - HOUR, payload)
    [claimed] = SqliteScheduler(path).claim(10, HOUR)
    assert (claimed.deferred_id, claimed.payload) == ("d", payload)
    assert SqliteScheduler(path).claim(10, HOUR) == []
    assert SqliteScheduler(path).ack("d", claimed.token)
    assert not SqliteScheduler(path).ack("d", claimed.token)


def test_the_earliest_start_is_claimed_first(path: Path) -> None:
    """In the order of time, not of the hour that a time zone gives it."""
    scheduler = SqliteScheduler(path)
    east, west = timezone(timedelta(hours=12)), timezone(-timedelta(hours=12))
    noon = datetime(2024, 5, 1, 12, tzinfo=UTC)
    scheduler.schedule("third", (noon + 2 * timedelta(microseconds=1)).astimezone(west))
    scheduler.schedule("first", noon.astimezone(east))
    scheduler.schedule("second", noon + timedelta(microseconds=1))
    assert [claimed.deferred_id for claimed in scheduler.claim(2, HOUR)] == ["first", "second"]
    assert [claimed.deferred_id for claimed in scheduler.claim(2, HOUR)] == ["third"]


def _wait_in(path: Path, starts: int) -> list[str]:
    """Have starts wait in a file, and give their ids in the order of time."""
    scheduler, due = SqliteScheduler(path), datetime(2024, 5, 1, tzinfo=UTC)
    scheduler.schedule("start-00000", due)
    ids = [f"start-{number:05}" for number in range(starts)]
    rows = [
        (each, "due", (due + timedelta(seconds=number)).isoformat(timespec="microseconds"), b"")
        for number, each in enumerate(ids)
    ]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT OR REPLACE INTO batch_deferred_starts (deferred_id, state, at, payload) "
            "VALUES (?, ?, ?, ?)",
            rows,
        )
    return ids


def test_a_claim_of_many_starts_lets_others_write_between(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand in each transaction; what comes late does not lose what came before."""
    ids = _wait_in(path, 3_500)
    scheduler, other = SqliteScheduler(path), SqliteScheduler(path)
    steps: list[int] = []
    claim_some = scheduler._claim_some

    def claim(limit: int, lease: timedelta, token: str) -> Any:
        assert other.schedule(f"between-{len(steps)}", datetime.now(UTC) + HOUR)
        steps.append(limit)
        if len(steps) == 4:
            reason = "busy"
            raise SchedulerUnavailable(reason)
        return claim_some(limit, lease, token)

    monkeypatch.setattr(scheduler, "_claim_some", claim)
    claimed = scheduler.claim(3_400, HOUR)
    assert [start.deferred_id for start in claimed] == ids[:3_000]
    assert steps == [1_000, 1_000, 1_000, 400]
    assert len({start.token for start in claimed}) == 3
    assert all(other.ack(start.deferred_id, start.token) for start in claimed[::500])
    steps[:] = [0, 0, 0]
    with pytest.raises(SchedulerUnavailable, match="busy"):
        scheduler.claim(10, HOUR)
    assert [start.deferred_id for start in other.claim(9_000, HOUR)] == ids[3_000:]


def test_a_start_is_in_one_claim_once_however_short_its_lease(path: Path) -> None:
    """A lease that ends while the claim goes on is not handed out by it again."""
    _wait_in(path, 1_200)
    claimed = SqliteScheduler(path).claim(5_000, timedelta(0))
    assert len(claimed) == len({start.deferred_id for start in claimed})


@pytest.mark.parametrize("limit", [0, -1])
def test_a_claim_of_nothing_is_nothing(path: Path, limit: int) -> None:
    """A limit below zero is no limit for SQLite; it is none for us."""
    scheduler = SqliteScheduler(path)
    scheduler.schedule("d", datetime.now(UTC) - HOUR)
    assert scheduler.claim(limit, HOUR) == []
    assert scheduler.waiting() == {"d"}


@pytest.mark.parametrize(
    "at",
    [
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=12))),
        datetime.max.replace(tzinfo=UTC),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=12))),
        datetime.min.replace(tzinfo=UTC),
    ],
)
def test_the_ends_of_the_calendar_are_times(path: Path, at: datetime) -> None:
    """Also where the time in UTC would have no date any more."""
    scheduler = SqliteScheduler(path)
    assert scheduler.schedule("d", at)
    is_due = at.year == 1
    assert [claimed.deferred_id for claimed in scheduler.claim(1, HOUR)] == ["d"] * is_due
    assert scheduler.cancel("d", "op") is not is_due


@pytest.mark.parametrize("hostile", ["", "\0", "\ud800", "x" * 1_000_000])
def test_an_id_that_no_file_could_hold_is_nothing_to_take_back(path: Path, hostile: str) -> None:
    """None of that id can ever have been scheduled, and none ever will be."""
    scheduler = SqliteScheduler(path)
    assert scheduler.cancel(hostile, "op") is False
    assert scheduler.ack(hostile, "token") is False
    with pytest.raises(ValueError, match="a deferred id must be"):
        scheduler.schedule(hostile, datetime.now(UTC))


def test_a_start_that_is_over_leaves_no_payload_behind(path: Path) -> None:
    """What stays is the mark that it was cancelled or finished."""
    scheduler = SqliteScheduler(path)
    for deferred_id in ("cancelled", "finished"):
        scheduler.schedule(deferred_id, datetime.now(UTC) - HOUR, b"secret")
    scheduler.cancel("cancelled", "op")
    [claimed] = scheduler.claim(1, HOUR)
    scheduler.ack("finished", claimed.token)
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute(
            "SELECT deferred_id, state, at, payload, token, operation_id "
            "FROM batch_deferred_starts ORDER BY deferred_id"
        ).fetchall()
    assert found == [
        ("cancelled", "cancelled", None, b"", None, "op"),
        ("finished", "finished", None, b"", None, None),
    ]
