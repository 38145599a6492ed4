"""The campaign of reconciles, in short; and its verdict finds what it is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.diary import Found, Line, judge
from tests.faults.reconciling import campaign

if TYPE_CHECKING:
    from tests.servers import PostgresServer, RedisServer

LEASE_SECONDS = 5.0


@pytest.mark.repeats
def test_everything_is_removed_and_told_once(
    postgres_server: PostgresServer, redis_to_break: RedisServer
) -> None:
    """Three processes, two dozen records, hooks of up to a minute in a fiftieth of the time."""
    found = campaign(postgres_server, redis_to_break, records=24, processes=3, minutes_max=2)
    assert found.wrong == []
    assert found.seen["hooks called"] >= 24


def lines(*told: str) -> list[Line]:
    """Make lines of "who what job ...", one a second."""
    split = [it.split() for it in told]
    return [Line(at, int(who), what, jobs) for at, (who, what, *jobs) in enumerate(split)]


RIGHT = ("1 take job-1", "1 ask job-1", "1 answer job-1", "1 tell job-1", "1 told job-1", "1 end")


@pytest.mark.parametrize(
    ("told", "dead", "wrong"),
    [
        (RIGHT, set(), None),
        (RIGHT[:3], set(), "job-1 was never told of"),
        ((*RIGHT, "2 tell job-1", "2 told job-1"), set(), "job-1 was told of 2 times"),
        ((*RIGHT[:4], "2 tell job-1", "2 told job-1"), {1}, None),
        ((*RIGHT[:4], "2 tell job-1", "2 told job-1"), set(), "job-1 was told of 2 times"),
        ((*RIGHT[:3], "1 tell job-1", "1 failed job-1", *RIGHT[3:]), set(), None),
        (
            (*("1 take job-1", "1 end") * 3, *RIGHT),
            set(),
            "a hook was passed over in 3 passes in a row",
        ),
        (
            (*("1 take job-1 job-2", "1 answer job-2", "1 end") * 3, *RIGHT),
            set(),
            "a removal was passed over in 3 passes in a row",
        ),
    ],
)
def test_the_verdict(told: tuple[str, ...], dead: set[int], wrong: str | None) -> None:
    """Told never, or twice though nobody died; passed over in three passes in a row."""
    found = Found(records=1)
    judge(lines(*told), dead, LEASE_SECONDS, found)
    if wrong is None:
        assert found.wrong == []
    else:
        assert any(it.startswith(wrong) for it in found.wrong), found.wrong
