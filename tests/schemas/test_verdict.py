"""The verdict has teeth: each wrong outcome of a step is called harm, and a right one is not."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import attrs
import pytest

from tests.schemas.calls import Answer, Call, Refusal, Verdict
from tests.schemas.facts import Knowledge
from tests.schemas.verdict import judge

Tables = dict[str, dict[str, dict[str, Any]]]

KNOWN = Knowledge(
    job_status=lambda raw: raw or "",
    contact_status=lambda raw: raw or "",
    written=lambda table, status: status,
    versions=True,
    touched={"jobs": frozenset({"updated"}), "contacts": frozenset({"updated"})},
    stale="updated",
    has_times=True,
    has_deferred=True,
    is_deleted=lambda raw: raw == "t",
    organization_of_contacts=True,
    names={"1": ("job", "A"), "2": ("job", "B")},
    references={"1": "job", "2": "job"},
    old={"updated": frozenset({"13", "23"})},
    later=frozenset(),
    hides_cancelled=False,
    may_pass_over=False,
)
CANCEL = Call("cancel", 1, "job", "A")
CANCELLED = {
    "batch_job_id": "job",
    "previous_status": "running",
    "contacts_cancelled": 2,
    "removal": "removed",
    "replayed": False,
}
RECORD = {
    "operation_id": "op",
    "previous_status": "running",
    "contacts_cancelled": "2",
    "actor": "actor",
    "reason": "reason",
    "deferred_id": "start",
    "removal": "removed",
    "is_announced": "t",
}


def contact(owner: str, status: str, contact_id: str) -> dict[str, Any]:
    """Return a contact as it was made."""
    organization = {"1": "A", "2": "B"}[owner]
    return {
        "owner": owner,
        "id": contact_id,
        "job": "job",
        "organization": organization,
        "status": status,
        "updated": "long ago",
        "next": None,
        "version": "7",
        "origin": "application",
    }


def tables() -> Tables:
    """Return two organizations' jobs of one id, with contacts of the same ids."""
    statuses = {"1": "pending", "2": "busy", "3": "dialing", "4": "blocked", "5": "weird"}
    return {
        "jobs": {
            rid: {
                "id": "job",
                "organization": organization,
                "status": "running",
                "deferred": "start",
                "updated": "long ago",
                "version": "7",
            }
            for rid, organization in (("1", "A"), ("2", "B"))
        },
        "contacts": {
            f"{owner}{number}": contact(owner, status, number)
            for owner in ("1", "2")
            for number, status in statuses.items()
        },
        "cancellations": {},
        "audit_log": {},
    }


def changed(to: Tables, table: str, rid: str, status: str) -> None:
    """Change a row as the library would."""
    to[table][rid] |= {"status": status, "updated": "now", "version": "8"}


def cancelled() -> Tables:
    """Return the tables after a cancel that came out right."""
    after = tables()
    changed(after, "jobs", "1", "cancelled")
    changed(after, "contacts", "11", "cancelled")
    changed(after, "contacts", "12", "cancelled")
    after["cancellations"]["A\njob"] = dict(RECORD)
    return after


def verdict(call: Call, answer: Any, after: Tables, known: Knowledge = KNOWN) -> Verdict:
    """Judge a step that began with `tables()`."""
    given = answer if isinstance(answer, Refusal) else Answer(answer)
    return judge(call, given, tables(), after, known)


def test_a_right_cancel_is_right() -> None:
    """Exactly the job and its open contacts are changed, and the answer is true."""
    assert verdict(CANCEL, CANCELLED, cancelled()) == Verdict("right")


def test_a_refusal_with_nothing_changed_is_a_refusal() -> None:
    """Nothing happened, and the caller was told so."""
    refusal = Refusal("CancelFailed", "a trigger is in the way")
    assert verdict(CANCEL, refusal, tables()).kind == "refused"


def _of_another_organization(after: Tables) -> None:
    changed(after, "contacts", "21", "cancelled")


def _left_open(after: Tables) -> None:
    after["contacts"]["12"] = tables()["contacts"]["12"]


def _timestamp_elsewhere(after: Tables) -> None:
    after["contacts"]["14"]["updated"] = "now"


def _unknown_status_changed(after: Tables) -> None:
    changed(after, "contacts", "15", "cancelled")


