"""Whatever workers do in whichever order, and a cancel among them, the promises hold."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch_cancel import AlreadyTerminal
from tests import pairs
from tests.contract.workers import HOUR, OPEN, open_world

__all__ = ["open_world"]


TERMINAL_JOBS = {"completed", "failed", "cancelled"}
TERMINAL = {"completed", "failed", "blocked", "invalid_number", "carrier_error", "cancelled"}

Step = tuple[str, int, str]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["start", "claim", "settle", "expire", "append", "finish", "cancel"]),
        st.integers(0, 5),
        st.sampled_from(["busy", "failed"]),
    ),
    max_size=20,
)


def take(world: pairs.World, step: Step) -> None:
    """Take a step, and check its answer against what was there before."""
    name, number, outcome = step
    before = world.row("j")
    match name:
        case "start":
            assert world.start("j") is (before.status in {"scheduled", "pending"})
        case "claim":
            is_open = any(status in OPEN for status in before.statuses.values())
            assert bool(world.claim("j", number)) is (
                number > 0 and is_open and before.status == "running"
            )
        case "settle":
            is_live = before.statuses.get(str(number)) == "dialing"
            assert (world.settle("j", str(number), outcome) is not None) is is_live
        case "expire":
            is_live = before.statuses.get(str(number)) == "dialing"
            if is_live:
                world.make_old("j", str(number), 2 * HOUR)
            assert world.expire("j", HOUR) == is_live
        case "finish":
            is_left = any(status in {*OPEN, "dialing"} for status in before.statuses.values())
            assert world.finish("j") is (before.status == "running" and not is_left)
        case _:
            try:
                if name == "append":
                    assert world.append("j", str(len(before.contacts))) == 1
                else:
                    world.cancel("j")
            except AlreadyTerminal:
                assert before.status in TERMINAL_JOBS


def check(before: pairs.JobRow, after: pairs.JobRow) -> None:
    """Check that a step has kept the promises."""
    if before.status in TERMINAL_JOBS:
        assert after.status == before.status
    for label, contact in before.contacts.items():
        if contact[0] in TERMINAL:
            assert after.contacts[label] == contact
    if after.status in {"cancelled", "completed"}:
        assert not any(status in OPEN for status in after.statuses.values())
    if before.status == "cancelled":
        called = {label for label, status in after.statuses.items() if status == "dialing"}
        assert called <= {label for label, was in before.statuses.items() if was == "dialing"}


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    status=st.sampled_from(["scheduled", "pending", "running"]),
    contacts=st.lists(st.sampled_from([*OPEN, "dialing", "completed"]), max_size=4),
    steps=STEPS,
)
def test_whatever_workers_do_the_promises_hold(
    world: pairs.World, status: str, contacts: list[str], steps: list[Step]
) -> None:
    """Nothing that has ended changes, and a cancelled job has nobody left to call."""
    world.clear()
    world.add_job("j", status, contacts)
    for step in steps:
        before = world.row("j")
        take(world, step)
        check(before, world.row("j"))
