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
    What is not as the rules ask for, and stands on the library's page.

    Arguments:
        sentence: what docs/schedulers.md says of it.
        faults: what a record shows, all of it.
        events: at which it is so.
        settings: under which; None for any.
    """

    sentence: str
    faults: Sequence[str]
    events: Sequence[str]
    settings: Sequence[str] | None = None

    def covers(self, record: Record, found: Sequence[str]) -> bool:
        """Check whether what was found is this."""
        return (
            record["event"] in self.events
            and (self.settings is None or record["setting"] in self.settings)
            and sorted(found) == sorted(self.faults)
        )


RAN = "it ran afterwards"
HAD_RUN = "True, though it had run"
HAD_NOT_RUN = "False, though it had not run"
STILL_WAITS = "told as waiting after its cancel"
NOT_AGAIN = "the other operation was then told False"


def faults(record: Record) -> Iterator[str]:
    """Name the rules that a record breaks."""
    event, answers = record["event"], record["answers"]
    if event == "untouched":
        if record["ran"] == 0:
            yield "nobody cancelled it, and it did not run"
        return
    if not answers or not all(isinstance(it, bool) for it in answers):
        yield f"no answer: {answers}"
        return
    yield from _faults_of_the_first(record, answers[0])
    if record["waits"]:
        yield STILL_WAITS
    if len(answers) > 1:
        is_same = record["second"] == "same"
        if answers[1] != (answers[0] if is_same else event == "again"):
            who = "same" if is_same else "other"
            yield f"the {who} operation was then told {answers[1]}"


def _faults_of_the_first(record: Record, answer: bool) -> Iterator[str]:  # noqa: FBT001
    had_run = record["ran_before"] > (record["event"] == "after a run")
    if True in record["answers"] and had_run:
        yield HAD_RUN
    if _runs_after(record) > 0:
        yield f"True, and {RAN}" if answer else RAN
    if not answer and not had_run and record["event"] != "unknown":
        yield HAD_NOT_RUN
    if answer and not record["waited"]:
        yield "True, though it was not told as waiting"


def _runs_after(record: Record) -> int:
    return int(record["ran"] - record["ran_before"])


@attrs.define
class Tally:
    """
    What came of a library's campaign.

    Arguments:
        settings: the names of those that were tried.
        combinations: how many were judged.
        true: how many first answers were True.
        false: how many were False.
        documented: the sentences of what is documented, and how many there were of each.
        wrong: a line for each combination that is neither right nor documented.
        refused: how many the library itself does not take.
    """

    settings: list[str] = attrs.Factory(list)
    combinations: int = 0
    true: int = 0
    false: int = 0
    documented: dict[str, int] = attrs.Factory(dict)
    wrong: list[str] = attrs.Factory(list)
    refused: int = 0


def tally(records: Sequence[Record], documented: Sequence[Documented]) -> Tally:
    """Judge the records."""
    result = Tally(settings=[*dict.fromkeys(record["setting"] for record in records)])
    for record in records:
        if record["skipped"]:
            result.refused += 1
            continue
        result.combinations += 1
        if record["answers"]:
            result.true += record["answers"][0] is True
            result.false += record["answers"][0] is False
        found = [*faults(record)]
        known = next((it for it in documented if it.covers(record, found)), None)
        if known is not None:
            result.documented[known.sentence] = result.documented.get(known.sentence, 0) + 1
        elif found:
            where = f"{record['setting']}, {record['event']}, {record['second']} operation"
            result.wrong.append(f"{where}: {'; '.join(found)}")
    return result
