"""How one schema came out."""

from __future__ import annotations

from typing import Literal

import attrs

from tests.schemas.calls import Answer, Call, Refusal, Verdict
from tests.schemas.dimensions import Case


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
