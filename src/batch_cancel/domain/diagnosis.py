"""
Whether a store is fit for the library, in sentences for its operator.

Rule 1: what a cancel needs, what makes it slow, what only workers need, and what may be
        intentional are separate lists.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

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


@attrs.frozen
class Findings:
    """What an examination has found so far."""

    fits: list[str] = attrs.field(factory=list[str])
    missing: list[str] = attrs.field(factory=list[str])
    slow: list[str] = attrs.field(factory=list[str])
    workers: list[str] = attrs.field(factory=list[str])
    notes: list[str] = attrs.field(factory=list[str])

    def diagnosis(self) -> Diagnosis:
        """Return all of it, each sentence once."""
        return Diagnosis(
            **{name: tuple(dict.fromkeys(it)) for name, it in attrs.asdict(self).items()}
        )


INDEX_OF_CONTACTS: Final = "an index finds the contacts that a cancel changes"

CLAIMS_SORT: Final = (
    "no index has the contacts of a job in the order of their times, so each claim_contacts reads "
    "and sorts all open ones"
)


def all_there(table: str) -> str:
    """Return that a table has what a cancel needs."""
    return f"{table} has all that a cancel needs"


def not_granted(privilege: str, columns: Iterable[str], table: str) -> str:
    """Return that a privilege on columns is missing."""
    return (
        f"the user that connects may not {privilege} {', '.join(columns)} of {table}: "
        f"GRANT {privilege} ON {table} to it"
    )
