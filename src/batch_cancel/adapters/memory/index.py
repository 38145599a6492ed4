"""
An index over the contacts of one job: by status, when they are due, and id.

Rule 1: it is an immutable value, as the contacts are.
Rule 2: its entries are sorted, in chunks of bounded size: a change copies the chunks that it
        touches, and shares the others.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from datetime import timedelta
from itertools import islice
from operator import itemgetter
from typing import Final

import attrs

Entry = tuple[str, timedelta, str]
"""A contact's status, when it is due as a duration, and its id."""

_Chunk = tuple[Entry, ...]
_FIRST: Final = itemgetter(0)

CHUNK_MAX: Final = 128
"""The most entries of a chunk."""


@attrs.frozen(eq=False)
class Index:
    """Entries in their order."""

    _chunks: tuple[_Chunk, ...] = ()

    def replaced(self, gone: Iterable[Entry], added: Iterable[Entry]) -> Index:
        """Return the index without some entries, and with others."""
        if len(self._chunks) <= 1:
            left_out = set(gone)
            kept = [entry for chunk in self._chunks for entry in chunk if entry not in left_out]
            return Index(tuple(_cut(sorted([*kept, *added]))))
        out, new = dict(self._by_chunk(sorted(gone))), dict(self._by_chunk(sorted(added)))
        chunks: list[_Chunk] = []
        done = 0
        for position in sorted(out.keys() | new.keys()):
            left_out = set(out.get(position, ()))
            chunks += self._chunks[done:position]
            done = position + 1
            kept = [
                entry
                for chunk in self._chunks[position:done]
                for entry in chunk
                if entry not in left_out
            ]
            chunks += _cut(sorted(kept + new.get(position, [])))
        return Index((*chunks, *self._chunks[done:]))

    def _by_chunk(self, entries: list[Entry]) -> Iterator[tuple[int, list[Entry]]]:
        """Yield the chunks that sorted entries belong to, with these entries."""
        first = 0
        while first < len(entries):
            position, end = self._position(entries[first]), len(entries)
            for next_chunk in self._chunks[position + 1 : position + 2]:
                end = bisect_left(entries, next_chunk[0])
            yield position, entries[first:end]
            first = end

    def among(self, statuses: AbstractSet[str]) -> list[str]:
        """Return the ids of the contacts in these statuses."""
        if len(self._chunks) == 1:  # One pass over a few costs less than a search for each status.
            return [contact_id for status, _, contact_id in self._chunks[0] if status in statuses]
        return [contact_id for status in statuses for _, contact_id in self.of_status(status)]

    def of_status(self, status: str) -> Iterator[tuple[timedelta, str]]:
        """Return when the contacts in this status are due, and their ids, in this order."""
        for chunk in islice(self._chunks, self._position((status,)), None):
            for its_status, after, contact_id in chunk:
                if its_status > status:
                    return
                if its_status == status:
                    yield after, contact_id

    def _position(self, entry: Entry | tuple[str]) -> int:
        """Return the chunk that the entry belongs to."""
        return max(bisect_right(self._chunks, entry, key=_FIRST) - 1, 0)


def _cut(entries: list[Entry]) -> Iterator[_Chunk]:
    """Return entries in chunks of about the same size."""
    chunks = -(-len(entries) // CHUNK_MAX)
    for number in range(chunks):
        first, end = (len(entries) * edge // chunks for edge in (number, number + 1))
        yield tuple(entries[first:end])
