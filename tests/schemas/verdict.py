"""
Whether a step did what the contract says, read off the rows before and after.

Rule 1: right is: the rows of this job changed exactly as the contract says, no other row changed
        in any way, and the answer is true.
Rule 2: refused is: an error, and not one byte changed.
Rule 3: anything else is harm, whoever's trigger caused it.
Rule 4: nothing here knows the library or asks a database. Which row belongs to which job is known
        from whoever made the rows.

A change that the adopter's own trigger makes beside a worker's step is intended: rows of
`audit_log`, and contacts of origin "trigger". But after a cancel no contact is open, whoever added
it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.schemas.calls import Answer, Call, Dump, Refusal, Verdict
from tests.schemas.facts import ENDED, LIVE, Knowledge, is_hidden, is_replay
from tests.schemas.look import Change, Look, changes
from tests.schemas.rules import RULES


def judge(
    call: Call, answer: Answer | Refusal, before: Dump, after: Dump, known: Knowledge
) -> Verdict:
    """Return whether the step came out right."""
    found = changes(before, after)
    if isinstance(answer, Refusal):
        return _judge_refusal(call, answer, found, before, known)
    if call.how.is_rolled_back:
        left = [f"rolled back, and {change} all the same" for change in found]
        return _harm(left) if left else Verdict("right")
    if call.is_ambiguous and not found and not answer.value:
        return Verdict("refused")
    look = Look(call, before, after, known, found)
    _judge_answer(look, answer)
    return _harm(look.complaints) if look.complaints else Verdict("right", (), tuple(look.added))


def _judge_answer(look: Look, answer: Answer) -> None:
    call = look.call
    expected = _refusal(call, look.before, look.known)
    is_due = expected is not None and not is_replay(call, look.before, look.known)
    look.claim(not is_due, f"{expected} was to be raised, and the answer is {answer.value!r}")
    is_alone = not call.is_ambiguous
    look.claim(is_alone, f"several jobs have this name, and the answer is {answer.value!r}")
    if not look.complaints:
        RULES[call.step](look, answer.value)
        look.nothing_else()


def _harm(complaints: Iterable[str]) -> Verdict:
    return Verdict("harm", tuple(complaints))


def _judge_refusal(
    call: Call, refusal: Refusal, changes: Sequence[Change], before: Dump, known: Knowledge
) -> Verdict:
    if changes:
        found = [f"{refusal.kind} was raised, and {change}" for change in changes]
        return _harm([f"{refusal.kind}: {refusal.sentence}", *found])
    if not refusal.is_named:
        return _harm([f"no refusal, but {refusal.kind}: {refusal.sentence}"])
    return Verdict("right" if refusal.kind == _refusal(call, before, known) else "refused")


def _refusal(call: Call, before: Dump, known: Knowledge) -> str | None:
    """Return the error that the contract asks for."""
    row = None if call.job is None else before["jobs"][str(call.job)]
    if call.step == "expire" and known.stale is None:
        is_there = row is not None and not is_hidden(row, known)
        return "StoreFailed" if is_there else None
    if call.step not in {"cancel", "append"}:
        return None
    if row is None or is_hidden(row, known):
        return "JobNotFound"
    status = known.job_status(row["status"])
    if status in LIVE:
        return None
    return "AlreadyTerminal" if status in ENDED else "UnknownJobStatus"
