"""Contacts in memory: a value that says what a dict says, and an index what a scan says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch_cancel.adapters.memory.contacts import LONG_AGO, Contact, Contacts
from batch_cancel.adapters.memory.index import CHUNK_MAX, Entry, Index
from tests.unit.memory_scans import NOW, complaints, scanned

STATUSES = ["pending", "queued", "dialing", "completed", "vip", None]
TIMES = [LONG_AGO, NOW - timedelta(hours=1), NOW, NOW + timedelta(hours=1)]

CHANGES = st.dictionaries(
    st.sampled_from([f"{number:02}" for number in range(40)]),
    st.builds(Contact, st.sampled_from(STATUSES), st.sampled_from(TIMES)),
    max_size=40,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=st.lists(st.tuples(st.integers(0, 5), CHANGES), max_size=12),
    statuses=st.sets(st.sampled_from(["pending", "queued", "dialing", "nobody's"])),
)
def test_contacts_are_what_a_dict_would_be(
    steps: list[tuple[int, Mapping[str, Contact]]], statuses: set[str]
) -> None:
    """Whichever version is changed, and all older ones stay what they were."""
    versions = [(Contacts(), dict[str, Contact]())]
    for back, changes in steps:
        contacts, expected = versions[max(len(versions) - 1 - back, 0)]
        versions.append((contacts | changes, {**expected, **changes}))
    for contacts, expected in versions:
        assert list(contacts.items()) == list(expected.items())
        assert [*contacts] == [*expected]
        assert len(contacts) == len(expected)
        assert contacts == expected
        assert {it: contacts[it] for it in expected} == expected
        assert complaints(contacts) == []
        due = scanned(expected, statuses, NOW)
        assert list(contacts.due(statuses, NOW)) == due
        among = {it for it, contact in expected.items() if contact.status in statuses}
        assert sorted(contacts.among(statuses)) == sorted(among)
        assert contacts.has_any(statuses) is bool(among)
        assert contacts.of(["00", "39", "x"]) == {
            it: expected[it] for it in ("00", "39") if it in expected
        }


@pytest.mark.parametrize("size", [1, CHUNK_MAX, CHUNK_MAX + 1, 10 * CHUNK_MAX])
def test_many_contacts_are_indexed_as_few(size: int) -> None:
    """In chunks that stay small, whether they are changed one by one or all at once."""
    ids = [f"{number:05}" for number in range(size)]
    contacts = Contacts() | dict.fromkeys(ids, Contact("pending"))
    assert complaints(contacts) == []
    for contact_id in ids[::7]:
        contacts |= {contact_id: Contact("completed")}
    assert complaints(contacts) == []
    assert contacts.status_of(ids[0]) == "completed"
    assert list(contacts.due({"pending"}, NOW)) == [it for it in ids if it not in ids[::7]]
    contacts |= dict.fromkeys(ids, Contact("cancelled"))
    assert complaints(contacts) == []
    assert contacts.among({"cancelled"}) == ids
    assert not contacts.has_any({"pending", "completed"})


def test_the_longest_due_come_first_whatever_their_status() -> None:
    """Those without a time before all others; of equal times the lesser id."""
    contacts = Contacts() | {
        "d": Contact("busy", NOW),
        "a": Contact("timeout", NOW + timedelta(microseconds=1)),
        "e": Contact("pending"),
        "c": Contact("queued", NOW),
        "b": Contact("no_answer", NOW - timedelta(microseconds=1)),
        "f": Contact("completed"),
    }
    open_statuses = {"pending", "queued", "no_answer", "busy", "timeout"}
    assert list(contacts.due(open_statuses, NOW)) == ["e", "b", "c", "d"]


def test_a_time_may_be_in_any_zone() -> None:
    """Even one that is there twice, because the clocks were set back."""
    twice = datetime(2025, 10, 26, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)
    same = twice.astimezone(UTC)
    east = timezone(timedelta(hours=14))
    contacts = Contacts() | {
        "c": Contact("pending", twice),
        "a": Contact("pending", same),
        "b": Contact("pending", same.astimezone(east)),
        "d": Contact("pending", datetime.max.replace(tzinfo=timezone(timedelta(hours=-12)))),
        "e": Contact("pending", datetime.min.replace(tzinfo=east)),
    }
    assert list(contacts.due({"pending"}, same)) == ["e", "a", "b", "c"]
    assert not (contacts | dict.fromkeys("abcde", Contact("completed"))).has_any({"pending"})


def test_a_change_lies_in_a_layer_of_its_own_until_it_is_half_as_large() -> None:
    """So there are few layers, and most changes copy no other contact."""
    contacts, layers = Contacts(), list[list[int]]()
    for ids in ("abcd", "ef", "a", "a", "b", "cd"):
        contacts |= dict.fromkeys(ids, Contact("pending"))
        layers.append([len(layer) for layer in contacts._layers])
    assert layers == [[4], [4, 2], [4, 2, 1], [4, 2, 1], [6], [6, 2]]


class Unread(tuple[Entry, ...]):
    """A chunk of an index that must not be read; its first entry may be looked at."""

    __slots__ = ()

    def __iter__(self) -> Iterator[Entry]:
        raise AssertionError


def test_contacts_of_other_statuses_are_not_read() -> None:
    """But for a chunk before theirs, in which they might begin, and one after it."""
    entries: list[Entry] = [(status, timedelta(0), status) for status in "aabcc"]
    first, second, third, fourth, fifth = ((entry,) for entry in entries)
    index = Index((Unread(first), second, third, fourth, Unread(fifth)))
    assert list(index.of_status("b")) == [(timedelta(0), "b")]


def test_no_change_is_no_new_value() -> None:
    """What nothing is added to is itself."""
    contacts = Contacts() | {"a": Contact("pending")}
    assert contacts | {} is contacts


def test_what_is_not_there_is_not_found() -> None:
    """It has no status either."""
    contacts = Contacts() | {"a": Contact(None)}
    assert contacts.status_of("a") is None
    assert contacts.status_of("b") is None
    with pytest.raises(KeyError, match=r"^'b'$"):
        contacts["b"]
