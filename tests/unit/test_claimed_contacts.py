"""What a claim returns beside the ids: columns of the contacts, and whether the job is over."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from batch_cancel import (
    ClaimedContacts,
    ContactStatus,
    StoreFailed,
    append_contacts,
    cancel_job,
    claim_contacts,
    settle_contact,
)
from batch_cancel.adapters.memory import MemoryScheduler, MemoryStore
from batch_cancel.domain.worker_rules import is_over

HOUR = timedelta(hours=1)
PHONE = "+49301234567"


def store_with(*contacts: Mapping[str, object], status: str = "running") -> MemoryStore:
    """Return a store with a job `j` of these contacts."""
    store = MemoryStore()
    store.add_job("j", status)
    append_contacts("j", contacts, uow=store)
    return store


def test_a_claim_reads_columns_of_its_contacts() -> None:
    """One row for each id, in their order; a value that a contact lacks is None."""
    soon = datetime.now(UTC) - HOUR
    store = store_with(
        {"id": "a", "phone": PHONE, "next_attempt_at": soon}, {"id": "b"}, {"id": "c", "name": "C"}
    )
    claimed = claim_contacts("j", uow=store, limit=9, returning=("id", "phone", "next_attempt_at"))
    assert claimed == ["b", "c", "a"]
    assert claimed.rows == (
        {"id": "b", "phone": None, "next_attempt_at": None},
        {"id": "c", "phone": None, "next_attempt_at": None},
        {"id": "a", "phone": PHONE, "next_attempt_at": soon},
    )


def test_without_columns_each_contact_has_an_empty_row() -> None:
    """So that a loop over both meets every contact."""
    store = store_with({"id": "a", "phone": PHONE})
    claimed = claim_contacts("j", uow=store, limit=9)
    assert (claimed, claimed.rows, claimed.is_over) == (["a"], ({},), False)


def test_what_was_read_is_not_printed() -> None:
    """An answer in a log line shows ids, as it always did."""
    claimed = ClaimedContacts(["a"], [{"phone": PHONE}])
    for shown in (repr(claimed), str(claimed), f"{claimed}", repr(claimed[:1]), repr([claimed])):
        assert PHONE not in shown
    assert isinstance(claimed, list)
    again = pickle.loads(pickle.dumps(claimed))  # noqa: S301  # Our own.
    assert (again, again.rows, again.is_over) == (["a"], ({"phone": PHONE},), False)


def test_the_columns_of_a_contact_outlive_its_call() -> None:
    """The memory store reads them again when the contact is dialled again."""
    store = store_with(*({"id": f"{it:02}", "phone": f"+{it}"} for it in range(20)))
    append_contacts("j", [{"id": "x", "phone": "+x"}], uow=store)
    claim_contacts("j", uow=store, limit=3)
    for contact_id in ("00", "02"):
        settle_contact("j", contact_id, ContactStatus.BUSY, uow=store)
    claimed = claim_contacts("j", uow=store, limit=99, returning=["phone"])
    assert {it: row["phone"] for it, row in zip(claimed, claimed.rows, strict=True)} == {
        "x": "+x",
        **{f"{it:02}": f"+{it}" for it in range(20) if it != 1},
    }


def test_an_unknown_column_is_named_and_nothing_is_claimed() -> None:
    """With the columns that there are, and without any value."""
    store = store_with({"id": "a", "phone": PHONE})
    with pytest.raises(StoreFailed) as refused:
        claim_contacts("j", uow=store, limit=9, returning=("phone", "phon"))
    assert refused.value.reason == (
        "returning names a column that contacts do not have: 'phon' (they have 'id', "
        "'next_attempt_at', 'phone', 'status')"
    )
    assert store.contacts("j") == {"a": "pending"}
    with pytest.raises(StoreFailed, match=r"do not have: 'phon', 'nam' \(they have 'id', "):
        claim_contacts("j", uow=store, limit=9, returning=("phon", "phone", "nam"))


@pytest.mark.parametrize(
    ("returning", "error", "sentence"),
    [
        ("phone", TypeError, "returning must be a tuple of names, got str"),
        (b"phone", TypeError, "returning must be a tuple of names, got bytes"),
        (7, TypeError, "returning must be a tuple of names, got int"),
        (["id", 7], TypeError, "returning must hold names of columns, got int"),
        ([""], ValueError, "returning must hold names of columns, got ''"),
        (["a\0"], ValueError, r"returning must hold names of columns, got 'a\\x00'"),
    ],
)
def test_returning_must_be_names(returning: Any, error: type[Exception], sentence: str) -> None:
    """One text is a mistake that would be read letter by letter."""
    with pytest.raises(error, match=sentence):
        claim_contacts("j", uow=store_with(), limit=9, returning=returning)


@pytest.mark.parametrize(
    ("status", "has_unfinished", "due"),
    [
        ("scheduled", False, False),
        ("pending", False, False),
        ("running", True, False),
        ("running", False, True),
        ("completed", True, True),
        ("failed", True, True),
        ("cancelled", True, True),
        ("paused", False, False),
        (None, True, False),
        (None, False, True),
    ],
)
def test_the_rule_of_the_last_claim(
    status: str | None, has_unfinished: object, due: object
) -> None:
    """Ended, or running with nothing left; a status of the adopter's is a pause."""
    assert is_over(status, has_unfinished=bool(has_unfinished)) is due


