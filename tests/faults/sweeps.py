"""
Single faults in the cancel of a large job: at every call, in every way it can fail.

Here there is a third state beside "nothing changed" and "fully cancelled": the job is cancelled,
and some of its contacts are. It is never answered 200, its record has the exact count, and a retry
or a reconcile ends it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

from batch_cancel import CancelResult, JobKey
from batch_cancel.domain.errors import CancelFailed
from tests.faults.expected import FULLY_CANCELLED, NOTHING_CHANGED, state_of
from tests.faults.fault_kinds import FaultKind, kinds_at
from tests.faults.injection import Plan
from tests.faults.points import Point
from tests.faults.scenarios import CONTACTS, CONTACTS_CHANGED, OURS, SCENARIOS
from tests.faults.setups import Stage

SWEPT_HALF: Final = "swept half"
_SCENARIO: Final = next(it for it in SCENARIOS if it.has_start and it.cancelled_by is None)


@attrs.frozen
class Case:
    """
    One fault.

    Arguments:
        number: the number of the call that fails.
        point: which call that is.
        kind: how it fails.
    """

    number: int
    point: Point
    kind: FaultKind

    def __str__(self) -> str:
        return f"call {self.number} {self.point}, {self.kind}"


def cases(stage: Stage) -> Iterator[Case]:
    """Return every case: each call that is made, failing in every way."""
    stage.set_up(_SCENARIO)
    plan = Plan()
    stage.play(_SCENARIO, plan, lambda: None)
    for number, point in enumerate(plan.calls):
        for kind in kinds_at(point):
            yield Case(number, point, kind)


def run(case: Case, stage: Stage) -> tuple[str, list[str]]:
    """Play one case; return the state that it left, and what was wrong."""
    stage.set_up(_SCENARIO)
    plan = Plan(case.number, case.kind)
    looked = list[str]()
    answer = stage.play(_SCENARIO, plan, lambda: looked.append("meanwhile"))
    if plan.struck != case.point:
        return "", [f"the call did not come: {plan.struck}"]
    state = _state(stage)
    wrong = _answer_complaints(answer, state)
    told = list(stage.told)
    if told and state != FULLY_CANCELLED:
        wrong.append("the hook was told before the sweep ended")
    retried = stage.cancel()
    if not isinstance(retried, CancelResult) or retried.contacts_cancelled != CONTACTS_CHANGED:
        wrong.append(f"retried (I12): {retried!r}")
    stage.reconcile()
    again = stage.reconcile()
    if again != []:
        wrong.append(f"reconciled twice (I21): {again!r}")
    if (end := _state(stage)) != FULLY_CANCELLED:
        wrong.append(f"in the end {end}")
    if set(stage.told) != {OURS}:
        wrong.append(f"the hook was told of {stage.told}")
    return state, wrong + stage.pool_trouble()


def _state(stage: Stage) -> str:
    assert stage.before is not None
    key, now = JobKey(stage.job_id), stage.look()
    state = state_of(_SCENARIO, stage.before, now, key)
    row, record = now.rows[key], stage.record(_SCENARIO)
    if row.status != "cancelled":
        return state
    changed = [label for label, (status, _) in row.contacts.items() if CONTACTS[label] != status]
    if any(row.statuses[label] != "cancelled" for label in changed):
        return f"contacts were changed to something else: {row.statuses}"
    if record is None or record.contacts_cancelled != len(changed):
        return f"the record has another count (I9): {record}, {len(changed)}"
    if len(changed) < CONTACTS_CHANGED:
        return SWEPT_HALF if not record.is_swept else "the record says that all are swept"
    return state


def _answer_complaints(answer: object, state: str) -> list[str]:
    if state not in {NOTHING_CHANGED, SWEPT_HALF, FULLY_CANCELLED}:
        return [state]
    is_done = state == FULLY_CANCELLED
    if isinstance(answer, CancelResult) and (answer.contacts_cancelled, is_done) != (
        CONTACTS_CHANGED,
        True,
    ):
        return [f"answered 200 with {answer.contacts_cancelled}, but it is {state} (I6, I9)"]
    says_unchanged = isinstance(answer, CancelFailed) and answer.outcome == "unchanged"
    if says_unchanged and state != NOTHING_CHANGED:
        return [f"said unchanged, but it is {state} (I11)"]
    return []
