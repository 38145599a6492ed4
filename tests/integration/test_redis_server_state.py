"""Redis with wrong types, no memory, no writes, no scripts; and how long tombstones last."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from batch_cancel.ports import SchedulerUnavailable
from tests.integration.redis_schedulers import (
    HOUR,
    SHORT,
    Schedulers,
    fragile,
    future,
    past,
    schedulers,
)
from tests.processes import wait_until

__all__ = ["fragile", "schedulers"]


@pytest.mark.parametrize("name", ["due", "job", "run", "old"])
def test_a_key_of_a_wrong_type_is_no_answer(schedulers: Schedulers, name: str) -> None:
    """Unavailable, with Redis's own code; and right again when the key is."""
    scheduler = schedulers.make()
    scheduler.schedule("a", future())
    client = schedulers.server.client
    key = schedulers.key(name)
    there = bool(client.exists(key))
    if there:
        client.rename(key, f"{key}:away")
    client.set(key, "not what it was")
    with pytest.raises(SchedulerUnavailable, match="WRONGTYPE"):
        # A cancel of what was not handed out has nothing to do with leases.
        _ = scheduler.claim(1, HOUR) if name == "run" else scheduler.cancel("a", "operation")
    client.delete(key)
    if there:
        client.rename(f"{key}:away", key)
    assert scheduler.cancel("a", "operation") is True
    assert scheduler.cancel("a", "operation") is True
    assert scheduler.claim(1, HOUR) == []


def test_a_server_out_of_memory_changes_nothing(fragile: Schedulers) -> None:
    """Refused as a whole: the start still waits, and can be taken back later."""
    scheduler = fragile.make()
    scheduler.schedule("a", past(), b"payload")
    fragile.server.client.config_set("maxmemory", "1")
    try:
        with pytest.raises(SchedulerUnavailable, match="OutOfMemoryError"):
            scheduler.cancel("a", "operation")
        with pytest.raises(SchedulerUnavailable, match="OutOfMemoryError"):
            scheduler.schedule("b", future())
    finally:
        fragile.server.client.config_set("maxmemory", "0")
    assert scheduler.waiting() == {"a"}
    assert scheduler.cancel("a", "operation") is True
    assert scheduler.waiting() == set()


def test_a_server_out_of_memory_hands_out_what_waits(fragile: Schedulers) -> None:
    """What was claimed and lapsed, too: whoever finishes it makes room."""
    scheduler = fragile.make()
    for each in ("a", "b", "c"):
        scheduler.schedule(each, past(), each.encode())
    assert len(scheduler.claim(2, timedelta(0))) == 2
    fragile.server.client.config_set("maxmemory", "1")
    try:
        claimed = scheduler.claim(9, HOUR)
    finally:
        fragile.server.client.config_set("maxmemory", "0")
    found = sorted((start.deferred_id, start.payload) for start in claimed)
    assert found == [("a", b"a"), ("b", b"b"), ("c", b"c")]
    assert [scheduler.ack(start.deferred_id, start.token) for start in claimed] == [True] * 3


def test_a_server_that_may_not_write_is_asked_until_it_may(fragile: Schedulers) -> None:
    """A demoted master is no answer within a short budget, and no obstacle to a long one."""
    hasty, patient = fragile.make(budget=SHORT), fragile.make()
    patient.schedule("a", future())
    client: Any = fragile.server.client
    client.replicaof("127.0.0.1", 1)
    with pytest.raises(SchedulerUnavailable):
        hasty.cancel("a", "operation")
    refused = client.info("errorstats")["errorstat_READONLY"]

    def promote() -> None:
        wait_until(
            lambda: client.info("errorstats")["errorstat_READONLY"] != refused,
            "another cancel was refused",
        )
        client.replicaof("NO", "ONE")

    promotion = threading.Thread(target=promote)
    promotion.start()
    try:
        assert patient.cancel("a", "operation") is True
    finally:
        promotion.join()
        client.replicaof("NO", "ONE")


def test_a_server_that_forgot_the_scripts_learns_them_again(schedulers: Schedulers) -> None:
    """SCRIPT FLUSH, or a restart, costs a round trip and nothing else."""
    scheduler = schedulers.make()
    client = schedulers.server.client
    client.script_flush()
    assert scheduler.schedule("a", past())
    client.script_flush()
    [start] = scheduler.claim(1, HOUR)
    client.script_flush()
    assert scheduler.ack("a", start.token) is True
    scheduler.schedule("b", future())
    client.script_flush()
    assert scheduler.waiting() == {"b"}
    client.script_flush()
    assert scheduler.cancel("b", "operation") is True


# Tombstones --------------------------------------------------------------------------------------


def test_tombstones_are_forgotten_in_time_eight_a_call(
    schedulers: Schedulers,
) -> None:
    """A call clears away at most eight that have outlived their time; younger ones stay."""
    scheduler = schedulers.make()
    for number in range(20):
        scheduler.cancel(f"old-{number}", "operation")
    client = schedulers.server.client
    for number in range(19):
        client.zadd(schedulers.key("old"), {f"old-{number}": 1})
    left = []
    for _ in range(4):
        scheduler.cancel("old-19", "operation")
        left.append((client.zcard(schedulers.key("old")), client.hlen(schedulers.key("job"))))
    assert left == [(12, 12), (4, 4), (1, 1), (1, 1)]


def test_a_tombstone_lasts_as_long_as_it_was_told_to(schedulers: Schedulers) -> None:
    """Thirty days, unless told otherwise; for cancelled, barred and finished alike."""
    scheduler = schedulers.make()
    scheduler.schedule("cancelled", future())
    scheduler.cancel("cancelled", "operation")
    scheduler.cancel("barred", "operation")
    scheduler.schedule("late", past())
    scheduler.claim(1, HOUR)
    scheduler.cancel("late", "operation")
    scheduler.schedule("finished", past())
    [start] = scheduler.claim(1, HOUR)
    scheduler.ack("finished", start.token)
    client: Any = schedulers.server.client
    forget = dict(client.zrange(schedulers.key("old"), 0, -1, withscores=True))
    forget = {it: at for it, at in forget.items() if not it.startswith("\0")}  # A claim's own.
    assert sorted(forget) == ["barred", "cancelled", "finished", "late"]
    in_30_days = (datetime.now(UTC) + timedelta(days=30)).timestamp() * 1000
    assert all(in_30_days - 600_000 < at <= in_30_days + 1000 for at in forget.values())
