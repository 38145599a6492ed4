"""
Whether a store is fit for the library, in sentences for its operator.

Rule 1: what a cancel needs, what makes it slow, what only workers need, and what may be
        intentional are separate lists.
"""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Diagnosis:
    """
    The findings of an examination of a store.

    Arguments:
        fits: what is as it should be.
        missing: what makes a cancel fail.
        slow: what makes it slow.
        workers: what only the workers' steps need (`start_job`, `claim_contacts` and so on).
        notes: what may be intentional, but deserves review.
    """

    fits: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    slow: tuple[str, ...] = ()
    workers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def problems(self) -> list[str]:
        """What makes a cancel fail or slow."""
        return [*self.missing, *self.slow]
