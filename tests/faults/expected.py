"""
What must come of a single fault: the answer, the state, and what is left to do.

Written by hand from the contract and from the fault table of the protocol. What is asked of every
case alike, whatever the fault was, is in `common_complaints`: it knows nothing of faults.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

import attrs

from batch_cancel import CancelResult, JobKey, Removal
from batch_cancel.domain.errors import CancelFailed, StoreFailed
from batch_cancel.domain.job import CancellationRecord
from tests.faults.fault_kinds import Answer, FaultKind, Hang, Step
from tests.faults.injection import Plan
from tests.faults.points import Point
from tests.faults.scenarios import (
    CONTACTS_CANCELLED,
    CONTACTS_CHANGED,
    MESSAGES,
    OURS,
    Scenario,
    Verb,
    described,
)
from tests.faults.setups import Look, Stage
from tests.pairs import JobRow

NOTHING_CHANGED: Final = "nothing changed"
FULLY_CANCELLED: Final = "fully cancelled"

_RAN_OUT = "failed unchanged refused"


class Phase(Enum):
    """How far the cancel was when the fault struck."""

    BEFORE = "before the commit"
    COMMIT = "at the commit, or the rollback"
    AFTER = "after the commit"


@attrs.frozen
class Expected:
    """
    What must come of a fault.

    Arguments:
        answers: the answers that are right, as `described`.
        is_done: whether the transaction that the fault struck counts.
    """

    answers: frozenset[str]
    is_done: bool


def phase_of(plan: Plan) -> Phase:
    """Return how far the first transaction was when the fault struck."""
    assert plan.strike_at is not None
    assert plan.struck is not None
    if plan.struck.port == "RepeatableUnitOfWork":  # Called between two attempts.
        return Phase.BEFORE
    if any(point.is_exit for point in plan.calls[: plan.strike_at]):
        return Phase.AFTER
    return Phase.COMMIT if plan.struck.is_exit else Phase.BEFORE


def expected(scenario: Scenario, plan: Plan, *, is_repeatable: bool, is_async: bool) -> Expected:
    """
    Return what must come of the fault that the plan has struck with.

    Arguments:
        scenario: the situation.
        plan: where the fault struck, and how.
        is_repeatable: whether the store lets failed transactions be begun again.
        is_async: whether who waits for a call that hangs can be called off.
    """
    point, kind, phase = plan.struck, plan.kind, phase_of(plan)
    assert point is not None
    assert kind is not None
    is_done = phase is Phase.AFTER or (phase is Phase.COMMIT and kind.step is Step.AFTER)
    if isinstance(kind.effect, Hang) and is_async and point.waits:
        return Expected(frozenset({"raised CancelledError"}), is_done)
    if kind.name in {"KeyboardInterrupt", "CancelledError"}:
        return Expected(frozenset({f"raised {kind.name}"}), is_done)
    if phase is Phase.AFTER:
        return Expected(frozenset({_after_the_commit(scenario, point)}), is_done)
    if scenario.verb is not Verb.CANCEL:
        answers = (
            _of_taking(scenario, point, kind, is_repeatable=is_repeatable)
            if scenario.verb is Verb.RECONCILE
            else _of_looking_up(scenario, point, kind)
        )
        return Expected(answers, is_done)
    if isinstance(kind.effect, Answer):
        answer = _of_garbage(scenario, point, kind)
        return Expected(frozenset({answer}), _cancels(answer))
    return _of_a_store_s_fault(scenario, point, kind, is_done=is_done, is_repeatable=is_repeatable)


def _cancels(answer: str) -> bool:
    return answer.startswith("200")


def _after_the_commit(scenario: Scenario, point: Point) -> str:
    """Nothing can make a failure of it any more; but what is not confirmed is not claimed."""
    if point.root != "Scheduler":
        return scenario.usually
    if scenario.verb is Verb.RECONCILE:
        return "reconciled pending"
    return scenario.usually.removesuffix(" removed")


def _of_garbage(scenario: Scenario, point: Point, kind: FaultKind) -> str:
    assert isinstance(kind.effect, Answer)
    if point.is_exit:
        # A context manager that says yes to an error hides it; to no error it says nothing.
        hidden = kind.effect.garbage is not None and not scenario.usually.startswith("200")
        return "failed unknown refused" if hidden else scenario.usually
    if point.member == "lock" and kind.effect.garbage is None:
        return "404"  # That is how the port says so.
    if not point.answers:
        return scenario.usually
    return _RAN_OUT


def _of_a_store_s_fault(
    scenario: Scenario, point: Point, kind: FaultKind, *, is_done: bool, is_repeatable: bool
) -> Expected:
    error = None if isinstance(kind.effect, Hang | Answer) else kind.effect.make()
    if isinstance(error, StoreFailed):
        outcome, fault = error.outcome, error.fault.value
    else:  # Nobody knows this error; at a commit nobody knows what it has left.
        commits = point.is_exit and scenario.usually.startswith("200")
        outcome, fault = ("unknown", "interrupted") if commits else ("unchanged", "refused")
    is_worth_it = fault in {"conflict", "incomplete", "interrupted"} or (
        outcome == "unknown" and fault != "refused"
    )
    # These are worth two attempts in all, and two were made before a pause failed.
    worth_two = {("unchanged", "interrupted"), ("unknown", "late")}
    is_used_up = point.member == "pause" and (outcome, fault) in worth_two
    if not is_repeatable or not is_worth_it or is_used_up:
        return Expected(frozenset({f"failed {outcome} {fault}"}), is_done)
    if outcome == "unchanged":
        return Expected(frozenset({scenario.usually}), is_done=True)
    # What an attempt of ours may have done is neither a replay nor another's cancellation.
    if scenario.name == "a job cancelled by others":
        return Expected(frozenset({"failed unknown interrupted"}), is_done=True)
    # A replay only reads, so that its end leaves nothing in doubt.
    is_known_replay = scenario.name == "our cancel again" and point.is_exit
    answer = scenario.usually if is_known_replay else scenario.usually.replace(" replayed", "")
    return Expected(frozenset({answer}), is_done=True)


def _of_taking(
    scenario: Scenario, point: Point, kind: FaultKind, *, is_repeatable: bool
) -> frozenset[str]:
    """
    Reconcile has changed nothing yet: it takes again if that is worth it.

    Otherwise it raises, and the next pass takes up the same.
    """
    error = None if isinstance(kind.effect, Hang | Answer) else kind.effect.make()
    if isinstance(error, StoreFailed):
        # Two attempts are made before a pause fails, as many as an interrupted one is worth.
        worth = {"conflict", "incomplete"} | (
            {"interrupted"} if point.member != "pause" else set()
        )
        is_taken_again = is_repeatable and error.outcome == "unchanged" and error.fault in worth
        return frozenset({scenario.usually if is_taken_again else f"store failed {error.fault}"})
    if isinstance(kind.effect, Answer):
        # It may pass unnoticed, as where only "is None" is asked, or look like an empty store.
        noticed = {"raised TypeError", "raised AttributeError", "store failed refused"}
        return frozenset({scenario.usually} if point.is_exit else noticed) | (
            {scenario.usually, "reconciled"} if point.member == "outbox" else set()
        )
    name = "TimeoutError" if error is None else type(error).__name__
    return frozenset({f"raised {name}"})


def _of_looking_up(scenario: Scenario, point: Point, kind: FaultKind) -> frozenset[str]:
    """Return the answers: nobody could say that it is committed, so the scheduler is not asked."""
    pending = scenario.usually.removesuffix(" removed")
    if not isinstance(kind.effect, Answer):
        return frozenset({pending})
    if point.is_exit:
        return frozenset({scenario.usually})
    if kind.effect.garbage is None and point.member == "find":
        # That is how the port says that it is not committed; the caller knows what became of it.
        return frozenset({"failed unknown refused"})
    # It may pass unnoticed where only "is None" is asked, or look like a store without records.
    return frozenset({pending} | ({scenario.usually} if point.member == "outbox" else set()))


# Whatever the fault was --------------------------------------------------------------------------


def state_of(scenario: Scenario, before: Look, now: Look, key: JobKey) -> str:
    """Return which of the two states it is, or what is wrong with it."""
    others = {other: row for other, row in now.rows.items() if other != key}
    if others != {other: row for other, row in before.rows.items() if other != key}:
        return "another job was touched (I16)"
    if "neighbour's start" not in now.waiting:
        return "another job's start was removed (I16)"
    row, row_before = now.rows.get(key), before.rows.get(key)
    if row == row_before and scenario.cancelled_by is None:
        lost = before.waiting - now.waiting
        return f"nothing will start the job: lost {set(lost)} (I8)" if lost else NOTHING_CHANGED
    if row == row_before:
        return FULLY_CANCELLED
    if row is None or row_before is None or scenario.operation_id is None:
        return f"a job that may not be cancelled was changed: {row} (I2)"
    return _state_of_a_cancelled_job(row, row_before)


def state_of_a_job(row: JobRow, row_before: JobRow) -> str:
    """Return which of the two states a job is in, or what is wrong with it."""
    return NOTHING_CHANGED if row == row_before else _state_of_a_cancelled_job(row, row_before)


def _state_of_a_cancelled_job(row: JobRow, row_before: JobRow) -> str:
    if row.status != "cancelled" or row.deferred_id != row_before.deferred_id:
        return f"a half state, the job: {row.status}"
    if row.statuses != CONTACTS_CANCELLED:
        return f"a half state, the contacts: {row.statuses}"
    for label, contact in row.contacts.items():
        was = row_before.contacts[label]
        if contact[0] == was[0] and contact != was:
            return f"the contact {label!r} was touched (I15)"
    return FULLY_CANCELLED


def answer_complaints(
    scenario: Scenario,
    answer: object,
    state: str,
    record: CancellationRecord | None,
    *,
    starts_waiting: bool,
) -> list[str]:
    """Return what is wrong with an answer to a cancel, given what it left."""
    if isinstance(answer, CancelFailed):
        if answer.outcome == "unchanged" and scenario.cancelled_by is None:
            return _unless(state == NOTHING_CHANGED, "said unchanged, but it was not (I11)")
        return []
    if not isinstance(answer, CancelResult):
        return []
    assert scenario.status is not None
    wrong = _unless(state == FULLY_CANCELLED, "answered 200, but it is not cancelled (I6)")
    wrong += _unless(answer.contacts_cancelled == CONTACTS_CHANGED, "a wrong number (I9)")
    wrong += _unless(answer.message == MESSAGES[scenario.status], "a wrong message")
    wrong += _unless(record is not None, "no record")
    if record is not None:
        same = (
            record.contacts_cancelled == answer.contacts_cancelled
            and record.cancelled_at == answer.cancelled_at
            and record.operation_id == answer.operation_id == OURS
        )
        wrong += _unless(same, "the record says something else (I9)")
    wrong += _unless(
        not (answer.redis_job_cancelled and starts_waiting), "said removed, but it waits (I10)"
    )
    return wrong + _unless(
        scenario.has_start or not answer.redis_job_cancelled, "said removed what never was (I10)"
    )


def recovery_complaints(
    stage: Stage, scenario: Scenario, state: str, answer: object, *, may_tell_twice: bool
) -> list[str]:
    """
    Retry the same operation, reconcile, and say what is wrong then.

    Arguments:
        stage: where it is.
        scenario: the situation it was.
        state: what the fault left.
        answer: what was answered to it.
        may_tell_twice: whether the fault kept the library from noting that the hook was told.
    """
    assert stage.before is not None
    wrong: list[str] = []
    owner = scenario.operation_id
    retried = stage.cancel()
    if owner == OURS:
        may_replay = " replayed" if state == FULLY_CANCELLED else ""
        removed = " removed" if scenario.has_start else ""
        wrong += _is(described(retried), f"200{may_replay}{removed}", "retried (I12)")
        if isinstance(answer, CancelResult) and isinstance(retried, CancelResult):
            same = answer.cancelled_at == retried.cancelled_at
            wrong += _unless(same, "the retry tells another time")
            wrong += _unless(
                retried.redis_job_cancelled >= answer.redis_job_cancelled, "unsaid: removed (I10)"
            )
    else:
        refusal = scenario.usually if scenario.verb is Verb.CANCEL else "400 cancelled"
        wrong += _is(described(retried), refusal, "retried")
    stage.reconcile()
    once_more = stage.reconcile()
    wrong += _is(described(once_more), "reconciled", "reconciled twice (I21)")
    end = stage.look()
    key = JobKey(stage.job_id)
    at_the_end = NOTHING_CHANGED if owner is None else FULLY_CANCELLED
    wrong += _is(state_of(scenario, stage.before, end, key), at_the_end, "in the end")
    wrong += _unless(stage.start_id not in end.waiting, "a start is left over (I7)")
    record = stage.record(scenario)
    if owner is not None:
        wrong += _unless(record is not None and record.operation_id == owner, "no record left")
        removal = Removal.REMOVED if scenario.has_start else None
        if record is not None and removal is not None:
            wrong += _is(record.removal.value, removal.value, "recorded")
        wrong += _told_complaints(owner, end, may_tell_twice=may_tell_twice)
    else:
        wrong += _is(str(end.told), "()", "told")
    return wrong + stage.pool_trouble()


def _told_complaints(owner: str, end: Look, *, may_tell_twice: bool) -> list[str]:
    if set(end.told) != {owner}:
        return [f"the hook was told of {end.told}"]
    times = len(end.told)
    return _unless(times == 1 or (times == 2 and may_tell_twice), f"the hook: told {times} times")


def kept_note_from_being_taken(plan: Plan, after: Look) -> bool:
    """Check whether the fault kept the library from noting that the hook had been told."""
    struck, kind = plan.struck, plan.kind
    if struck is None or kind is None or not after.told or phase_of(plan) is not Phase.AFTER:
        return False
    if struck.root == "OnCancelled":  # It was told, and then failed: it must be told again.
        return kind.step is Step.AFTER
    return struck.root == "UnitOfWork" and not (struck.is_exit and kind.step is Step.AFTER)


def fault_complaints(
    scenario: Scenario, plan: Plan, stage: Stage, answer: object, state: str
) -> list[str]:
    """Return what is wrong with the answer to this very fault."""
    ours = expected(scenario, plan, is_repeatable=stage.is_repeatable, is_async=stage.is_async)
    wrong = _unless(
        described(answer) in ours.answers,
        f"answered {described(answer)!r} instead of {' or '.join(sorted(ours.answers))!r}",
    )
    if isinstance(answer, BaseException) and not isinstance(answer, Exception):
        wrong += _unless(answer is plan.raised, "another exception than was raised (I19)")
    is_cancelled = scenario.cancelled_by is not None or (
        ours.is_done and scenario.operation_id is not None
    )
    must_be = FULLY_CANCELLED if is_cancelled else NOTHING_CHANGED
    return wrong + _is(state, must_be, "left")


def _unless(is_right: bool, complaint: str) -> list[str]:  # noqa: FBT001
    return [] if is_right else [complaint]


def _is(was: str, should_be: str, what: str) -> list[str]:
    return _unless(was == should_be, f"{what}: {was!r} instead of {should_be!r}")
