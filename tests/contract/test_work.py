"""
What workers do, on every store: start, claim, settle, append, finish, and a cancel among them.

The scheduler has no part in it, so each store comes with one scheduler only.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch_cancel import AlreadyTerminal, JobKey, JobNotFound, UnknownJobStatus, append_contacts
from batch_cancel.adapters.memory import MemoryStore
from batch_cancel.adapters.sqlite import SqliteStore
from batch_cancel.domain.errors import StoreFailed
from tests import pairs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)

OPEN = ("pending", "queued", "no_answer", "busy", "timeout")
EVERY_JOB = ("scheduled", "pending", "running", "completed", "failed", "cancelled", "paused", None)
EVERY_CONTACT = (
    *OPEN,
    "dialing",
    "completed",
    "failed",
    "blocked",
    "invalid_number",
    "carrier_error",
    "cancelled",
    "paused",
    None,
)
STRANGE_IDS = ["", "\0", "\ud800", "x" * 1_000_000, "%", "' OR 1=1 --", "../j", "j ", "{}", "J"]


@pytest.fixture(
    scope="module", params=[*pairs.pairs(("memory",)), *pairs.LAYERED], ids=lambda pair: pair[0]
)
def open_world(request: pytest.FixtureRequest) -> Iterator[pairs.World]:
    """Open a world once; whoever takes it clears it first."""
    store, scheduler = request.param
    with pairs.opened(store, scheduler, request) as world:
        yield world


def now() -> datetime:
    """Give this machine's time, which is the stores' time too."""
    return datetime.now(UTC)


# Start -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", EVERY_JOB)
def test_a_job_is_started_from_two_statuses(world: pairs.World, status: str | None) -> None:
    """From every other it stays as it is."""
    world.add_job("j", status, ["pending"], deferred_id="d")
    before = world.row("j")
    is_startable = status in {"scheduled", "pending"}
    assert world.start("j") is is_startable
    assert world.row("j").status == ("running" if is_startable else status)
    if not is_startable:
        assert world.row("j") == before
    assert world.row("j").contacts == before.contacts
    assert world.row("j").deferred_id == "d"


def test_a_job_is_started_once(world: pairs.World) -> None:
    """Of two that try, one is told that it did."""
    world.add_job("j", "scheduled")
    assert [world.start("j"), world.start("j")] == [True, False]


@pytest.mark.parametrize("named", ["new", "OLD", None])
@pytest.mark.parametrize("status", ["scheduled", "pending"])
def test_an_old_deferred_start_does_not_start_the_job(
    world: pairs.World, status: str, named: str | None
) -> None:
    """A claim from before the job was rescheduled fires too early; the job names another."""
    world.add_job("j", status, ["pending"], deferred_id=named)
    before = world.row("j")
    assert world.start("j", deferred_id="old") is False
    assert world.start("j", deferred_id="\0") is False
    assert world.start("j", deferred_id="\ud800") is False
    assert world.row("j") == before


def test_the_deferred_start_that_the_job_names_starts_it_once(world: pairs.World) -> None:
    """A start that is handed out again does not start it again."""
    world.add_job("j", "scheduled", ["pending"], deferred_id="d")
    assert [world.start("j", deferred_id="d"), world.start("j", deferred_id="d")] == [True, False]
    assert world.row("j").status == "running"
    assert world.row("j").deferred_id == "d"


def test_a_cancelled_job_is_not_started(world: pairs.World) -> None:
    """Its deferred start may fire all the same."""
    world.add_job("j", "scheduled", ["pending"])
    world.cancel("j")
    assert world.start("j") is False
    assert world.claim("j") == []
    assert world.row("j").statuses == {"0": "cancelled"}


# Claim -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", EVERY_JOB)
def test_contacts_of_a_running_job_alone_are_dialled(
    world: pairs.World, status: str | None
) -> None:
    """A job that is not started yet has no calls, and one that has ended has no more."""
    world.add_job("j", status, {"a": "pending", "b": "busy"})
    before = world.row("j")
    if status == "running":
        assert world.claim("j") == ["a", "b"]
        assert world.row("j").statuses == {"a": "dialing", "b": "dialing"}
    else:
        assert world.claim("j") == []
        assert world.row("j") == before


def test_five_statuses_are_dialled(world: pairs.World) -> None:
    """Every other contact stays as it is, byte for byte."""
    world.add_job("j", "running", {str(status): status for status in EVERY_CONTACT})
    before = world.row("j").contacts
    assert world.claim("j") == sorted(OPEN)
    after = world.row("j").contacts
    for status in EVERY_CONTACT:
        label = str(status)
        if status in OPEN:
            assert after[label][0] == "dialing"
        else:
            assert after[label] == before[label]


def test_a_claim_takes_no_more_than_it_is_asked_for(world: pairs.World) -> None:
    """And the next claim takes the next ones."""
    world.add_job("j", "running", ["pending"] * 5)
    assert world.claim("j", 0) == []
    first, second, third = (world.claim("j", 2) for _ in range(3))
    assert [len(first), len(second), len(third)] == [2, 2, 1]
    assert sorted(first + second + third) == ["0", "1", "2", "3", "4"]
    assert world.claim("j", 2) == []


@pytest.mark.parametrize("limit", [-1, 1_000_001])
def test_a_claim_of_a_number_that_makes_no_sense(world: pairs.World, limit: int) -> None:
    """It is refused before anything is asked of the store."""
    world.add_job("j", "running", ["pending"])
    with pytest.raises(ValueError, match="limit"):
        world.claim("j", limit)


def test_contacts_are_dialled_when_they_are_due(world: pairs.World) -> None:
    """Those without a time first, then the longest due; those in the future not at all."""
    world.add_job("j", "running")
    world.append("j", "later", next_attempt_at=now() + HOUR)
    world.append("j", "due", next_attempt_at=now() - SECOND)
    world.append("j", "fresh")
    world.append("j", "overdue", next_attempt_at=now() - HOUR)
    assert [world.claim("j", 1) for _ in range(4)] == [["fresh"], ["overdue"], ["due"], []]


def test_of_contacts_without_a_time_the_first_id_comes_first(world: pairs.World) -> None:
    """So that none waits for ever."""
    world.add_job("j", "running", {"a": "pending", "b": "pending"})
    assert [world.claim("j", 1), world.claim("j", 1)] == [["a"], ["b"]]


# Settle ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "cancelled"),
    [
        ("queued", "cancelled"),
        ("no_answer", "cancelled"),
        ("busy", "cancelled"),
        ("timeout", "cancelled"),
        ("completed", "completed"),
        ("failed", "failed"),
        ("blocked", "blocked"),
        ("invalid_number", "invalid_number"),
        ("carrier_error", "carrier_error"),
    ],
)
def test_a_live_call_ends(world: pairs.World, outcome: str, cancelled: str) -> None:
    """As it ends; but nobody is to be called again for a cancelled job."""
    world.add_job("j", "running", {"a": "dialing", "b": "dialing"})
    assert world.settle("j", "a", outcome) == outcome
    world.cancel("j")
    assert world.settle("j", "b", outcome) == cancelled
    assert world.row("j").statuses["b"] == cancelled


@pytest.mark.parametrize("status", [status for status in EVERY_CONTACT if status != "dialing"])
@pytest.mark.parametrize("outcome", ["busy", "completed"])
def test_only_a_live_call_ends(world: pairs.World, status: str | None, outcome: str) -> None:
    """Whatever else the contact is, it stays so, byte for byte."""
    world.add_job("j", "running", {"a": status})
    before = world.row("j")
    assert world.settle("j", "a", outcome) is None
    assert world.row("j") == before


def test_a_call_ends_once(world: pairs.World) -> None:
    """A webhook may come twice."""
    world.add_job("j", "running", ["dialing"])
    assert [world.settle("j", "0", "busy"), world.settle("j", "0", "failed")] == ["busy", None]
    assert world.row("j").statuses == {"0": "busy"}


@pytest.mark.parametrize("outcome", ["pending", "dialing", "cancelled", "voicemail"])
def test_no_call_ends_like_this(world: pairs.World, outcome: str) -> None:
    """It is refused before anything is asked of the store."""
    world.add_job("j", "running", ["dialing"])
    with pytest.raises(ValueError, match=outcome):
        world.settle("j", "0", outcome)
    assert world.row("j").statuses == {"0": "dialing"}


def test_a_contact_is_called_again_when_its_time_has_come(world: pairs.World) -> None:
    """And not before; without a time, at once."""
    world.add_job("j", "running", {"at once": "dialing", "due": "dialing", "later": "dialing"})
    world.settle("j", "at once", "busy")
    world.settle("j", "due", "no_answer", retry_at=now() - SECOND)
    world.settle("j", "later", "timeout", retry_at=now() + HOUR)
    assert world.claim("j") == ["at once", "due"]
    world.settle("j", "due", "busy", retry_at=now() + HOUR)
    assert world.claim("j") == []


def test_a_time_without_a_zone_is_refused(world: pairs.World) -> None:
    """Every store would take it for another time."""
    world.add_job("j", "running", ["dialing"])
    with pytest.raises(ValueError, match="aware"):
        world.settle("j", "0", "busy", retry_at=datetime(2031, 1, 1))  # noqa: DTZ001


# Append ------------------------------------------------------------------------------------------


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
    """Lend a store that has no table of the adopter's."""
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
        "id": "a contact's id must be a text that no other contact of the job has",
        "next_attempt_at": "a contact's next_attempt_at must be an aware datetime",
    }
    is_taken_in_a_file = contact == {"id": "a"} and isinstance(store_without_columns, SqliteStore)
    assert is_taken_in_a_file or refused.value.reason == told[next(iter(contact))]


