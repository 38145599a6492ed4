"""The table of a campaign: how each value of a dimension came out, and why steps were refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from tests.schemas.outcomes import Outcome

_STORIES_MAX: Final = 8
_SENTENCES_MAX: Final = 15
_SENTENCE_MAX: Final = 150
_HARM_MAX: Final = 600


@attrs.frozen
class Family:
    """
    The schemas of one kind of store.

    Arguments:
        name: as the last line has it.
        plain: the values that must be seen right and refused, by dimension.
        others: the values that must be seen at all.
        schemas: how many it takes to see every value.
        outcomes: of each schema.
    """

    name: str
    plain: Mapping[str, Sequence[str]]
    others: Mapping[str, Sequence[str]]
    schemas: int
    outcomes: list[Outcome] = attrs.field(factory=list[Outcome])

    @property
    def harmed(self) -> list[Outcome]:
        """Return the schemas where something went wrong silently."""
        return [it for it in self.outcomes if it.kind == "harm"]

    @property
    def refused_without_need(self) -> list[Outcome]:
        """Return the schemas that must work, and on which a step was refused."""
        return [it for it in self.outcomes if it.kind == "refused" and it.is_refused_without_need]

    def unseen(self) -> list[str]:
        """Return the values that a full run must see, and this one has not seen as it must."""
        if len(self.outcomes) < self.schemas:
            return []
        seen = self._seen()
        found = [
            f"{dimension} {value!r} never {kind}"
            for dimension, values in self.plain.items()
            for value in values
            for kind in ("right", "refused")
            if value != "none" and not seen[dimension, value, kind]
        ]
        kinds = ("right", "refused", "harm")
        return found + [
            f"{dimension} {value!r} never drawn"
            for dimension, values in self.others.items()
            for value in values
            if not any(seen[dimension, value, kind] for kind in kinds)
        ]

    def table(self) -> list[str]:
        """Return how each value came out."""
        seen = self._seen()
        lines = [f"{self.name:<44} {'right':>6} {'refused':>8} {'harm':>6}"]
        for dimension in {**self.plain, **self.others}:
            values = [*self.plain.get(dimension, ()), *self.others.get(dimension, ())]
            lines.append(dimension)
            for value in values:
                counts = [seen[dimension, value, kind] for kind in ("right", "refused", "harm")]
                lines.append("  {:<42} {:>6} {:>8} {:>6}".format(value, *counts))
        return lines

    def sentences(self) -> list[str]:
        """Return the most frequent reasons of refusals."""
        counted = Counter(
            (step, _cut(sentence)) for it in self.outcomes for step, sentence in set(it.refusals)
        )
        most = counted.most_common(_SENTENCES_MAX)
        return [f"{number:>6}  {step}: {sentence}" for (step, sentence), number in most]

    def last_line(self) -> str:
        """Return the counts."""
        kinds = Counter(it.kind for it in self.outcomes)
        return (
            f"{len(self.outcomes)} schemas on {self.name}: {kinds['right']} right, "
            f"{kinds['refused']} refused, {kinds['harm']} silent harm, "
            f"{len(self.refused_without_need)} refused without need"
        )

    def _seen(self) -> Counter[tuple[str, str, str]]:
        return Counter(
            (dimension, value, it.kind)
            for it in self.outcomes
            for dimension, value in it.case.values.items()
        )


def text(families: Sequence[Family]) -> str:
    """Return the report of a run."""
    lines: list[str] = []
    for family in families:
        lines += [*family.table(), "", "Refused most often:", *family.sentences(), ""]
        for number, outcome in enumerate(family.harmed):
            lines += [_reproduction(outcome), *(f"    {it[:_HARM_MAX]}" for it in outcome.harms)]
            if number < _STORIES_MAX:
                lines += [f"    {it};" for it in outcome.story]
        for outcome in family.refused_without_need:
            lines.append(_reproduction(outcome))
            lines += [f"    {step}: {_cut(it)}" for step, it in outcome.refusals[:3]]
        lines += family.unseen()
    lines += ["", *(family.last_line() for family in families)]
    return "\n".join(lines)


def _reproduction(outcome: Outcome) -> str:
    case = outcome.case
    kind = "SILENT HARM" if outcome.harms else "REFUSED WITHOUT NEED"
    return (
        f"{kind}: python -m tests.schemas --{outcome.family} {case.index + 1} "
        f"--seed {case.seed} --only {case.index}    # {_said(case.values)}"
    )


def _said(values: Mapping[str, str]) -> str:
    usual = {"none", "plain", "unmapped", "UTF8", "contract", "table", "constraint"}
    return ", ".join(f"{name} {value}" for name, value in values.items() if value not in usual)


def _cut(sentence: str) -> str:
    line = " ".join(sentence.split())
    return line if len(line) <= _SENTENCE_MAX else f"{line[:_SENTENCE_MAX]}..."
