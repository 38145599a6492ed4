"""No fault at any call of a sweep leaves more or less than the record says."""

from __future__ import annotations

import pytest

from tests.faults import sweeps
from tests.faults.counts import is_in_sample
from tests.faults.expected import FULLY_CANCELLED, NOTHING_CHANGED
from tests.faults.setups import open_stage


def test_single_faults_of_a_sweep(request: pytest.FixtureRequest) -> None:
    """A right answer, an exact count at any moment, and all is well after a retry."""
    check_single_faults("memory-sweeping", 12, request)


@pytest.mark.repeats
@pytest.mark.parametrize(
    ("store", "every"),
    [("memory-sweeping-async", 12), ("postgres-sweeping", 25), ("postgres-sweeping-async", 25)],
)
def test_single_faults_of_the_other_sweeps(
    store: str, every: int, request: pytest.FixtureRequest
) -> None:
    """Likewise."""
    check_single_faults(store, every, request)


def check_single_faults(store: str, every: int, request: pytest.FixtureRequest) -> None:
    """Let a sample of the calls of a sweep fail."""
    states, wrong, points = set[str](), list[str](), set[str]()
    with open_stage(store, "memory", request) as stage:
        for number, case in enumerate(list(sweeps.cases(stage))):
            points.add(case.point.port)
            if is_in_sample(number, every):
                state, complaints = sweeps.run(case, stage)
                states.add(state)
                wrong += [f"{case}: {complaint}" for complaint in complaints]
    assert wrong == []
    assert states == {NOTHING_CHANGED, sweeps.SWEPT_HALF, FULLY_CANCELLED}
    assert {"SweepRepositories", "SweepRepository"} <= points
