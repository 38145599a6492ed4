"""The table counts what it says, and wrong is never out of sight."""

from __future__ import annotations

import pytest

from tests.faults.__main__ import SOMETIMES, shortcomings
from tests.faults.counts import Tally, is_in_sample


def test_the_table_shows_injected_and_wrong() -> None:
    """By kind and by adapter, with sums."""
    tally = Tally()
    for number in range(5):
        tally.add("single faults", "hang", "redis", ["bad"] if number == 3 else [], f"#{number}")
    tally.add("cut lines", "COMMIT lost", "postgres", [], "#5")
    rows = [line.split() for line in tally.table().splitlines()]
    assert rows[0][-2:] == ["injected", "wrong"]
    assert ["hang", "-", "-", "-", "-", "-", "5", "(1!)", "-", "-", "-", "5", "1"] in rows
    assert rows[-1] == ["ALL", "-", "-", "-", "1", "-", "5", "(1!)", "-", "-", "-", "6", "1"]


def test_a_wrong_case_fails_the_run_and_says_which() -> None:
    """Whatever else was right."""
    tally = Tally()
    tally.add("single faults", "hang", "redis", [], "case 1")
    tally.check()
    tally.add("single faults", "hang", "redis", ["half a state"], "case 2")
    with pytest.raises(AssertionError, match="1 of 2 wrong:\ncase 2: half a state"):
        tally.check()


def test_a_full_run_that_did_too_little_falls_short() -> None:
    """Too few of a sort, or something never seen, is not a success."""
    short = shortcomings(Tally())
    assert "only 0 single faults, not 5000" in short
    assert "only 0 cut lines, not 2000" in short
    assert "only 0 kill points, not 25" in short
    assert len(short) == 3 + len(SOMETIMES)


@pytest.mark.parametrize("every", [1, 7, 40])
def test_a_sample_is_strewn_evenly(every: int) -> None:
    """Also over kinds that come in turns."""
    sample = [number for number in range(4_000) if is_in_sample(number, every)]
    assert len(sample) == pytest.approx(4_000 / every, rel=0.1)
    assert sum(number % 2 for number in sample) == pytest.approx(len(sample) / 2, rel=0.2)
