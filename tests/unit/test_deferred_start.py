"""The life of a deferred start: every state, every step, as a table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from batch_cancel.domain import deferred_start
from batch_cancel.domain.deferred_start import Deferred, DeferredState

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
SOON_AFTER = NOW + timedelta(microseconds=1)

DUE = Deferred(DeferredState.DUE, at=NOW, payload=b"{}")
CLAIMED = Deferred(DeferredState.CLAIMED, at=LATER, payload=b"{}", token="t-1")
CANCELLED = Deferred(DeferredState.CANCELLED, operation_id="op-1")
CANCELLED_LATE = Deferred(DeferredState.CANCELLED_LATE, operation_id="op-1")
BARRED = Deferred(DeferredState.BARRED, operation_id="op-1")
FINISHED = Deferred(DeferredState.FINISHED)


def test_these_are_all_the_states() -> None:
    """The tables below speak of each of them."""
    named = [DUE, CLAIMED, CANCELLED, CANCELLED_LATE, BARRED, FINISHED]
    assert {it.state for it in named} == set(DeferredState)
    assert {str(state) for state in DeferredState} == {
        "due",
        "claimed",
        "cancelled",
        "cancelled_late",
        "barred",
        "finished",
    }


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, Deferred(DeferredState.DUE, at=LATER, payload=b"new")),
        (DUE, Deferred(DeferredState.DUE, at=LATER, payload=b"new")),
        (CLAIMED, None),
        (CANCELLED, None),
        (CANCELLED_LATE, None),
        (BARRED, None),
        (FINISHED, None),
    ],
)
def test_only_what_never_fired_and_was_never_cancelled_is_scheduled(
    before: Deferred | None, after: Deferred | None
) -> None:
    """An id that waits is moved; any other that was used before is used up."""
    assert deferred_start.schedule(before, LATER, b"new") == after


@pytest.mark.parametrize(
    ("before", "after", "was_removed"),
    [
        (None, Deferred(DeferredState.BARRED, operation_id="op-1"), False),
        (DUE, Deferred(DeferredState.CANCELLED, operation_id="op-1"), True),
        (CLAIMED, Deferred(DeferredState.CANCELLED_LATE, operation_id="op-1"), False),
        (CANCELLED, None, True),
        (CANCELLED_LATE, None, False),
        (BARRED, None, False),
        (FINISHED, None, False),
    ],
)
def test_only_a_start_that_waits_is_taken_back(
    before: Deferred | None, after: Deferred | None, *, was_removed: bool
) -> None:
    """And the operation that removed it gets True at every repetition."""
    assert deferred_start.cancel(before, "op-1") == after
    now = after or before
    assert now is not None
    assert deferred_start.was_removed_by(now, "op-1") is was_removed


@pytest.mark.parametrize("state", [DUE, CLAIMED, CANCELLED, CANCELLED_LATE, BARRED, FINISHED])
def test_another_operation_removed_nothing(state: Deferred) -> None:
    """True is for the operation that did it, and for no other."""
    now = deferred_start.cancel(deferred_start.cancel(state, "op-1") or state, "op-2")
    assert now is None
    assert not deferred_start.was_removed_by(deferred_start.cancel(state, "op-1") or state, "op-2")


@pytest.mark.parametrize(
    ("before", "now", "after"),
    [
        (DUE, NOW, Deferred(DeferredState.CLAIMED, LATER, b"{}", "t-2")),
        (DUE, SOON_AFTER, Deferred(DeferredState.CLAIMED, LATER, b"{}", "t-2")),
        (DUE, NOW - timedelta(microseconds=1), None),
        (CLAIMED, NOW, None),
        (CLAIMED, LATER - timedelta(microseconds=1), None),
        (CLAIMED, LATER, Deferred(DeferredState.CLAIMED, LATER, b"{}", "t-2")),
        (CANCELLED, LATER, None),
        (CANCELLED_LATE, LATER, None),
        (BARRED, LATER, None),
        (FINISHED, LATER, None),
        (Deferred(DeferredState.DUE), LATER, None),
    ],
)
def test_a_start_is_handed_out_when_it_is_due_or_its_lease_has_ended(
    before: Deferred, now: datetime, after: Deferred | None
) -> None:
    """With its payload, under a new token; what was cancelled or finished never is."""
    assert deferred_start.claim(before, now, "t-2", LATER) == after


@pytest.mark.parametrize(
    ("before", "token", "after"),
    [
        (CLAIMED, "t-1", Deferred(DeferredState.FINISHED)),
        (CLAIMED, "t-2", None),
        (None, "t-1", None),
        (DUE, "t-1", None),
        (CANCELLED, "t-1", None),
        (CANCELLED_LATE, "t-1", None),
        (BARRED, "t-1", None),
        (FINISHED, "t-1", None),
    ],
)
def test_only_the_owner_of_the_lease_finishes_a_start(
    before: Deferred | None, token: str, after: Deferred | None
) -> None:
    """An owner that lost its lease, or never had one, changes nothing."""
    assert deferred_start.acknowledge(before, token) == after


@pytest.mark.parametrize("deferred_id", ["", "a\0b", "\ud800", "x" * 1025])
def test_an_id_that_no_store_can_hold_is_not_scheduled(deferred_id: str) -> None:
    """The caller's mistake, told at once."""
    with pytest.raises(ValueError, match="deferred id"):
        deferred_start.check_schedulable(deferred_id, NOW)