def test_a_store_without_columns_makes_ids(store_without_columns: Any) -> None:
    """What is written for the tables of the adopter works in his tests, too."""
    store_without_columns.add_job("j", "running")
    contacts = [{"phone": "1"}, {"phone": "2"}]
    assert append_contacts("j", contacts, uow=store_without_columns) == 2
    assert list(store_without_columns.contacts("j").values()) == ["pending", "pending"]


# Expire ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", EVERY_JOB)
def test_calls_of_dead_workers_end_as_timeout_unless_the_job_is_cancelled(
    world: pairs.World, status: str | None
) -> None:
    """By the rule of any outcome, whatever the job is; the others stay byte for byte."""
    labelled = {f"{number}": status for number, status in enumerate(EVERY_CONTACT)}
    world.add_job("j", status, {**labelled, "young": "dialing", "old": "dialing"})
    world.add_job("k", "running", {"theirs": "dialing"})
    for label in (*labelled, "old"):
        world.make_old("j", label, 2 * HOUR)
    world.make_old("k", "theirs", 2 * HOUR)
    before = world.rows()

    assert world.expire("j", HOUR) == 2  # "old", and the one among every status.

    after = world.row("j").contacts
    due = "cancelled" if status == "cancelled" else "timeout"
    dialing = str(EVERY_CONTACT.index("dialing"))
    assert (after["old"][0], after[dialing][0]) == (due, due)
    for label in {*after} - {"old", dialing}:
        assert after[label] == before[JobKey("j")].contacts[label]
    assert world.row("j").status == status
    assert world.rows()[JobKey("k")] == before[JobKey("k")]
    assert world.expire("j", HOUR) == 0


