"""Every native store leads deferred starts through the same life."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from batch_cancel.adapters.sqlite import SqliteScheduler
from tests.contract.native_stores import (
    AT_ONCE,
    HOSTILE_IDS,
    HOUR,
    UNSTORABLE_IDS,
    Native,
    future,
    new_store,
    past,
    store,
)

__all__ = ["new_store", "store"]


def test_what_is_scheduled_waits_until_it_is_due(store: Native) -> None:
    """A start of the future is waiting and is not handed out; one of the past is, once."""
    assert store.schedule("later", future(), b"L")
    assert store.schedule("now", past(), b"N")
    assert store.waiting() == {"later", "now"}
    [start] = store.claim(10, HOUR)
    assert (start.deferred_id, start.payload) == ("now", b"N")
    assert store.waiting() == {"later"}
    assert store.claim(10, HOUR) == []


def test_a_start_scheduled_for_this_moment_is_due(store: Native) -> None:
    """There is no least delay, and there need be no payload."""
    assert store.schedule("now", datetime.now(UTC))
    [start] = store.claim(1, HOUR)
    assert (start.deferred_id, start.payload) == ("now", b"")


def test_any_time_zone_and_any_year_will_do(store: Native) -> None:
    """A time is an instant, however it is written, from the first year to the last."""
    east = datetime.now(timezone(timedelta(hours=5, minutes=45)))
    assert store.schedule("first", datetime.min.replace(tzinfo=UTC))
    assert store.schedule("last", datetime.max.replace(tzinfo=UTC))
    assert store.schedule("east", east - 2 * HOUR)
    assert sorted(start.deferred_id for start in store.claim(9, HOUR)) == ["east", "first"]


def test_a_waiting_start_can_be_moved(store: Native) -> None:
    """The last schedule of a start that still waits is the one that counts, payload included."""
    assert store.schedule("a", past(), b"old")
    assert store.schedule("a", future(), b"new")
    assert store.claim(10, HOUR) == []
    assert store.schedule("a", past(), b"newest")
    [start] = store.claim(10, HOUR)
    assert start.payload == b"newest"


def test_cancelling_what_waits_takes_it_back(store: Native) -> None:
    """True, and it is neither waiting nor ever handed out."""
    store.schedule("a", past())
    store.schedule("b", past())
    assert store.cancel("a", "operation") is True
    assert store.waiting() == {"b"}
    assert [start.deferred_id for start in store.claim(10, HOUR)] == ["b"]


def test_the_operation_that_removed_it_always_gets_true(store: Native) -> None:
    """The same operation, the same answer; another operation took nothing back."""
    store.schedule("a", future())
    assert store.cancel("a", "first") is True
    assert store.cancel("a", "second") is False
    assert store.cancel("a", "first") is True
    assert store.cancel("a", "second") is False


def test_what_was_handed_out_cannot_be_taken_back(store: Native) -> None:
    """False, for ever; and when the lease ends it is not handed out again."""
    store.schedule("a", past())
    [start] = store.claim(1, AT_ONCE)
    assert store.cancel("a", "operation") is False
    assert store.cancel("a", "operation") is False
    assert store.claim(1, HOUR) == []
    assert store.ack("a", start.token) is False


def test_what_is_finished_cannot_be_taken_back(store: Native) -> None:
    """False, for ever, and nothing comes back to life."""
    store.schedule("a", past())
    [start] = store.claim(1, HOUR)
    assert store.ack("a", start.token) is True
    assert store.cancel("a", "operation") is False
    assert store.schedule("a", past()) is False
    assert store.claim(1, HOUR) == []


def test_cancelling_the_unknown_bars_it(store: Native) -> None:
    """False, for ever; a schedule that arrives later is refused."""
    assert store.cancel("a", "operation") is False
    assert store.schedule("a", past()) is False
    assert store.cancel("a", "operation") is False
    assert store.waiting() == set()
    assert store.claim(1, HOUR) == []


def test_what_was_taken_back_cannot_be_scheduled_again(store: Native) -> None:
    """A permanent cancel is not undone by a late schedule."""
    store.schedule("a", future())
    store.cancel("a", "operation")
    assert store.schedule("a", past()) is False
    assert store.claim(1, HOUR) == []
    assert store.cancel("a", "operation") is True


def test_what_was_handed_out_cannot_be_scheduled_again(store: Native) -> None:
    """Neither while the lease lasts nor once it has ended; the payload stays the first one."""
    store.schedule("a", past(), b"first")
    store.claim(1, AT_ONCE)
    assert store.schedule("a", past(), b"second") is False
    [start] = store.claim(1, HOUR)
    assert start.payload == b"first"
    assert store.schedule("a", past(), b"second") is False


def test_a_lease_that_ended_is_given_to_another(store: Native) -> None:
    """The start is handed out again under a new token, which alone can acknowledge it."""
    store.schedule("a", past(), b"P")
    [first] = store.claim(1, AT_ONCE)
    [second] = store.claim(1, HOUR)
    assert (second.deferred_id, second.payload) == ("a", b"P")
    assert second.token != first.token
    assert store.claim(1, HOUR) == []
    assert store.ack("a", first.token) is False
    assert store.ack("a", second.token) is True
    assert store.ack("a", second.token) is False


def test_an_owner_whose_lease_ended_may_still_finish_what_nobody_took_over(store: Native) -> None:
    """A lease lasts until somebody else is given it."""
    store.schedule("a", past())
    [start] = store.claim(1, AT_ONCE)
    assert store.ack("a", start.token) is True
    assert store.claim(1, HOUR) == []


@pytest.mark.parametrize("token", ["", "x", "\0" * 32, "ы" * 40, "f" * 32])
def test_only_the_lease_s_token_acknowledges(store: Native, token: str) -> None:
    """Any other token, and any token for a start in another state, is told False."""
    assert store.ack("unknown", token) is False
    store.schedule("due", future())
    assert store.ack("due", token) is False
    store.schedule("a", past())
    [start] = store.claim(1, HOUR)
    assert store.ack("a", token) is False
    assert store.ack("due", start.token) is False
    assert store.ack("a", start.token + "0") is False
    assert store.ack("a", start.token) is True


def test_a_claim_takes_no_more_than_its_limit(store: Native) -> None:
    """The rest stays for the next one; a limit of nothing or less takes nothing."""
    for number in range(5):
        store.schedule(f"{number}", past())
    assert store.claim(0, HOUR) == []
    assert store.claim(-1, HOUR) == []
    taken = [len(store.claim(2, HOUR)) for _ in range(4)]
    assert taken == [2, 2, 1, 0]


def test_the_earliest_are_handed_out_first(store: Native) -> None:
    """In the order in which they became due, leases that ended included."""
    if not store.in_order:
        return  # Shards have no common order.
    for hours in (3, 5, 1, 4, 2):
        store.schedule(f"{hours} h ago", past(hours))
    assert [start.deferred_id for start in store.claim(2, AT_ONCE)] == ["5 h ago", "4 h ago"]
    # The two leases have ended only now: later than what is due for an hour or more.
    assert [start.deferred_id for start in store.claim(3, HOUR)] == [
        "3 h ago",
        "2 h ago",
        "1 h ago",
    ]
    again = [start.deferred_id for start in store.claim(9, HOUR)]
    assert sorted(again) == ["4 h ago", "5 h ago"]


def test_a_naive_time_is_refused(store: Native) -> None:
    """A time without a zone says nothing."""
    with pytest.raises(ValueError, match="aware"):
        store.schedule("a", datetime(2030, 1, 1))  # noqa: DTZ001  # That is the point.


@pytest.mark.parametrize("deferred_id", HOSTILE_IDS, ids=range(len(HOSTILE_IDS)))
def test_an_id_is_just_its_bytes(store: Native, deferred_id: str) -> None:
    """Nothing in an id is read as a pattern, a format or a separator."""
    payload = bytes(range(256))
    store.schedule("bystander", future())
    assert store.schedule(deferred_id, future(), b"")
    assert store.waiting() == {deferred_id, "bystander"}
    assert store.schedule(deferred_id, past(), payload)
    [start] = store.claim(9, AT_ONCE)
    assert (start.deferred_id, start.payload) == (deferred_id, payload)
    assert store.cancel(deferred_id, deferred_id) is False
    assert store.cancel("bystander", deferred_id) is True
    assert store.cancel("bystander", deferred_id) is True
    assert store.cancel("bystander", deferred_id + "!") is False


@pytest.mark.parametrize("deferred_id", UNSTORABLE_IDS, ids=range(len(UNSTORABLE_IDS)))
def test_an_id_that_no_store_can_keep_is_refused_without_harm(
    store: Native, deferred_id: str
) -> None:
    """Scheduling it is a mistake, cancelling it finds nothing."""
    with pytest.raises(ValueError, match="deferred id"):
        store.schedule(deferred_id, past())
    assert store.cancel(deferred_id, "operation") is False
    assert store.cancel(deferred_id, "operation") is False
    assert store.waiting() == set()
    assert store.claim(9, HOUR) == []


def test_many_can_wait(store: Native) -> None:
    """More than any page or batch that a store works in, which is a thousand."""
    ids = {f"job-{number}" for number in range(1_100)}
    if isinstance(store.store, SqliteScheduler):
        ids = set(sorted(ids)[:100])  # Each is a commit; and it pages nothing.
    for deferred_id in ids:
        store.schedule(deferred_id, past())
    assert store.waiting() == ids
    taken = [start.deferred_id for start in store.claim(10_000, HOUR)]
    assert sorted(taken) == sorted(ids)
