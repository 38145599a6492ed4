"""Every native store answers any sequence of calls as a model in plain words does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.native_stores import AT_ONCE, HOUR, Native, new_store, store

if TYPE_CHECKING:
    from collections.abc import Callable

    from batch_cancel.domain.deferred_start import Claimed

__all__ = ["new_store", "store"]

IDS = ("plain", "{0}\n%'\"", "ключ ☎")
OPERATIONS = ("one", "two", "three\nthree")

STEPS = st.one_of(
    st.tuples(
        st.just("schedule"),
        st.sampled_from(IDS),
        st.sampled_from([3, 2, 1, -1]),
        st.sampled_from([b"", b"p", b"\xff\0"]),
    ),
    st.tuples(st.just("cancel"), st.sampled_from(IDS), st.sampled_from(OPERATIONS)),
    st.tuples(st.just("claim"), st.integers(0, 3), st.sampled_from([AT_ONCE, HOUR])),
    st.tuples(st.just("ack"), st.sampled_from(IDS), st.integers(0, 3)),
)


class _Model:
    """The life of a start in plain words: what a store should answer."""

    def __init__(self) -> None:
        self.state: dict[str, tuple[Any, ...]] = {}
        self.tokens: list[str] = ["never given"]

    def schedule(self, deferred_id: str, hours_ago: int, payload: bytes) -> bool:
        if self.state.get(deferred_id, ("due",))[0] != "due":
            return False
        self.state[deferred_id] = ("due", hours_ago, payload)
        return True

    def cancel(self, deferred_id: str, operation: str) -> bool:
        match self.state.get(deferred_id):
            case None | ("leased", *_):
                self.state[deferred_id] = ("dead",)
                return False
            case ("due", *_):
                self.state[deferred_id] = ("cancelled", operation)
                return True
            case state:
                return state == ("cancelled", operation)

    def claimable(self) -> dict[str, tuple[int, bytes]]:
        """Return by id its hours past due (0: its lease has ended), and the payload."""
        found = {}
        for deferred_id, state in self.state.items():
            match state:
                case ("due", hours_ago, payload) if hours_ago > 0:
                    found[deferred_id] = (hours_ago, payload)
                case ("leased", payload, _, True):
                    found[deferred_id] = (0, payload)
                case _:
                    pass
        return found

    def claimed(self, start: Claimed, lease: timedelta) -> None:
        self.tokens.append(start.token)
        ended = lease == AT_ONCE
        self.state[start.deferred_id] = ("leased", start.payload, start.token, ended)

    def ack(self, deferred_id: str, token: str) -> bool:
        match self.state.get(deferred_id):
            case ("leased", _, owner, _) if owner == token:
                self.state[deferred_id] = ("dead",)
                return True
            case _:
                return False


@settings(max_examples=80, deadline=None)
@given(steps=st.lists(STEPS, max_size=14))
def test_any_sequence_is_answered_as_the_model_answers(
    new_store: Callable[[], Native], steps: list[tuple[Any, ...]]
) -> None:
    """Whatever is asked in whatever order, each answer is the model's."""
    store, model = new_store(), _Model()
    for step in steps:
        match step:
            case ("schedule", deferred_id, hours_ago, payload):
                at = datetime.now(UTC) - hours_ago * HOUR
                expected = model.schedule(deferred_id, hours_ago, payload)
                assert store.schedule(deferred_id, at, payload) is expected
            case ("cancel", deferred_id, operation):
                expected = model.cancel(deferred_id, operation)
                assert store.cancel(deferred_id, operation) is expected
            case ("ack", deferred_id, recent):
                token = model.tokens[-1 - recent % len(model.tokens)]
                assert store.ack(deferred_id, token) is model.ack(deferred_id, token)
            case _:
                _check_claim(store, model, *step[1:])
    assert store.waiting() == {
        deferred_id for deferred_id, state in model.state.items() if state[0] == "due"
    }


def _check_claim(store: Native, model: _Model, limit: int, lease: timedelta) -> None:
    claimable = model.claimable()
    starts = store.claim(limit, lease)
    hours = [claimable[start.deferred_id][0] for start in starts]
    payloads = [claimable[start.deferred_id][1] for start in starts]
    assert len({start.deferred_id for start in starts}) == len(starts)
    assert len(starts) == min(limit, len(claimable))
    assert [start.payload for start in starts] == payloads
    if store.in_order:
        longest_due = sorted((found[0] for found in claimable.values()), reverse=True)
        assert hours == longest_due[: len(starts)]
    for start in starts:
        model.claimed(start, lease)
