"""
An index over the contacts of one job: by status, when they are due, and id.

Rule 1: it is a value, never changed, as what it is an index of.
Rule 2: its entries are sorted, and lie in chunks of bounded size: a change copies the chunks that
        it touches, and shares the others.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import islice
from operator import itemgetter
from typing import Final

import attrs

Entry = tuple[str, timedelta, str]
"""A contact's status, how long after the beginning of time it is due, and its id."""

_Chunk = tuple[Entry, ...]
_FIRST: Final = itemgetter(0)

CHUNK_MAX: Final = 128
"""The most entries of a chunk."""


@attrs.frozen(eq=False)
class Index:
    """Entries in their order."""

    _chunks: tuple[_Chunk, ...] = ()

    def replaced(self, gone: Iterable[Entry], added: Iterable[Entry]) -> Index:
        """Return the index without those entries, and with these."""
        out, new = dict(self._by_chunk(sorted(gone))), dict(self._by_chunk(sorted(added)))
        chunks: list[_Chunk] = []
        done = 0
        for place in sorted(out.keys() | new.keys()):
            left_out = set(out.get(place, ()))
            chunks += self._chunks[done:place]
            done = place + 1
            kept = [
                entry
                for chunk in self._chunks[place:done]
                for entry in chunk
                if entry not in left_out
            ]
            chunks += _cut(sorted(kept + new.get(place, [])))
        return Index((*chunks, *self._chunks[done:]))

    def _by_chunk(self, entries: list[Entry]) -> Iterator[tuple[int, list[Entry]]]:
        """Return which chunks sorted entries are in, or would be, and what of them is there."""
        first = 0
        while first < len(entries):
            place, end = self._place(entries[first]), len(entries)
            for next_chunk in self._chunks[place + 1 : place + 2]:
                end = bisect_left(entries, next_chunk[0])
            yield place, entries[first:end]
            first = end

    def of_status(self, status: str) -> Iterator[tuple[timedelta, str]]:
        """Return when the contacts in this status are due, and their ids, in this order."""
        for chunk in islice(self._chunks, self._place((status,)), None):
            for its_status, after, contact_id in chunk:
                if its_status > status:
                    return
                if its_status == status:
                    yield after, contact_id

    def _place(self, entry: Entry | tuple[str]) -> int:
        """Return which chunk the entry is in, or would be."""
        return max(bisect_right(self._chunks, entry, key=_FIRST) - 1, 0)


def _cut(entries: list[Entry]) -> Iterator[_Chunk]:
    """Return entries in chunks of about the same size."""
    chunks = -(-len(entries) // CHUNK_MAX)
    for number in range(chunks):
        first, end = (len(entries) * edge // chunks for edge in (number, number + 1))
        yield tuple(entries[first:end])
