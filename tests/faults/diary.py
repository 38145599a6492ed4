"""What each process of a campaign of reconciles has done, and what that comes to."""

from __future__ import annotations

import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

PASSED_OVER_MAX: Final = 2
"""In so many passes in a row may a record be passed over."""


@attrs.frozen
class Line:
    """
    What a process did at one moment.

    Arguments:
        at: when, in seconds.
        pid: which process.
        what: one of "take", "ask", "answer", "tell", "told", "failed", "end".
        jobs: which jobs.
    """

    at: float
    pid: int
    what: str
    jobs: list[str]


class Diary:
    """What a process does, written down at once."""

    def __init__(self, folder: str) -> None:
        path = Path(folder) / f"{os.getpid()}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, what: str, *jobs: str) -> None:
        """Write a line."""
        line = json.dumps([time.monotonic(), os.getpid(), what, jobs])
        os.write(self._file, f"{line}\n".encode())

    @staticmethod
    def read(folder: str) -> list[Line]:
        """Read the lines of all processes, in the order of time."""
        texts = (path.read_text().splitlines() for path in Path(folder).glob("*.jsonl"))
        return sorted((Line(*json.loads(it)) for text in texts for it in text), key=_at)


def _at(line: Line) -> float:
    return line.at


@attrs.define
class Found:
    """What came of it."""

    records: int
    seconds: float = 0
    wrong: list[str] = attrs.field(factory=list[str])
    seen: Counter[str] = attrs.field(factory=Counter[str])

    def table(self) -> str:
        """Return it in words."""
        counts = [f"{count:>8}  {what}" for what, count in sorted(self.seen.items())]
        last = f"{self.records} records, {len(self.wrong)} wrong, in {self.seconds:.0f} s"
        return "\n".join([*counts, *self.wrong[:20], last])


@attrs.define
class Pass:
    """
    One pass of one process, from its take to its end, or to the last that is known of it.

    Arguments:
        begun: when it took its records.
        taken: their jobs.
        ended: when it ended, or its process died.
        is_whole: whether it came to its end.
        is_answered: whether the scheduler answered it at all.
    """

    begun: float
    taken: list[str]
    ended: float
    is_whole: bool = False
    is_answered: bool = False


def passes_of(lines: Sequence[Line]) -> Iterator[Pass]:
    """Yield the passes of one process."""
    current: Pass | None = None
    for line in lines:
        if line.what == "take":
            if current is not None:
                yield current
            current = Pass(line.at, line.jobs, line.at)
        if current is not None:
            current.ended = line.at
            current.is_answered |= line.what == "answer"
            current.is_whole |= line.what == "end"
    if current is not None:
        yield current


@attrs.frozen
class Telling:
    """
    One call of a hook.

    Arguments:
        job: of which cancellation it was told.
        begun: when.
        ended: when it returned or raised, or when its process was last heard of.
        is_done: whether it returned.
        is_failed: whether it raised.
        is_last: whether its process died after it, perhaps before it noted it.
    """

    job: str
    begun: float
    ended: float
    is_done: bool
    is_failed: bool
    is_last: bool


def tellings_of(lines: Sequence[Line], *, is_dead: bool) -> Iterator[Telling]:
    """Yield the calls of one process."""
    own = [line for line in lines if line.what in {"tell", "told", "failed"}]
    for line, after in zip(own, [*own, None][1:], strict=True):
        if line.what != "tell":
            continue
        [job] = line.jobs
        is_over = after is not None and after.what != "tell"
        ended = after.at if after is not None and is_over else lines[-1].at
        yield Telling(
            job,
            line.at,
            ended,
            is_done=is_over and after is not None and after.what == "told",
            is_failed=is_over and after is not None and after.what == "failed",
            is_last=is_dead and (own[-1] is line or (own[-1] is after and is_over)),
        )


def judge(lines: Sequence[Line], dead: set[int], lease_seconds: float, found: Found) -> None:
    """
    Find what was told too often or never, and what was passed over again and again.

    Arguments:
        lines: what all processes did.
        dead: those that were killed, or ended by a hook.
        lease_seconds: how long a hook may take at most to be told once.
        found: takes what comes of it.
    """
    by_process: dict[int, list[Line]] = defaultdict(list)
    for line in lines:
        by_process[line.pid].append(line)
    told: dict[str, list[Telling]] = defaultdict(list)
    for pid, mine in by_process.items():
        for it in tellings_of(mine, is_dead=pid in dead):
            told[it.job].append(it)
    _judge_tellings(told, lease_seconds, found)
    passes = sorted(
        (it for mine in by_process.values() for it in passes_of(mine)), key=lambda it: it.ended
    )
    found.seen["passes that came to their end"] += sum(it.is_whole for it in passes)
    found.seen["passes that a kill or a hook ended"] += sum(not it.is_whole for it in passes)
    asked, answers, takes = (_times(lines, what) for what in ("ask", "answer", "take"))
    found.seen["times that the same job was taken"] += max(map(len, takes.values()), default=0)

    def is_unasked(it: Pass, job: str) -> bool:
        was_owed = job in asked and not any(at < it.begun for at in answers[job])
        return was_owed and not any(it.begun <= at <= it.ended for at in asked[job])

    def is_untold(it: Pass, job: str) -> bool:
        # Once its lease is over, another pass takes what it has not come to.
        is_handed_over = any(it.begun < at <= it.ended for at in takes[job])
        return not is_handed_over and not any(
            telling.begun <= it.ended and (telling.is_done or telling.ended >= it.begun)
            for telling in told[job]
        )

    answered = [it for it in passes if it.is_answered]
    whole = [it for it in passes if it.is_whole]
    for what, some, is_passed_over in (
        ("removal", answered, is_unasked),
        ("hook", whole, is_untold),
    ):
        in_a_row = _most_in_a_row(some, is_passed_over)
        found.seen[f"passes in a row that passed the same {what} over"] += in_a_row
        if in_a_row > PASSED_OVER_MAX:
            found.wrong.append(f"a {what} was passed over in {in_a_row} passes in a row")


def _judge_tellings(
    told: Mapping[str, Sequence[Telling]], lease_seconds: float, found: Found
) -> None:
    for number in range(1, found.records + 1):
        job = f"job-{number}"
        calls = told.get(job, ())
        failed = sum(it.is_failed for it in calls)
        died = sum(it.is_last and not it.is_failed for it in calls)
        late = sum(it.ended - it.begun > lease_seconds for it in calls)
        found.seen["hooks called"] += len(calls)
        found.seen["hooks that failed"] += failed
        found.seen["hooks whose process died"] += died
        found.seen["hooks that took longer than the lease"] += late
        found.seen[f"jobs told of {len(calls) - failed} times, failures aside"] += 1
        if not any(it.is_done for it in calls):
            found.wrong.append(f"{job} was never told of")
        if len(calls) > 1 + failed + died + late:
            found.wrong.append(
                f"{job} was told of {len(calls)} times: {failed} failed, {died} died, {calls}"
            )


def _times(lines: Sequence[Line], what: str) -> Mapping[str, list[float]]:
    times: dict[str, list[float]] = defaultdict(list)
    for line in lines:
        if line.what == what:
            for job in line.jobs:
                times[job].append(line.at)
    return times


def _most_in_a_row(passes: Sequence[Pass], is_passed_over: Callable[[Pass, str], bool]) -> int:
    in_a_row: Counter[str] = Counter()
    most = 0
    for it in passes:
        for job in it.taken:
            in_a_row[job] = in_a_row[job] + 1 if is_passed_over(it, job) else 0
            most = max(most, in_a_row[job])
    return most
