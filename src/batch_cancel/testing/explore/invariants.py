"""
The invariants I1 to I21, each checked wherever it speaks of what just happened.

An invariant is a function of a moment that returns what is wrong, or None.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Final, NamedTuple

from batch_cancel.domain.deferred_start import DeferredState
from batch_cancel.domain.errors import JobNotFound
from batch_cancel.domain.statuses import Removal
from batch_cancel.testing.explore.actor_state import Gone
from batch_cancel.testing.explore.moment import (
    ENDED_CONTACTS,
    ENDED_JOBS,
    FAILED,
    LIVE_JOBS,
    NEIGHBOURS,
    OPEN,
    Moment,
    answer_of,
)
from batch_cancel.testing.explore.rows import KEYS
from batch_cancel.testing.explore.state import State
from batch_cancel.testing.explore.steps import TASK_CANCELLED, Rollback

Broken = Callable[[Moment], str | None]


class Invariant(NamedTuple):
    """
    What must hold.

    Arguments:
        name: as in the protocol.
        says: what it says there, and what is checked of it.
        on: at which kinds of moments it is checked.
        broken: returns what is wrong; None if it holds.
    """

    name: str
    says: str
    on: frozenset[str]
    broken: Broken


INVARIANTS: Final[dict[str, Invariant]] = {}


def _invariant(name: str, says: str, *on: str) -> Callable[[Broken], Broken]:
    def keep(broken: Broken) -> Broken:
        INVARIANTS[name] = Invariant(name, says, frozenset(on), broken)
        return broken

    return keep


@_invariant(
    "I1",
    "a call starts only while its job runs, so none after a 200; a claim that was under way may "
    "still commit before the contacts are swept",
    "rows",
)
def _i1(it: Moment) -> str | None:
    for was, now in it.contacts_changed:
        is_new = now[2] == "dialing" != was[2]
        if is_new and it.job_row[0] != "running" and not it.is_sweeping:
            return f"contact {now[0]} is dialled while its job is {it.job_row[0]}"
    return None


@_invariant("I2", "a job that has ended never changes its status", "rows")
def _i2(it: Moment) -> str | None:
    was, now = it.job_before[0], it.job_row[0]
    return f"the job was {was} and is {now}" if was in ENDED_JOBS and now != was else None


@_invariant("I3", "a contact that has ended never changes", "rows")
def _i3(it: Moment) -> str | None:
    for was, now in it.contacts_changed:
        if was[2] in ENDED_CONTACTS:
            return f"contact {was[0]} was {was[2]} and is {now[2]}, or was written again"
    return None


@_invariant(
    "I4",
    "at rest, a cancelled job has no contact in the five open statuses, once reconcile has swept "
    "what a dead process has left; once it is cancelled, none comes into them",
    "rows",
    "rest",
)
def _i4(it: Moment) -> str | None:
    if "rows" in it.kinds:
        for was, now in it.contacts_changed:
            if it.job_before[0] == "cancelled" and now[2] in OPEN and was[2] not in OPEN:
                return f"contact {now[0]} became {now[2]} under a cancelled job"
        return None
    if it.job_row[0] == "cancelled" and it.contacts_open and not it.is_sweeping:
        return f"the job is cancelled, and {it.contacts_open} of its contacts would be called"
    return None


@_invariant(
    "I5",
    "of N cancels with distinct operations at most one succeeds; exactly one, at rest, if no "
    "answer is unknown and no other actor ended the job",
    "answer",
    "rest",
)
def _i5(it: Moment) -> str | None:
    succeeded = {operation for operation, _ in it.succeeded}
    if len(succeeded) > 1:
        return f"{len(succeeded)} operations got the answer that they cancelled the job"
    cancels = it.cancels
    is_at_rest = it.before is it.after
    was_live = it.first.status in LIVE_JOBS and it.job_row[0] not in {"completed", "failed"}
    if is_at_rest and was_live and cancels and not succeeded:
        answers = [answer for _, answer in it.answers]
        if len(answers) == len(cancels) and all(answer.code < FAILED for answer in answers):
            return "every cancel of a live job was refused"
    return None


@_invariant("I6", "answered 200 means cancelled, then and always", "answer", "rows")
def _i6(it: Moment) -> str | None:
    if it.succeeded and it.job_row[0] != "cancelled":
        return f"a cancel was answered 200, and the job is {it.job_row[0]}"
    return None


@_invariant(
    "I7",
    "at rest, after one reconcile pass, a cancelled job has no deferred start",
    "rest",
)
def _i7(it: Moment) -> str | None:
    job, record = it.job_row, it.record
    if job[0] != "cancelled":
        return None
    named = {job[1], *record[3:4]}
    for deferred_id, state in it.starts:
        if deferred_id in named and state.state is DeferredState.DUE:
            return f"the job is cancelled, and {deferred_id} still waits"
    return None


@_invariant("I8", "no lost job: scheduled means that a deferred start exists", "rows", "starts")
def _i8(it: Moment) -> str | None:
    status, deferred_id, _ = it.job_row
    if status != "scheduled" or it.first.deferred_id is None:
        return None
    state = dict(it.starts).get(deferred_id)
    if state is None or state.state not in {DeferredState.DUE, DeferredState.CLAIMED}:
        return f"the job is scheduled, and nothing will start it: {deferred_id} does not wait"
    return None


@_invariant(
    "I9",
    "contacts_cancelled = rows this operation changed = what the record says, at any moment; no "
    "answer before the last of them",
    "rows",
    "answer",
)
def _i9(it: Moment) -> str | None:
    before, record = it.record_before, it.record
    if "rows" in it.kinds and record and (it.is_cancelling or it.was_sweeping):
        # In a commit of its own a worker ends a call as cancelled, beside a sweep.
        changed = sum(
            now[2] == "cancelled" and (it.is_cancelling or was[2] in OPEN)
            for was, now in it.contacts_changed
        )
        counted = record[2] - (before[2] if before else 0)
        if counted != changed:
            return f"{changed} contacts were cancelled, and the record has {counted} more"
    if it.succeeded and it.is_sweeping:
        return "a cancel was answered before its contacts were swept"
    for operation, answer in it.succeeded:
        if record and record[0] == operation and answer.contacts_cancelled != record[2]:
            return f"the answer says {answer.contacts_cancelled}, and the record {record[2]}"
    return None


@_invariant(
    "I10", "redis_job_cancelled true only if this operation removed the entry", "answer", "rows"
)
def _i10(it: Moment) -> str | None:
    record = it.record
    if not record:
        return None
    said = {operation for operation, answer in it.succeeded if answer.removal == Removal.REMOVED}
    if record[4] == Removal.REMOVED:
        said.add(record[0])
    for operation in said:
        state = dict(it.starts).get(record[3])
        if (
            state is None
            or state.state is not DeferredState.CANCELLED
            or state.operation_id != operation
        ):
            return f"{operation} claims to have removed {record[3]}, and has not"
    return None


@_invariant(
    "I11",
    "400 means ended, and names the status; 404 means no such job; 4xx and known failures "
    "change nothing",
    "answer",
    "rest",
)
def _i11(it: Moment) -> str | None:
    status, record = it.job_row[0], it.record
    for mind in it.cancels:
        answer = answer_of(mind)
        if answer is None or answer.code == HTTPStatus.OK:
            continue
        error = mind.ended.error if mind.ended else None
        if answer.code == HTTPStatus.BAD_REQUEST and (
            answer.status != status or status not in ENDED_JOBS
        ):
            return f"a cancel was refused because the job is {answer.status}, and it is {status}"
        if (
            answer.code == HTTPStatus.NOT_FOUND
            and isinstance(error, JobNotFound)
            and error.key == KEYS[it.job]
        ):
            return "a cancel got the answer that there is no such job, but there is"
        if answer.status == "cancelled":
            continue  # Whose cancellation that was, is a matter of I12.
        is_known = answer.code < FAILED or answer.outcome == "unchanged"
        operation = mind.actor.operation
        is_alone = (
            mind.attempt == 0
            and sum(other.actor.operation == operation for other in it.after.minds) == 1
        )
        if is_known and is_alone and record and record[0] == operation:
            return f"{operation} was answered {answer.code}, unchanged, and has cancelled the job"
    return None


@_invariant(
    "I12",
    "a retry of the same operation never gets 'already cancelled', but the same answer",
    "answer",
)
def _i12(it: Moment) -> str | None:
    record = it.record
    for operation, answer in it.answers:
        if answer.status == "cancelled" and record and record[0] == operation:
            return f"{operation} has cancelled the job, and its retry is refused"
    for operation in {operation for operation, _ in it.succeeded}:
        same = [answer for other, answer in it.succeeded if other == operation]
        settled = {answer.removal for answer in same} - {Removal.PENDING}
        bodies = {(answer.contacts_cancelled, answer.previous) for answer in same}
        if len(bodies) > 1 or len(settled) > 1:
            return f"{operation} was given different answers: {same}"
    return None


@_invariant(
    "I13",
    "no 5xx after a known commit; but for a sweep that fails, whose count is not known",
    "answer",
)
def _i13(it: Moment) -> str | None:
    answer = answer_of(it.mind)
    if answer is not None and it.mind.actor.sweep_above and answer.outcome == "unknown":
        return None
    if answer is not None and it.job in it.mind.knows and answer.code >= FAILED:
        error = it.mind.ended.error if it.mind.ended else None
        return f"its commit was confirmed, and the answer is {answer.code} ({error!r})"
    return None


@_invariant("I14", "no deadlock among shipped parts", "rest")
def _i14(it: Moment) -> str | None:
    stuck = [mind.actor.name for mind in it.after.minds if mind.step is not None]
    if stuck and not _hung_holders(it.after):
        return f"{' and '.join(stuck)} wait for each other"
    return None


def _hung_holders(state: State) -> list[str]:
    return [
        mind.actor.name
        for mind, held in zip(state.minds, state.held, strict=True)
        if held and isinstance(mind, Gone)
    ]


@_invariant("I15", "rows outside the five are byte-identical afterwards", "rows")
def _i15(it: Moment) -> str | None:
    if not it.is_cancelling:
        return None
    for was, now in it.contacts_changed:
        if was[2] not in OPEN:
            return f"a cancel wrote contact {was[0]}, which was {was[2]} and is {now[2]}"
    return None


@_invariant("I16", "other jobs and organizations: untouched, unlocked", "lock", "rows")
def _i16(it: Moment) -> str | None:
    for index in NEIGHBOURS:
        if any(index in held for held in it.after.held):
            return "another organization's row is locked"
        if it.rows[index] != it.rows_before[index]:
            return "another organization's row was changed"
    return None


@_invariant("I17", "without a sweep, job and contacts change in one commit", "rows")
def _i17(it: Moment) -> str | None:
    if not it.is_cancelling and not it.was_sweeping:
        for was, now in it.contacts_changed:
            if was[2] in OPEN and now[2] == "cancelled":
                return f"contact {was[0]} became cancelled in another commit than the job"
    return None


@_invariant(
    "I18",
    "bounded time under any single hang; here, where there is no time: a cancel holds no lock "
    "while it asks the scheduler, and an actor that hangs there does not block others",
    "ask",
    "rest",
)
def _i18(it: Moment) -> str | None:
    if it.before is not it.after:
        is_cancel = it.who >= 0 and it.mind.actor.operation is not None
        if is_cancel and it.before.held[it.who]:
            return "it asks the scheduler while it holds a lock"
        return None
    stuck = [mind.actor.name for mind in it.after.minds if mind.step is not None]
    if stuck and (holders := _hung_holders(it.after)):
        return f"{' and '.join(stuck)} wait for {' and '.join(holders)}, which hangs"
    return None


@_invariant(
    "I19",
    "BaseException propagates unchanged, and nothing but a rollback follows; what becomes of "
    "pools is for tests of the adapters",
    "cancel",
)
def _i19(it: Moment) -> str | None:
    mind = it.mind
    if mind.ended is not None and mind.ended.error is not TASK_CANCELLED:
        return f"its task was cancelled, and ended with {mind.ended.error or mind.ended.value!r}"
    if mind.step is not None and not isinstance(mind.step, Rollback):
        return f"its task was cancelled, and goes on: {mind.step.says}"
    return None


@_invariant(
    "I20",
    "the fake and every adapter agree: not checked here, there is one store; the conformance kit "
    "compares them call by call",
)
def _i20(_: Moment) -> str | None:
    return None


@_invariant(
    "I21",
    "reconcile is idempotent and safe beside live cancels: a record never goes backwards, and a "
    "second pass at rest finds nothing to do",
    "rows",
    "rest",
)
def _i21(it: Moment) -> str | None:
    was, now = it.record_before, it.record
    if was and was != now and was[0] == now[0]:
        settled = was[4] if was[4] != Removal.PENDING else now[4]
        count, is_swept = now[2] if it.was_sweeping else was[2], was[7] or now[7]
        turn = max(was[6], now[6])
        if now != (*was[:2], count, was[3], settled, was[5] or now[5], turn, is_swept):
            return f"the record {was} became {now}"
    if it.before is it.after and it.is_sweeping:
        return "contacts are still to be swept after an undisturbed pass"
    if it.before is it.after and now and now[4] == Removal.PENDING:
        return "the removal is still pending after an undisturbed pass"
    return None
