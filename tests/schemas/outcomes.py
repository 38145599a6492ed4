"""Call every step of a programme, judge each, and keep how the schema came out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import attrs

from tests.schemas.calls import Answer, Call, Dump, Refusal, Verdict
from tests.schemas.dimensions import Case
from tests.schemas.facts import Knowledge
from tests.schemas.programme import Programme
from tests.schemas.steps import Performer
from tests.schemas.verdict import judge


@attrs.define
class Outcome:
    """
    How one schema came out.

    Arguments:
        case: what was made.
        family: the kind of store.
        refusals: the sentences of steps that were refused without the contract asking for it.
        harms: what is wrong.
        right: how many steps came out right.
        story: the DDL and the mapping, for whoever has to repair it.
    """

    case: Case
    family: str
    refusals: list[tuple[str, str]] = attrs.field(factory=list[tuple[str, str]])
    harms: list[str] = attrs.field(factory=list[str])
    right: int = 0
    story: list[str] = attrs.field(factory=list[str])

    @property
    def kind(self) -> Literal["right", "refused", "harm"]:
        """Return how the schema as a whole came out."""
        if self.harms:
            return "harm"
        return "refused" if self.refusals else "right"

    @property
    def is_refused_without_need(self) -> bool:
        """Return whether a step was refused on a schema where everything must work."""
        return bool(self.refusals) and self.case.must_work

    def note(self, call: Call, answer: Answer | Refusal, verdict: Verdict) -> None:
        """Keep what became of a step."""
        match verdict.kind:
            case "right":
                self.right += 1
            case "refused":
                sentence = answer.sentence if isinstance(answer, Refusal) else "nothing was done"
                self.refusals.append((call.step, sentence))
            case "harm":
                self.harms += [f"{call}: {it}" for it in verdict.complaints[:4]]


def run_programme(
    outcome: Outcome,
    programme: Programme,
    performer: Performer,
    *,
    dump: Callable[[], Dump],
    known: Knowledge,
    own: Callable[[tuple[str, ...], int], None] | None = None,
) -> None:
    """Call every step, and judge each."""
    before = dump()
    for call in programme.calls(dump):
        answer = performer.perform(call)
        after = dump()
        verdict = judge(call, answer, before, after, known)
        outcome.note(call, answer, verdict)
        if verdict.new_contacts and own is not None and call.job is not None:
            own(verdict.new_contacts, call.job)
            after = dump()
        before = after
