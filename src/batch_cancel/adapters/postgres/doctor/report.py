"""Collect findings into a diagnosis."""

from __future__ import annotations

import attrs

from batch_cancel.adapters.postgres.doctor.questions import Attempt, Doubt
from batch_cancel.domain.diagnosis import Diagnosis


@attrs.frozen
class Report:
    """The findings so far, each sentence once."""

    fits: dict[str, None] = attrs.field(factory=dict[str, None])
    missing: dict[str, None] = attrs.field(factory=dict[str, None])
    slow: dict[str, None] = attrs.field(factory=dict[str, None])
    workers: dict[str, None] = attrs.field(factory=dict[str, None])
    notes: dict[str, None] = attrs.field(factory=dict[str, None])

    def note(self, doubt: Doubt, *, is_well: bool) -> None:
        """Add the result of a doubt."""
        if not is_well:
            kinds = {"missing": self.missing, "slow": self.slow, "workers": self.workers}
            kinds[doubt.kind].setdefault(doubt.sentence)
        elif doubt.fits is not None:
            self.fits.setdefault(doubt.fits)

    def try_out(self, attempt: Attempt, refusal: str | None) -> None:
        """Add the result of a planned statement."""
        if refusal is None:
            return
        self.fits.pop(attempt.belies, None)
        kinds = {"missing": self.missing, "workers": self.workers}
        kinds[attempt.kind].setdefault(
            f"Postgres refuses the statement that {attempt.what}: {refusal}"
        )

    def see(self, finding: str | None) -> None:
        """Add the finding of a read of some rows."""
        if finding is not None:
            self.notes.setdefault(finding)

    def diagnosis(self) -> Diagnosis:
        """Return the diagnosis."""
        return Diagnosis(
            fits=tuple(self.fits),
            missing=tuple(self.missing),
            slow=tuple(self.slow),
            workers=tuple(self.workers),
            notes=tuple(self.notes),
        )
