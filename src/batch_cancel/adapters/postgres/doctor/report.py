"""Collect findings into a diagnosis."""

from __future__ import annotations

from batch_cancel.adapters.postgres.doctor.questions import Attempt, Doubt
from batch_cancel.domain.diagnosis import Findings


class Report(Findings):
    """What was found so far."""

    def note(self, doubt: Doubt, *, is_well: bool) -> None:
        """Add the result of a doubt."""
        if not is_well:
            kinds = {"missing": self.missing, "slow": self.slow, "workers": self.workers}
            kinds[doubt.kind].append(doubt.sentence)
        elif doubt.fits is not None:
            self.fits.append(doubt.fits)

    def try_out(self, attempt: Attempt, refusal: str | None) -> None:
        """Add the result of a planned statement."""
        if refusal is None:
            return
        self.fits[:] = [it for it in self.fits if it != attempt.belies]
        kinds = {"missing": self.missing, "workers": self.workers}
        kinds[attempt.kind].append(
            f"Postgres refuses the statement that {attempt.what}: {refusal}"
        )

    def see(self, finding: str | None) -> None:
        """Add the finding of a read of some rows."""
        if finding is not None:
            self.notes.append(finding)
