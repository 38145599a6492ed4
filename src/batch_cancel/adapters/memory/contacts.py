"""
The contacts of one job in memory, with queries that do not read all of them.

Rule 1: contacts are an immutable value: `contacts | changes` is a new one, which shares the
        unchanged rest with the old one. So a rollback need not undo anything, and a reader beside
        a transaction never sees half of its writes.
Rule 2: the cost of a change depends on its size, not on the number of contacts. Contacts are kept
        in layers, the newest on top; each is at least twice as large as the one above it, so there
        are few.
Rule 3: the index holds each contact with a status once, by this status and the time when it is
        due. Only `|` writes it, together with the layers.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, ItemsView, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import Final, NamedTuple, TypeVar

import attrs

from batch_cancel.adapters.memory.index import Entry, Index

_T = TypeVar("_T")

LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


class Contact(NamedTuple):
    """One contact of a job."""

    status: str | None
    due_at: datetime = LONG_AGO
    """When it may be dialled."""
    dialing_since: datetime = LONG_AGO
    """When it was claimed, if it is dialing."""


@attrs.frozen(eq=False)
class Contacts(Mapping[str, Contact]):
    """The contacts of one job, by id, in the order in which they were added."""

    _layers: tuple[dict[str, Contact], ...] = ()
    _index: Index = attrs.field(factory=Index)

    def __or__(self, changes: Mapping[str, Contact]) -> Contacts:
        """Return these contacts with others added or replaced."""
        if not changes:
            return self
        return Contacts(
            with_layer(self._layers, dict(changes)),
            self._index.replaced(_entries(self.of(changes)), _entries(changes)),
        )

    def __getitem__(self, contact_id: str) -> Contact:
        for layer in reversed(self._layers):
            if contact_id in layer:
                return layer[contact_id]
        raise KeyError(contact_id)

    def __iter__(self) -> Iterator[str]:
        return iter(self._flat())

    def __len__(self) -> int:
        return len(self._flat())

    def __bool__(self) -> bool:
        return bool(self._layers)

    def items(self) -> ItemsView[str, Contact]:
        """Return every contact by its id."""
        return self._flat().items()

    def _flat(self) -> dict[str, Contact]:
        every: dict[str, Contact] = {}
        for layer in self._layers:
            every.update(layer)
        return every

    def of(self, contact_ids: Collection[str]) -> dict[str, Contact]:
        """Return those of these contacts that exist, by id."""
        found: dict[str, Contact] = {}
        for layer in self._layers:
            found |= {it: layer[it] for it in contact_ids if it in layer}
        return found

    def status_of(self, contact_id: str) -> str | None:
        """Return the contact's status; None if it has none, or there is no such contact."""
        contact = self.get(contact_id)
        return None if contact is None else contact.status

    def among(self, statuses: AbstractSet[str]) -> list[str]:
        """Return the ids of the contacts in these statuses."""
        return self._index.among(statuses)

    def has_any(self, statuses: AbstractSet[str]) -> bool:
        """Check whether a contact is in one of these statuses."""
        return any(True for status in statuses for _ in self._index.of_status(status))

    def due(self, statuses: AbstractSet[str], now: datetime) -> Iterator[str]:
        """Return the ids of the due contacts in these statuses, those due for longest first."""
        latest = now - LONG_AGO
        for after, contact_id in heapq.merge(*map(self._index.of_status, statuses)):
            if after > latest:
                return
            yield contact_id


def with_layer(layers: tuple[dict[str, _T], ...], top: dict[str, _T]) -> tuple[dict[str, _T], ...]:
    """Return the layers with another on top, joined with those that are not much larger."""
    below = list(layers)
    while below and len(below[-1]) < 2 * len(top):
        top = below.pop() | top
    return (*below, top)


def _entries(contacts: Mapping[str, Contact]) -> Iterable[Entry]:
    # A time is kept as a duration: where clocks are set back, two times in different zones may
    # have no order.
    return [
        (contact.status, contact.due_at - LONG_AGO, contact_id)
        for contact_id, contact in contacts.items()
        if contact.status is not None
    ]