def _live_call_hung_up(after: Tables) -> None:
    changed(after, "contacts", "13", "cancelled")


def _job_unchanged(after: Tables) -> None:
    after["jobs"]["1"] = tables()["jobs"]["1"]


def _extra_contact(after: Tables) -> None:
    after["contacts"]["16"] = contact("1", "completed", "6")


def _open_contact_by_a_trigger(after: Tables) -> None:
    after["contacts"]["16"] = {**contact("1", "pending", "6"), "origin": "trigger"}


def _contact_deleted(after: Tables) -> None:
    del after["contacts"]["24"]


def _normalised(after: Tables) -> None:
    after["jobs"]["1"]["status"] = "Cancelled"


def _version_not_raised(after: Tables) -> None:
    after["contacts"]["11"]["version"] = "7"


def _another_column(after: Tables) -> None:
    after["contacts"]["11"]["next"] = "now"


def _no_record(after: Tables) -> None:
    after["cancellations"].clear()


def _count_of_the_record(after: Tables) -> None:
    after["cancellations"]["A\njob"]["contacts_cancelled"] = "3"


def _record_of_another(after: Tables) -> None:
    after["cancellations"]["B\njob"] = dict(RECORD)


@pytest.mark.parametrize(
    "spoil",
    [
        _of_another_organization,
        _left_open,
        _timestamp_elsewhere,
        _unknown_status_changed,
        _live_call_hung_up,
        _job_unchanged,
        _extra_contact,
        _open_contact_by_a_trigger,
        _contact_deleted,
        _normalised,
        _version_not_raised,
        _another_column,
        _no_record,
        _count_of_the_record,
        _record_of_another,
    ],
)
def test_a_row_too_many_or_too_few_is_harm(spoil: Callable[[Tables], None]) -> None:
    """A cancel that answered, and one row that is not as the contract says."""
    after = cancelled()
    spoil(after)
    found = verdict(CANCEL, CANCELLED, after)
    assert found.kind == "harm"
    assert found.complaints


@pytest.mark.parametrize(
    "untrue",
    [
        {"contacts_cancelled": 3},
        {"removal": "absent"},
        {"previous_status": "pending"},
        {"replayed": True},
        {"batch_job_id": "job "},
    ],
)
def test_an_answer_that_is_not_true_is_harm(untrue: dict[str, Any]) -> None:
    """All rows are right, and the caller is told something else."""
    assert verdict(CANCEL, {**CANCELLED, **untrue}, cancelled()).kind == "harm"


def test_an_answer_where_nothing_changed_is_harm() -> None:
    """A 200, and the job is as it was."""
    assert verdict(CANCEL, CANCELLED, tables()).kind == "harm"


def test_a_refusal_that_changed_something_is_harm() -> None:
    """Half a cancel, whatever was raised."""
    after = tables()
    changed(after, "contacts", "11", "cancelled")
    assert verdict(CANCEL, Refusal("CancelFailed", "no"), after).kind == "harm"


def test_an_error_that_nobody_promised_is_harm() -> None:
    """A caller who catches the library's errors would not catch it."""
    refusal = Refusal("KeyError", "'status'", is_named=False)
    assert verdict(CANCEL, refusal, tables()).kind == "harm"


def test_a_cancel_of_no_job_must_be_refused() -> None:
    """The rows say which error is due."""
    nobody = Call("cancel", None, "job", "C")
    assert verdict(nobody, Refusal("JobNotFound", ""), tables()).kind == "right"
    assert verdict(nobody, CANCELLED, tables()).kind == "harm"


def test_a_name_of_two_jobs_must_not_be_acted_upon() -> None:
    """Whichever of the two it was, the caller may have meant the other."""
    ambiguous = attrs.evolve(CANCEL, is_ambiguous=True)
    assert verdict(ambiguous, CANCELLED, cancelled()).kind == "harm"
    assert verdict(ambiguous, Refusal("CancelFailed", ""), tables()).kind == "refused"


def test_a_rollback_leaves_nothing() -> None:
    """What was joined to a transaction is undone with it."""
    call = attrs.evolve(CANCEL, how=attrs.evolve(CANCEL.how, is_joined=True, is_rolled_back=True))
    assert verdict(call, None, tables()).kind == "right"
    assert verdict(call, None, cancelled()).kind == "harm"


