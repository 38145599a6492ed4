"""
What the answer of a cancel of many jobs must be: its counts are those of the jobs, each once.

The other invariants are checked for each of these jobs. Here stands what they say of one answer to
all; nothing in it names a job, but for the failures.
"""

from __future__ import annotations

from itertools import combinations
from typing import Final

import attrs

from batch_cancel.domain.bulk import BulkResult
from batch_cancel.domain.deferred_start import DeferredState
from batch_cancel.domain.statuses import JobStatus, Removal
from batch_cancel.testing.explore.actor_state import Mind
from batch_cancel.testing.explore.moment import ENDED_JOBS, Moment
from batch_cancel.testing.explore.rows import KEYS, RECORD, RecordRow, Row, Rows


@attrs.frozen
class _Answered:
    """
    An answer, and the rows as they are then.

    Arguments:
        it: the moment of the answer, or a later one.
        mind: who was answered.
        result: the answer.
    """

    it: Moment
    mind: Mind
    result: BulkResult

    @property
    def rows(self) -> Rows:
        return self.it.rows

    @property
    def is_first(self) -> bool:
        """Whether nothing of the operation can be from before this attempt."""
        return _is_first(self.it, self.mind)

    @property
    def operation(self) -> str | None:
        return self.mind.actor.operation

    @property
    def jobs(self) -> list[int]:
        """The jobs of which the answer is certain, by their rows."""
        unsure = {
            KEYS.index(failure.key)
            for failure in self.result.failures
            if not self.is_first or getattr(failure, "outcome", "unchanged") == "unknown"
        }
        return [job for job in self.mind.actor.many if job not in unsure]

    def record(self, job: int) -> Row:
        return self.rows[RECORD + job]

    @property
    def ours(self) -> list[RecordRow]:
        """The records of the jobs that the operation has cancelled."""
        return [RecordRow(*self.record(job)) for job in self.jobs if self.is_ours(job)]

    def is_ours(self, job: int) -> bool:
        return self.record(job)[:1] == (self.operation,)

    @property
    def said(self) -> int:
        """How many jobs it says are cancelled by the operation."""
        return self.result.cancelled + self.result.replayed

    @property
    def removed(self) -> int:
        """How many deferred starts of these jobs the operation has removed."""
        starts = [dict(self.it.starts).get(it.deferred_id or "") for it in self.ours]
        done = (DeferredState.CANCELLED, self.operation)
        return sum(it is not None and (it.state, it.operation_id) == done for it in starts)

    def others(self, status: JobStatus) -> int:
        """Return how many of the jobs were ended in this status by others."""
        return sum(self.rows[job][0] == status and not self.is_ours(job) for job in self.jobs)


def complaint(it: Moment, mind: Mind) -> tuple[str, str] | None:
    """
    Return the invariant that an answer breaks, and what is wrong; None if it holds.

    Arguments:
        it: the moment, at which it is answered or later.
        mind: who was answered.
    """
    if mind.is_task_cancelled or mind.ended is None:
        return None
    if not isinstance(mind.ended.value, BulkResult):
        return _of_an_error(it, mind)
    answer = _Answered(it, mind, mind.ended.value)
    for invariant, broken in _RULES:
        what = broken(answer)
        if what is not None:
            return invariant, what
    return None


def _is_first(it: Moment, mind: Mind) -> bool:
    operations = [other.actor.operation for other in it.after.minds]
    return mind.attempt == 0 and operations.count(mind.actor.operation) == 1


def _of_an_error(it: Moment, mind: Mind) -> tuple[str, str] | None:
    """Check that nothing was changed: that is what an error of the whole call says."""
    if mind.knows:
        return (
            "I13",
            f"a commit was confirmed, and the answer is {mind.ended and mind.ended.error!r}",
        )
    done = [job for job in mind.actor.many if it.rows[RECORD + job][:1] == (mind.actor.operation,)]
    if done and _is_first(it, mind):
        return "I11", f"it failed as a whole, and has cancelled {len(done)} jobs"
    return None


def _named(it: _Answered) -> str | None:
    known = {actor.operation for actor in it.it.scenario.actors}
    for job in it.jobs:
        record = it.record(job)
        if record and record[0] not in known:
            return f"{record[0]!r} has cancelled a job, and is no operation of an actor"
    return None


def _each_once(it: _Answered) -> str | None:
    result, jobs = it.result, len(it.mind.actor.many)
    refused = sum(result.refused.values())
    counted = it.said + refused + result.not_found + result.failed + result.left
    if (result.jobs, counted) != (jobs, jobs):
        return f"of {jobs} jobs {result.jobs} were asked for, and {counted} are counted"
    if result.left and not result.failures:
        return f"the store has answered, and {result.left} jobs were not tried"
    return None


def _known_again(it: _Answered) -> str | None:
    refused = it.result.refused.get(JobStatus.CANCELLED, 0)
    if refused > it.others(JobStatus.CANCELLED):
        return "a job that the operation has cancelled is refused as cancelled already"
    return None


def _cancelled(it: _Answered) -> str | None:
    if it.said > len(it.ours):
        return f"{it.said} jobs are counted as cancelled, and {len(it.ours)} are"
    return None


def _unchanged(it: _Answered) -> str | None:
    for failure in it.result.failures:
        job = KEYS.index(failure.key)
        if job in it.jobs and it.is_ours(job):
            return f"{failure.key} is counted as failed and unchanged, and is cancelled"
    return None


def _counted(it: _Answered) -> str | None:
    result, ours = it.result, it.ours
    if it.said < len(ours) and (it.is_first or not result.left):
        return f"{len(ours)} jobs were cancelled, and {it.said} are counted"
    if it.is_first and result.replayed:
        return f"{result.replayed} jobs are counted as replayed, and nothing was before"
    counts = [record.contacts_cancelled for record in ours]
    sums = map(sum, combinations(counts, result.cancelled))
    if result.contacts_cancelled not in sums:
        return f"{result.contacts_cancelled} contacts are counted, and the records have {counts}"
    return None


def _refused(it: _Answered) -> str | None:
    if it.result.not_found:
        return "a job is counted as not found, and is there"
    for status, count in it.result.refused.items():
        if status not in ENDED_JOBS or count != it.others(status):
            return f"{count} jobs are refused as {status}, and {it.others(status)} are"
    return None


def _all_ended(it: _Answered) -> str | None:
    result = it.result
    live = [job for job in it.jobs if it.rows[job][0] not in ENDED_JOBS]
    if live and not result.failures and not result.left:
        return f"every job was answered for, and {len(live)} are live"
    return None


def _removed(it: _Answered) -> str | None:
    removals = it.result.removals
    if removals[Removal.REMOVED] > it.removed or sum(removals.values()) != it.said:
        return f"{it.removed} starts were removed for {it.said} jobs, and it says {removals}"
    return None


def _no_failure_after(it: _Answered) -> str | None:
    for failure in it.result.failures:
        if KEYS.index(failure.key) in it.mind.knows:
            return f"the commit of {failure.key} was confirmed, and it is counted as failed"
    return None


_RULES: Final = (
    ("I12", _named),
    ("I12", _known_again),
    ("I6", _cancelled),
    ("I11", _unchanged),
    ("I9", _each_once),
    ("I9", _counted),
    ("I11", _refused),
    ("I5", _all_ended),
    ("I10", _removed),
    ("I13", _no_failure_after),
)
