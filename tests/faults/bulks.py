"""
Single faults in a cancel of many jobs: at every call, in every way it can fail, or a dead process.

After it each job is as it was or fully cancelled, and the answer has each once. Then the same
operation goes on and reconcile passes: all jobs are cancelled once, and nothing is pending.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import attrs

from batch_cancel import BulkResult, JobFilter, JobStatus, Removal
from batch_cancel.domain.errors import CancelFailed
from tests.faults import kills
from tests.faults.counts import Tally, is_in_sample
from tests.faults.expected import FULLY_CANCELLED, NOTHING_CHANGED, state_of_a_job
from tests.faults.fault_kinds import Answer, FaultKind, Step, kinds_at
from tests.faults.injection import Plan
from tests.faults.one_fault import adapter_of, group_of
from tests.faults.points import Point
from tests.faults.scenarios import CONTACTS, CONTACTS_CHANGED, OURS, Scenario, Verb
from tests.faults.setups import Look, Stage

GROUP: Final = "many jobs"
GROUP_OF_KILLS: Final = "many jobs, kill -9"
MANY: Final = Scenario("many jobs", None, "", verb=Verb.BULK)

PLACES: Final = (
    ("memory", "memory"),
    ("memory-async", "memory"),
    ("sqlite", "sqlite"),
    ("postgres", "redis"),
    ("postgres-async", "redis"),
)

ALWAYS: Final = frozenset({"BulkRepository.cancel", "UnitOfWork.begin (exit)"})
"""The calls that fail in every way in a sample, too: what is committed is decided there."""

_RUNNING: Final = JobFilter(statuses=["running"])

_LIVE: Final = ("scheduled", "scheduled", "running")
"""The jobs that are cancelled; the scheduled ones have a start. A completed one comes last."""


@attrs.frozen
class Case:
    """
    One fault.

    Arguments:
        number: the number of the call that fails.
        point: which call that is.
        kind: how it fails.
        is_by_filter: whether the jobs are those of a filter: the running one.
    """

    number: int
    point: Point
    kind: FaultKind
    is_by_filter: bool = False

    def __str__(self) -> str:
        return f"call {self.number} {self.point}, {self.kind}"


def set_up(stage: Stage) -> None:
    """Add the jobs, and remember how everything looks."""
    number = next(stage.numbers)
    stage.forget()
    world = stage.world
    world.add_job(f"neighbour-{number}", "scheduled", CONTACTS, deferred_id="neighbour's start")
    world.schedule("neighbour's start")
    stage.many = [f"job-{number}-{place}" for place in range(len(_LIVE) + 1)]
    for job_id, status in zip(stage.many, (*_LIVE, "completed"), strict=True):
        has_start = status == "scheduled"
        world.add_job(job_id, status, CONTACTS, deferred_id=_start(job_id) if has_start else None)
        if has_start:
            world.schedule(_start(job_id))
    stage.told.clear()
    stage.told_of.clear()
    stage.before = stage.look()


def _ids(stage: Stage) -> Sequence[str]:
    assert not isinstance(stage.many, JobFilter)
    return stage.many


def _start(job_id: str) -> str:
    return f"start of {job_id}"


def calls(stage: Stage, *, is_by_filter: bool = False) -> list[Point]:
    """Return the calls that are made if nothing fails."""
    set_up(stage)
    if is_by_filter:
        stage.many = _RUNNING
    plan = Plan()
    stage.play(MANY, plan, lambda: None)
    return plan.calls


def cases(stage: Stage) -> Iterator[Case]:
    """Return every case: each call that is made, failing in every way."""
    for number, point in enumerate(calls(stage)):
        for kind in kinds_at(point):
            yield Case(number, point, kind)
    for number, point in enumerate(calls(stage, is_by_filter=True)):
        for kind in kinds_at(point) if point.member == "find" else ():
            yield Case(number, point, kind, is_by_filter=True)


def run(case: Case, stage: Stage) -> tuple[int, list[str]]:
    """Play one case; return how many jobs it left cancelled, and what was wrong."""
    set_up(stage)
    plan, job_ids = Plan(case.number, case.kind), stage.many
    if case.is_by_filter:
        stage.many = _RUNNING
    answer = stage.play(MANY, plan, lambda: None)
    stage.many = job_ids
    if plan.struck != case.point:
        return 0, [f"the call did not come: {plan.struck}"]
    states, wrong = _states(stage, stage.look())
    wrong += _answer_complaints(answer, states, plan, 1 if case.is_by_filter else len(states) + 1)
    may_tell_twice = case.point.root != "Scheduler" and not (
        case.point.root == "OnCancelled" and case.kind.step is Step.BEFORE
    )
    wrong += _recovery_complaints(stage, states, may_tell_twice=may_tell_twice)
    return list(states.values()).count(FULLY_CANCELLED), wrong + stage.pool_trouble()


def _states(stage: Stage, now: Look) -> tuple[dict[str, str], list[str]]:
    """Return what became of each live job, and what is wrong with that and with the others."""
    assert stage.before is not None
    before, wrong, states = stage.before, list[str](), dict[str, str]()
    live = _ids(stage)[:-1]
    for key, row in now.rows.items():
        job_id = key.batch_job_id
        if job_id not in live:
            if row != before.rows[key]:
                wrong.append(f"{job_id} was touched (I16)")
            continue
        states[job_id] = state = state_of_a_job(row, before.rows[key])
        if state not in {NOTHING_CHANGED, FULLY_CANCELLED}:
            wrong.append(f"{job_id}: {state}")
        start = _start(job_id)
        if state == NOTHING_CHANGED and start in before.waiting - now.waiting:
            wrong.append(f"nothing will start {job_id} (I8)")
    if "neighbour's start" not in now.waiting:
        wrong.append("another job's start was removed (I16)")
    return states, wrong


def _answer_complaints(answer: object, states: dict[str, str], plan: Plan, jobs: int) -> list[str]:
    if not isinstance(answer, BulkResult):
        assert plan.kind is not None
        if isinstance(answer, Exception):
            # Before the first slice; nothing has read or changed a job.
            is_unchanged = set(states.values()) == {NOTHING_CHANGED}
            return [] if is_unchanged else [f"it failed in the middle: {answer!r}"]
        is_same = answer is plan.raised or isinstance(plan.kind.effect, Answer)
        return [] if is_same else [f"another exception than was raised (I19): {answer!r}"]
    wrong = list[str]()
    said = answer.cancelled + answer.replayed
    refused = sum(answer.refused.values())
    counted = said + refused + answer.not_found + answer.failed + answer.left
    if (answer.jobs, counted) != (jobs, jobs) or answer.not_found:
        wrong.append(f"not each job once in the counts: {answer}")
    unsure = set[str]()
    for failure in answer.failures:
        job_id = failure.key.batch_job_id
        is_unknown = isinstance(failure, CancelFailed) and failure.outcome == "unknown"
        unsure |= {job_id} if is_unknown else set()
        if not is_unknown and states.get(job_id) == FULLY_CANCELLED:
            wrong.append(f"{job_id} is said to be unchanged (I11)")
    done = sum(it == FULLY_CANCELLED for job, it in states.items() if job not in unsure)
    if (answer.cancelled, answer.replayed) != (done, 0):
        wrong.append(f"{done} were cancelled, and it says {answer} (I6)")
    if answer.contacts_cancelled != CONTACTS_CHANGED * answer.cancelled:
        wrong.append(f"a wrong number of contacts (I9): {answer}")
    if set(answer.refused) - {JobStatus.COMPLETED}:
        wrong.append(f"refused: {answer.refused} (I12)")
    return wrong


def _recovery_complaints(
    stage: Stage, states: dict[str, str], *, may_tell_twice: bool
) -> list[str]:
    """Go on with the same operation, reconcile, and return what is wrong then."""
    wrong = list[str]()
    done = list(states.values()).count(FULLY_CANCELLED)
    live = len(states)
    again = stage.cancel_many()
    if not isinstance(again, BulkResult):
        return [f"resumed: {again!r}"]
    counts = (again.replayed, again.cancelled, again.failed, again.left, dict(again.refused))
    if counts != (done, live - done, 0, 0, {JobStatus.COMPLETED: 1}):
        wrong.append(f"resumed after {done}: {again} (I12)")
    if again.contacts_cancelled != CONTACTS_CHANGED * (live - done):
        wrong.append(f"resumed, a wrong number of contacts (I9): {again}")
    stage.reconcile()
    if (once_more := stage.reconcile()) != []:
        wrong.append(f"reconciled twice (I21): {once_more!r}")
    end = stage.look()
    at_the_end, more = _states(stage, end)
    wrong += more
    if set(at_the_end.values()) != {FULLY_CANCELLED}:
        wrong.append(f"in the end {at_the_end}")
    for job_id, status in zip(_ids(stage), _LIVE, strict=False):
        record = stage.world.record(job_id)
        is_right = record is not None and (
            record.operation_id,
            record.contacts_cancelled,
            record.removal,
        ) == (
            OURS,
            CONTACTS_CHANGED,
            Removal.REMOVED if status == "scheduled" else Removal.NOT_APPLICABLE,
        )
        wrong += [] if is_right else [f"the record of {job_id}: {record}"]
        wrong += [f"the start of {job_id} is left (I7)"] if _start(job_id) in end.waiting else []
    if set(stage.told_of) != set(states):
        wrong.append(f"the hook was told of {stage.told_of}")
    # The one of which the fault kept the note from being made.
    if len(stage.told_of) > live + may_tell_twice:
        wrong.append(f"the hook was told twice: {stage.told_of}")
    return wrong


def campaign(stage: Stage, tally: Tally, *, every: int = 1) -> None:
    """Run the cases of a stage; or those of `ALWAYS`, and every so many-th of the others."""
    for number, case in enumerate(list(cases(stage))):
        tally.seen[f"{GROUP}: {case.point}"] += 1
        if not (str(case.point) in ALWAYS or is_in_sample(number, every)):
            continue
        done, complaints = run(case, stage)
        tally.seen[f"{GROUP}: {done} cancelled"] += 1
        what = f"{stage.store}+{stage.scheduler}: many jobs, {case}"
        tally.add(GROUP, group_of(case.kind), adapter_of(stage, case.point), complaints, what)


# Dead processes ----------------------------------------------------------------------------------


def run_killed(place: kills.Place, stage: Stage, death: kills.Death) -> list[str]:
    """Let one process die, go on with its operation, and return what was wrong."""
    set_up(stage)
    Path(place.told).write_text("")
    exit_code = kills.die(place, ",".join(_ids(stage)), Verb.BULK, death)
    if exit_code != -signal.SIGKILL:
        return [f"the process did not die, but ended with {exit_code}"]
    told = Path(place.told).read_text().split("\n")[:-1]
    stage.told_of += [line.partition(" of ")[2] for line in told]
    states, wrong = _states(stage, stage.look())
    return wrong + _recovery_complaints(stage, states, may_tell_twice=True)


def campaign_of_kills(place: kills.Place, stage: Stage, tally: Tally, *, every: int = 1) -> None:
    """Let a process die before and after each call; or every so many-th of them only."""
    deaths = [
        kills.Death(number, point, step, is_late=False)
        for number, point in enumerate(calls(stage))
        for step in (Step.BEFORE, Step.AFTER)
    ]
    for number, death in enumerate(deaths):
        if not is_in_sample(number, every):
            continue
        complaints = run_killed(place, stage, death)
        what = f"{stage.store}+{stage.scheduler}: many jobs, killed {death}"
        kind = f"killed {death.step.value} a call"
        tally.add(GROUP_OF_KILLS, kind, adapter_of(stage, death.point), complaints, what)
