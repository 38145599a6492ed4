"""
What a campaign's records say of the answers: right, documented, or wrong.

Rule 1: True means that the start had not run, and never does.
Rule 2: False means that it had, or runs, or never was there; and it does not run again.
Rule 3: the same operation has the same answer, another one a no, unless the start came again.
Rule 4: what waits is told as waiting, until it is cancelled.
Rule 5: what nobody cancels runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

Record = Mapping[str, Any]


@attrs.frozen
class Documented:
    """
    An answer that is not what the rules ask for, and stands on the library's page.

    Arguments:
        event: at which it is given.
        setting: under which; None for any.
        answers: those of the cancels.
        runs: whether the start runs all the same.
        sentence: what the page says.
        waits: whether it is still told as waiting.
    """

    event: str
    setting: str | None
    answers: Sequence[bool]
    runs: bool
    sentence: str
    waits: bool = False

    def covers(self, record: Record) -> bool:
        """Say whether the record is of this kind."""
        return (
            record["event"] == self.event
            and self.setting in {None, record["setting"]}
            and [*record["answers"]] == [*self.answers]
            and (_runs_after(record) > 0) == self.runs
            and bool(record["waits"]) == self.waits
        )


def faults(record: Record) -> Iterator[str]:
    """Name the rules that a record breaks."""
    event, answers = record["event"], record["answers"]
    if event == "untouched":
        if record["ran"] == 0:
            yield "nobody cancelled it, and it did not run"
        return
    had_run = record["ran_before"] > (event == "after a run")
    if not answers or not all(isinstance(it, bool) for it in answers):
        yield f"no answer: {answers}"
        return
    if any(answers) and had_run:
        yield "True, though it had run"
    if _runs_after(record) > 0:
        yield f"{answers[0]}, and it ran afterwards"
    if not answers[0] and not had_run and event != "unknown":
        yield "False, though it had not run"
    if answers[0] and not record["waited"]:
        yield "True, though it was not told as waiting"
    if record["waits"]:
        yield "told as waiting after its cancel"
    came_again = event == "again"
    if len(answers) > 1 and answers[1] != (answers[0] if record["second"] == "same" else came_again):
        yield f"the {record['second']} operation was then told {answers[1]}"


def _runs_after(record: Record) -> int:
    return int(record["ran"] - record["ran_before"])


@attrs.define
class Tally:
    """
    What came of a library's campaign.

    Arguments:
        settings: how many were tried.
        combinations: how many were judged.
        true: how many first answers were True.
        fired: how many were False, for it had fired or never was.
        documented: the sentences of the documented ones, and how many there were of each.
        wrong: a line for each combination that is neither right nor documented.
        refused: how many the library itself does not take.
    """

    settings: int = 0
    combinations: int = 0
    true: int = 0
    fired: int = 0
    documented: dict[str, int] = attrs.Factory(dict)
    wrong: list[str] = attrs.Factory(list)
    refused: int = 0


def tally(records: Sequence[Record], documented: Sequence[Documented]) -> Tally:
    """Judge the records."""
    found = Tally(settings=len({record["setting"] for record in records}))
    for record in records:
        if record["skipped"]:
            found.refused += 1
            continue
        found.combinations += 1
        broken = [*faults(record)]
        known = next((it for it in documented if it.covers(record)), None)
        if broken and known is None:
            where = f"{record['setting']}, {record['event']}, {record['second']} operation"
            found.wrong.append(f"{where}: {'; '.join(broken)}")
        elif broken and known:
            found.documented[known.sentence] = found.documented.get(known.sentence, 0) + 1
        elif record["answers"]:
            found.true += bool(record["answers"][0])
            found.fired += not record["answers"][0]
    return found