def test_a_loop_of_claims_ends_with_the_cancel() -> None:
    """A retry later is no end, and neither is a live call; the cancel is one."""
    store = store_with({"id": "a"}, {"id": "b"})
    assert claim_contacts("j", uow=store, limit=9) == ["a", "b"]
    assert claim_contacts("j", uow=store, limit=9).is_over is False
    later = datetime.now(UTC) + HOUR
    settle_contact("j", "a", ContactStatus.NO_ANSWER, uow=store, retry_at=later)
    settle_contact("j", "b", ContactStatus.COMPLETED, uow=store)
    assert claim_contacts("j", uow=store, limit=9).is_over is False
    cancel_job("j", uow=store, scheduler=MemoryScheduler())
    assert claim_contacts("j", uow=store, limit=9).is_over is True


def test_a_claim_with_columns_has_a_limit_too() -> None:
    """The next claim gets the rest."""
    store = store_with({"id": "a"}, {"id": "b"})
    seen = [claim_contacts("j", uow=store, limit=1, returning=["id"]) for _ in range(3)]
    assert sorted(map(len, seen), reverse=True) == [1, 1, 0]


def test_a_running_job_is_over_once_all_its_calls_have_ended() -> None:
    """Before `finish_job`, too."""
    store = store_with({"id": "a"})
    assert claim_contacts("j", uow=store, limit=9) == ["a"]
    assert claim_contacts("j", uow=store, limit=9).is_over is False
    settle_contact("j", "a", ContactStatus.COMPLETED, uow=store)
    assert claim_contacts("j", uow=store, limit=9).is_over is True


@pytest.mark.parametrize("job_id", ["missing", "", "\ud800"])
def test_a_missing_job_is_over(job_id: str) -> None:
    """Whether the store could hold its id or not."""
    assert claim_contacts(job_id, uow=store_with(), limit=9, returning=["id"]).is_over is True


# A store whose `work` does not read contacts -----------------------------------------------------


@attrs.frozen
class _Plain:
    """The steps of a store that is older than the reading ones."""

    work: Any

    def claim(self, *arguments: Any) -> Any:
        """Claim contacts; as a tuple, which a list was promised to be."""
        return tuple(self.work.claim(*arguments))

    def status(self, key: Any) -> Any:
        """Read the job's status."""
        return self.work.status(key)


class _PlainStore(MemoryStore):
    """A store with such steps."""

    def begin(self) -> Any:
        """Open a transaction."""
        return _Opened(super().begin())


@attrs.define
class _Opened:
    within: Any

    def __enter__(self) -> Any:
        repositories = self.within.__enter__()
        return attrs.evolve(repositories, work=_Plain(repositories.work))

    def __exit__(self, *error: object) -> Any:
        return self.within.__exit__(*error)


def test_a_store_that_reads_no_contacts_still_claims() -> None:
    """Columns are refused; that the job is over is known once it has ended."""
    store = _PlainStore()
    store.add_job("j", "running")
    store.add_contacts("j", {"a": "pending"})
    with pytest.raises(StoreFailed) as refused:
        claim_contacts("j", uow=store, limit=9, returning=["phone"])
    assert refused.value.reason == (
        "this store returns no columns of contacts: implement `ReadingWorkRepository` of "
        "batch_cancel.ports in its `work`, or claim without `returning`"
    )
    claimed = claim_contacts("j", uow=store, limit=9)
    assert (claimed, claimed.rows, claimed.is_over) == (["a"], ({},), False)
    settle_contact_of(store)
    assert claim_contacts("j", uow=store, limit=9).is_over is False
    cancel_job("j", uow=store, scheduler=MemoryScheduler())
    assert claim_contacts("j", uow=store, limit=9).is_over is True
    assert claim_contacts("missing", uow=store, limit=9).is_over is True


def settle_contact_of(store: MemoryStore) -> None:
    """End the call, by hand."""
    store.add_contacts("j", {"a": "failed"})