def test_a_call_that_expired_is_dialled_again_at_once_and_is_young(world: pairs.World) -> None:
    """Also where it had a time for its next attempt before."""
    world.add_job("j", "running", {"a": "pending"})
    assert world.claim("j") == ["a"]
    assert world.settle("j", "a", "busy", retry_at=now() - SECOND) == "busy"
    assert world.claim("j") == ["a"]
    assert world.expire("j", HOUR) == 0
    world.make_old("j", "a", 2 * HOUR)
    assert world.expire("j", HOUR) == 1
    assert world.settle("j", "a", "completed") is None
    assert world.claim("j") == ["a"]
    assert world.expire("j", HOUR) == 0
    assert world.settle("j", "a", "completed") == "completed"


@pytest.mark.parametrize(("owner", "stranger"), [("acme", "evil"), ("acme", None), (None, "evil")])
def test_a_stranger_ends_no_calls(
    world: pairs.World, owner: str | None, stranger: str | None
) -> None:
    """No organization is one of its own, not a key to all."""
    world.add_job("j", "running", {"a": "dialing"}, organization_id=owner)
    world.make_old("j", "a", 2 * HOUR, owner)
    before = world.rows()
    assert world.expire("j", HOUR, organization_id=stranger) == 0
    assert world.rows() == before
    assert world.expire("j", HOUR, organization_id=owner) == 1


