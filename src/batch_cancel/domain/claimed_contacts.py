"""
The answer of a claim, and the columns that it may read.

Rule 1: the answer is a list of ids, and prints as one. What was read of the contacts is beside
        them, so that an answer in a log holds no phone number.
Rule 2: an error names columns, never values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

from batch_cancel.domain.errors import StoreFailed, shown


class ClaimedContacts(list[str]):
    """
    The ids of the contacts that a claim has set to dialing, with what it read of them.

    Arguments:
        contact_ids: the ids.
        rows: the columns asked for by `returning`, by name: one row for each id, in their order.
        is_over: True if the claim is empty, and no later one will return a contact: the job has
            ended, or nothing of it is open or live. False if contacts may come: a retry is due
            later, a call is live, or the job does not run now.
    """

    def __init__(
        self,
        contact_ids: Iterable[str] = (),
        rows: Iterable[Mapping[str, object]] = (),
        *,
        is_over: bool = False,
    ) -> None:
        super().__init__(contact_ids)
        self.rows: tuple[Mapping[str, object], ...] = tuple(rows)
        self.is_over = is_over


def check_columns(returning: object) -> tuple[str, ...]:
    """
    Return the names of the columns that a claim reads.

    Raises:
        TypeError: `returning` is one text, or holds something other than texts.
        ValueError: a name is empty or holds NUL, which no column's name does.
    """
    if isinstance(returning, str | bytes) or not isinstance(returning, Iterable):
        msg = f"returning must be a tuple of names, got {type(returning).__name__}"
        raise TypeError(msg)
    names: list[str] = []
    for name in cast("Iterable[object]", returning):
        if not isinstance(name, str):
            msg = f"returning must hold names of columns, got {type(name).__name__}"
            raise TypeError(msg)
        if not name or "\0" in name:
            msg = f"returning must hold names of columns, got {name!r}"
            raise ValueError(msg)
        names.append(name)
    return tuple(names)


def column_missing(names: Iterable[str], columns: Iterable[str]) -> StoreFailed:
    """
    Return the error for columns to be returned that contacts do not have.

    Arguments:
        names: the names that were asked for.
        columns: the columns that there are.
    """
    there = list(columns)
    missing = ", ".join(shown(it) for it in names if it not in there)
    return StoreFailed(
        f"returning names a column that contacts do not have: {missing} (they have "
        f"{', '.join(map(shown, there))})"
    )
