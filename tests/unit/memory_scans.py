"""What a scan of a job's contacts in memory says, to compare the index with."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from itertools import pairwise

from batch_cancel.adapters.memory.contacts import LONG_AGO, Contact, Contacts
from batch_cancel.adapters.memory.index import CHUNK_MAX

NOW = datetime(2025, 6, 1, tzinfo=UTC)


def scanned(
    contacts: Mapping[str, Contact], statuses: AbstractSet[str], now: datetime
) -> list[str]:
    """Return the ids of the contacts that are due, in the order of claims."""
    due = [
        (contact.due_at, contact_id)
        for contact_id, contact in contacts.items()
        if contact.status in statuses and contact.due_at <= now
    ]
    return [contact_id for _, contact_id in sorted(due)]


def complaints(contacts: Contacts) -> list[str]:
    """Return what is wrong with how contacts are kept."""
    expected = sorted(
        (contact.status, contact.due_at - LONG_AGO, contact_id)
        for contact_id, contact in contacts.items()
        if contact.status is not None
    )
    chunks, layers = contacts._index._chunks, contacts._layers
    found = list[str]()
    if [entry for chunk in chunks for entry in chunk] != expected:
        found.append("the index is not what a scan says")
    if not all(0 < len(chunk) <= CHUNK_MAX for chunk in chunks):
        found.append("a chunk is empty or too large")
    if any(len(below) < 2 * len(above) for below, above in pairwise(layers)):
        found.append("a layer is not twice as large as the one on it")
    return found