def test_a_naive_time_is_not_scheduled() -> None:
    """Nobody could tell when it is."""
    naive = datetime(2026, 3, 1, 12)  # noqa: DTZ001  # That is the point.
    with pytest.raises(ValueError, match="aware"):
        deferred_start.check_schedulable("start", naive)


@pytest.mark.parametrize("deferred_id", ["arq_job_abc123", "x" * 1024, "{}%*\n"])
def test_anything_else_can_be_scheduled(deferred_id: str) -> None:
    """Special characters are bytes of an id like any others."""
    checked: Any = deferred_start.check_schedulable(deferred_id, NOW)  # type: ignore[func-returns-value]
    assert checked is None


def test_the_first_that_is_left_of_each_claim_comes_last() -> None:
    """Whoever had them may have ended of it; what was not handed out before stays in order."""

    def lapsed(token: str) -> Deferred:
        return Deferred(DeferredState.CLAIMED, at=NOW, token=token)

    starts = [
        ("a1", lapsed("a")),
        ("due", DUE),
        ("b1", lapsed("b")),
        ("a2", lapsed("a")),
        ("due too", DUE),
        ("b2", lapsed("b")),
        ("a3", lapsed("a")),
    ]
    order = [deferred_id for deferred_id, _ in deferred_start.in_delivery_order(starts)]
    assert order == ["due", "a2", "due too", "b2", "a3", "a1", "b1"]
    assert deferred_start.in_delivery_order([]) == []


def test_leases_end_in_the_order_of_delivery() -> None:
    """The last one as late as it was asked for."""
    ends = [deferred_start.lease_end(LATER, starts_after) for starts_after in (2, 1, 0)]
    assert ends == [LATER - n * timedelta(microseconds=1) for n in (2, 1, 0)]
    assert ends == sorted(set(ends))
    assert ends[-1] == LATER


@pytest.mark.parametrize("lease", [timedelta(0), timedelta(days=36_500)])
def test_a_lease_may_be_nothing_or_a_century(lease: timedelta) -> None:
    """And anything in between."""
    deferred_start.check_lease(lease)


def test_a_payload_is_not_shown() -> None:
    """It may hold personal data."""
    assert "{}" not in repr(DUE)
    assert "{}" not in repr(deferred_start.Claimed("a", b"{}", "token"))