@pytest.mark.parametrize("job_id", ["missing", *STRANGE_IDS], ids=range(1 + len(STRANGE_IDS)))
def test_a_job_that_is_not_there_has_no_calls(world: pairs.World, job_id: str) -> None:
    """Whatever its id is made of."""
    world.add_job("j", "running", {"a": "dialing"})
    world.make_old("j", "a", 2 * HOUR)
    before = world.rows()
    assert world.expire(job_id, HOUR) == 0
    assert world.rows() == before


@pytest.mark.parametrize("age", [timedelta(0), -HOUR, timedelta(days=36_501)])
def test_an_age_that_makes_no_sense_is_refused(world: pairs.World, age: timedelta) -> None:
    """Before the store is asked."""
    with pytest.raises(ValueError, match="older_than must be positive"):
        world.expire("j", age)


def test_a_century_is_an_age(world: pairs.World) -> None:
    """Though no call is so old."""
    world.add_job("j", "running", {"a": "dialing"})
    assert world.expire("j", timedelta(days=36_500)) == 0


# Finish ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", EVERY_JOB)
def test_a_running_job_alone_is_completed(world: pairs.World, status: str | None) -> None:
    """Whatever else it is, it stays so."""
    world.add_job("j", status, ["completed"])
    assert world.finish("j") is (status == "running")
    assert world.row("j").status == ("completed" if status == "running" else status)


@pytest.mark.parametrize("status", EVERY_CONTACT)
def test_a_job_is_not_completed_while_something_is_left_to_do(
    world: pairs.World, status: str | None
) -> None:
    """A contact that waits for a call, or is on one."""
    world.add_job("j", "running", ["completed", status, "failed"])
    is_left = status in {*OPEN, "dialing"}
    assert world.finish("j") is not is_left
    assert world.row("j").status == ("running" if is_left else "completed")


def test_the_contacts_of_other_jobs_do_not_matter(world: pairs.World) -> None:
    """Nor do they change."""
    world.add_job("j", "running", ["completed"])
    world.add_job("i", "running", ["pending", "dialing"])
    world.add_job("k", "running", ["pending", "dialing"])
    assert world.finish("j")
    assert world.claim("i") == ["0"]
    assert world.row("k").statuses == {"0": "pending", "1": "dialing"}


# All of them -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", EVERY_JOB)
def test_the_last_look_before_a_call(world: pairs.World, status: str | None) -> None:
    """Only a running job's phone may ring."""
    world.add_job("j", status)
    assert world.still_running("j") is (status == "running")


@pytest.mark.parametrize("job_id", ["missing", *STRANGE_IDS], ids=range(1 + len(STRANGE_IDS)))
def test_there_is_nothing_to_do_for_a_job_that_is_not_there(
    world: pairs.World, job_id: str
) -> None:
    """Whatever its id is made of."""
    world.add_job("j", "running", {"a": "dialing", "b": "pending"})
    before = world.rows()
    assert world.start(job_id) is False
    assert world.claim(job_id) == []
    assert world.settle(job_id, "a", "busy") is None
    assert world.settle(job_id, "a", "failed") is None
    assert world.finish(job_id) is False
    assert world.still_running(job_id) is False
    with pytest.raises(JobNotFound) as missing:
        world.append(job_id, "c")
    assert missing.value.key == JobKey(job_id)
    assert world.rows() == before


@pytest.mark.parametrize("contact_id", STRANGE_IDS, ids=range(len(STRANGE_IDS)))
def test_a_contact_that_is_not_there_has_no_call(world: pairs.World, contact_id: str) -> None:
    """Whatever its id is made of."""
    world.add_job("j", "running", {"a": "dialing"})
    for outcome in ("busy", "failed"):
        assert world.settle("j", contact_id, outcome) is None
    assert world.row("j").statuses == {"a": "dialing"}