def test_a_claim_is_judged_by_its_rows_and_its_answer() -> None:
    """As many as were asked for, of this job, each once and all of them told."""
    claim = Call("claim", 1, "job", "A", limit=2)
    right = tables()
    changed(right, "contacts", "11", "dialing")
    changed(right, "contacts", "12", "dialing")
    assert verdict(claim, ("1", "2"), right).kind == "right"
    assert verdict(claim, ("1",), right).kind == "harm"
    assert verdict(claim, ("1", "2"), tables()).kind == "harm"
    assert verdict(attrs.evolve(claim, limit=1), ("1", "2"), right).kind == "harm"
    theirs = deepcopy(right)
    changed(theirs, "contacts", "21", "dialing")
    assert verdict(claim, ("1", "2"), theirs).kind == "harm"
    assert verdict(claim, (), tables()).kind == "harm"


def test_a_settled_contact_is_the_one_that_was_named() -> None:
    """The contact of the same id in another organization is another contact."""
    settle = Call("settle", 1, "job", "A", contact="13", contact_id="3", outcome="completed")
    after = tables()
    changed(after, "contacts", "13", "completed")
    assert verdict(settle, "completed", after).kind == "right"
    assert verdict(settle, "busy", after).kind == "harm"
    changed(after, "contacts", "23", "completed")
    assert verdict(settle, "completed", after).kind == "harm"


def test_an_outcome_to_be_retried_is_cancelled_with_its_job() -> None:
    """No call of a cancelled job starts again."""
    settle = Call("settle", 1, "job", "A", contact="13", contact_id="3", outcome="busy")
    before = cancelled()
    after = deepcopy(before)
    changed(after, "contacts", "13", "busy")
    assert judge(settle, Answer("busy"), before, after, KNOWN).kind == "harm"
    changed(after, "contacts", "13", "cancelled")
    assert judge(settle, Answer("cancelled"), before, after, KNOWN).kind == "right"


def test_added_contacts_belong_to_the_job() -> None:
    """They hold its id, its organization and the status pending, and are counted."""
    append = Call("append", 1, "job", "A", contacts=({"id": "9"},))
    after = tables()
    after["contacts"]["99"] = {**contact("1", "pending", "9"), "owner": None}
    assert verdict(append, 1, after) == Verdict("right", new_contacts=("99",))
    assert verdict(append, 2, after).kind == "harm"
    assert verdict(append, 1, tables()).kind == "harm"
    after["contacts"]["99"]["organization"] = "B"
    assert verdict(append, 1, after).kind == "harm"


def test_dead_calls_are_ended_and_counted() -> None:
    """Only those of this job, and only those that are old enough."""
    expire = Call("expire", 1, "job", "A")
    after = tables()
    changed(after, "contacts", "13", "timeout")
    assert verdict(expire, 1, after).kind == "right"
    assert verdict(expire, 0, after).kind == "harm"
    assert verdict(expire, 0, tables()).kind == "harm"
    changed(after, "contacts", "23", "timeout")
    assert verdict(expire, 1, after).kind == "harm"
    unknown = attrs.evolve(KNOWN, stale=None)
    assert verdict(expire, 0, tables(), unknown).kind == "harm"
    assert verdict(expire, Refusal("StoreFailed", ""), tables(), unknown).kind == "right"


def test_starting_and_finishing_change_the_job_alone() -> None:
    """A job with contacts left is not finished, and one that runs is not started."""
    start, finish = Call("start", 1, "job", "A"), Call("finish", 1, "job", "A")
    assert verdict(start, answer=False, after=tables()).kind == "right"
    assert verdict(finish, answer=False, after=tables()).kind == "right"
    after = tables()
    changed(after, "jobs", "1", "completed")
    assert verdict(finish, answer=True, after=after).kind == "harm"
    assert verdict(start, answer=True, after=tables()).kind == "harm"


def test_open_contacts_are_counted_by_job() -> None:
    """Those of another organization's job of the same id are not among them."""
    inspect = Call("inspect", None, "", None)
    before = tables()
    before["jobs"]["1"]["status"] = "cancelled"
    right = (("job", "A", 2),)
    assert judge(inspect, Answer(right), before, before, KNOWN).kind == "right"
    for wrong in ((("job", "A", 4),), (), (("job", "B", 2),)):
        assert judge(inspect, Answer(wrong), before, before, KNOWN).kind == "harm"
