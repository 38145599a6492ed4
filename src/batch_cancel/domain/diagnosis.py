"""
Whether a store is fit for the library, in sentences for whoever runs it.

Rule 1: what a cancel needs, what only makes it slow, what only workers need, and what may well be
        meant so are told apart.
"""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Diagnosis:
    """
    What an examination of a store has found.

    Arguments:
        fits: what is as it should be.
        missing: what makes a cancel fail.
        slow: what makes it slow.
        workers: what only the workers' steps miss (`start_job`, `claim_contacts` and so on).
        notes: what may be meant so, and is worth a look.
    """

    fits: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    slow: tuple[str, ...] = ()
    workers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def problems(self) -> list[str]:
        """What keeps a cancel from being right and fast."""
        return [*self.missing, *self.slow]