@pytest.mark.parametrize(("owner", "stranger"), [("acme", "evil"), ("acme", None), (None, "evil")])
def test_a_job_of_another_organization_is_not_there(
    world: pairs.World, owner: str | None, stranger: str | None
) -> None:
    """No organization is one of its own, not a key to all."""
    world.add_job("j", "running", {"a": "dialing", "b": "pending"}, organization_id=owner)
    world.add_job("k", "scheduled", organization_id=owner)
    before = world.rows()
    assert world.start("k", organization_id=stranger) is False
    assert world.claim("j", organization_id=stranger) == []
    assert world.settle("j", "a", "busy", organization_id=stranger) is None
    assert world.settle("j", "a", "failed", organization_id=stranger) is None
    assert world.finish("k", organization_id=stranger) is False
    assert world.still_running("j", organization_id=stranger) is False
    with pytest.raises(JobNotFound):
        world.append("j", "c", organization_id=stranger)
    assert world.rows() == before
    assert world.start("k", organization_id=owner)
    assert world.finish("k", organization_id=owner)
    assert world.claim("j", organization_id=owner) == ["b"]
    assert world.settle("j", "a", "busy", organization_id=owner) == "busy"
    assert world.append("j", "c", organization_id=owner) == 1


def test_the_whole_life_of_a_job(world: pairs.World) -> None:
    """Started, called, retried, extended, finished."""
    world.add_job("j", "scheduled", {"a": "pending", "b": "pending"})
    assert not world.finish("j")
    assert world.start("j")
    assert world.claim("j") == ["a", "b"]
    assert not world.finish("j")
    assert world.settle("j", "a", "no_answer") == "no_answer"
    assert world.settle("j", "b", "completed") == "completed"
    assert not world.finish("j")
    assert world.append("j", "c") == 1
    assert world.claim("j") == ["a", "c"]
    assert world.settle("j", "a", "failed") == "failed"
    assert world.settle("j", "c", "completed") == "completed"
    assert world.finish("j")
    with pytest.raises(AlreadyTerminal):
        world.cancel("j")
    assert world.row("j").statuses == {"a": "failed", "b": "completed", "c": "completed"}


TERMINAL_JOBS = {"completed", "failed", "cancelled"}
TERMINAL = {"completed", "failed", "blocked", "invalid_number", "carrier_error", "cancelled"}

Step = tuple[str, int, str]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["start", "claim", "settle", "expire", "append", "finish", "cancel"]),
        st.integers(0, 5),
        st.sampled_from(["busy", "failed"]),
    ),
    max_size=20,
)


def take(world: pairs.World, step: Step) -> None:
    """Take a step, and check its answer against what was there before."""
    name, number, outcome = step
    before = world.row("j")
    match name:
        case "start":
            assert world.start("j") is (before.status in {"scheduled", "pending"})
        case "claim":
            is_open = any(status in OPEN for status in before.statuses.values())
            assert bool(world.claim("j", number)) is (
                number > 0 and is_open and before.status == "running"
            )
        case "settle":
            is_live = before.statuses.get(str(number)) == "dialing"
            assert (world.settle("j", str(number), outcome) is not None) is is_live
        case "expire":
            is_live = before.statuses.get(str(number)) == "dialing"
            if is_live:
                world.make_old("j", str(number), 2 * HOUR)
            assert world.expire("j", HOUR) == is_live
        case "finish":
            is_left = any(status in {*OPEN, "dialing"} for status in before.statuses.values())
            assert world.finish("j") is (before.status == "running" and not is_left)
        case _:
            try:
                if name == "append":
                    assert world.append("j", str(len(before.contacts))) == 1
                else:
                    world.cancel("j")
            except AlreadyTerminal:
                assert before.status in TERMINAL_JOBS


def check(before: pairs.JobRow, after: pairs.JobRow) -> None:
    """Check that a step has kept the promises."""
    if before.status in TERMINAL_JOBS:
        assert after.status == before.status
    for label, contact in before.contacts.items():
        if contact[0] in TERMINAL:
            assert after.contacts[label] == contact
    if after.status in {"cancelled", "completed"}:
        assert not any(status in OPEN for status in after.statuses.values())
    if before.status == "cancelled":
        called = {label for label, status in after.statuses.items() if status == "dialing"}
        assert called <= {label for label, was in before.statuses.items() if was == "dialing"}


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    status=st.sampled_from(["scheduled", "pending", "running"]),
    contacts=st.lists(st.sampled_from([*OPEN, "dialing", "completed"]), max_size=4),
    steps=STEPS,
)
def test_whatever_workers_do_the_promises_hold(
    world: pairs.World, status: str, contacts: list[str], steps: list[Step]
) -> None:
    """Nothing that has ended changes, and a cancelled job has nobody left to call."""
    world.clear()
    world.add_job("j", status, contacts)
    for step in steps:
        before = world.row("j")
        take(world, step)
        check(before, world.row("j"))
