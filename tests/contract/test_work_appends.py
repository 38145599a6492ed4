"""What workers do, on every store: append contacts to a job."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from batch_cancel import AlreadyTerminal, JobKey, UnknownJobStatus, append_contacts
from batch_cancel.adapters.memory import MemoryStore
from batch_cancel.adapters.sqlite import SqliteStore
from batch_cancel.domain.errors import StoreFailed
from tests import pairs
from tests.contract.workers import open_world

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["open_world"]


@pytest.mark.parametrize("status", ["scheduled", "pending", "running"])
def test_a_live_job_gets_contacts(world: pairs.World, status: str) -> None:
    """They are pending, and a cancel takes them along."""
    world.add_job("j", status, {"a": "completed"})
    assert world.append("j", "b", "c") == 2
    assert world.row("j").statuses == {"a": "completed", "b": "pending", "c": "pending"}
    assert world.cancel("j").contacts_cancelled == 2


def test_nothing_is_added_to_a_live_job(world: pairs.World) -> None:
    """No contacts are no error."""
    world.add_job("j", "running")
    assert world.append("j") == 0


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_an_ended_job_gets_no_contacts(world: pairs.World, status: str) -> None:
    """The refusal says how it ended."""
    world.add_job("j", status)
    with pytest.raises(AlreadyTerminal) as refused:
        world.append("j", "a")
    assert refused.value.status == status
    assert world.row("j").contacts == {}


def test_a_job_that_was_cancelled_gets_no_contacts(world: pairs.World) -> None:
    """The refusal says when it was, as a second cancel's does."""
    world.add_job("j", "running")
    result = world.cancel("j")
    with pytest.raises(AlreadyTerminal) as refused:
        world.append("j", "a")
    assert refused.value.cancelled_at == result.cancelled_at


@pytest.mark.parametrize("status", ["paused", None])
def test_a_job_in_a_status_that_nobody_knows_gets_no_contacts(
    world: pairs.World, status: str | None
) -> None:
    """It fails closed."""
    world.add_job("j", status)
    with pytest.raises(UnknownJobStatus) as refused:
        world.append("j", "a")
    assert (refused.value.key, refused.value.status) == (JobKey("j"), status)
    assert world.row("j").contacts == {}


@pytest.fixture(params=["memory", "sqlite"])
def store_without_columns(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Yield a store that has no table of the adopter's."""
    return MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "jobs.sqlite")


@pytest.mark.parametrize(
    "contact",
    [
        {"id": "a"},
        {"id": 1},
        {"id": None},
        {"id": "\ud800"},
        {"id": ""},
        {"next_attempt_at": "2031-01-01"},
        {"next_attempt_at": datetime(2031, 1, 1)},  # noqa: DTZ001
    ],
    ids=range(7),
)
def test_a_store_without_columns_refuses_a_contact(
    store_without_columns: Any, contact: dict[str, object]
) -> None:
    """Not by half."""
    store_without_columns.add_job("j", "running")
    store_without_columns.add_contacts("j", {"a": "failed"})
    with pytest.raises(StoreFailed) as refused:
        append_contacts("j", [{"id": "b"}, contact], uow=store_without_columns)
    assert store_without_columns.contacts("j") == {"a": "failed"}
    told = {
        "id": "a contact's id must be a str that no other contact of the job has",
        "next_attempt_at": "a contact's next_attempt_at must be an aware datetime",
    }
    is_taken_in_a_file = contact == {"id": "a"} and isinstance(store_without_columns, SqliteStore)
    assert is_taken_in_a_file or refused.value.reason == told[next(iter(contact))]


def test_a_store_without_columns_makes_ids(store_without_columns: Any) -> None:
    """Contacts written for the adopter's tables work in the adopter's tests, too."""
    store_without_columns.add_job("j", "running")
    contacts = [{"phone": "1"}, {"phone": "2"}]
    assert append_contacts("j", contacts, uow=store_without_columns) == 2
    assert list(store_without_columns.contacts("j").values()) == ["pending", "pending"]
