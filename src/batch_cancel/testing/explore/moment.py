"""One thing that happened in an exploration: what invariants and sightings look at."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final

from batch_cancel import presenter
from batch_cancel.domain.cancellation import CancelResult
from batch_cancel.domain.errors import AlreadyTerminal, BatchCancelError, CancelFailed
from batch_cancel.testing.explore.actor_state import Answer, Ended, Mind
from batch_cancel.testing.explore.rows import (
    CONTACTS,
    IS_SWEPT,
    JOB,
    KEYS,
    NEIGHBOUR,
    RECORD,
    First,
    Row,
    Rows,
)
from batch_cancel.testing.explore.state import GOES_ON, Choice, Scenario, State
from batch_cancel.testing.explore.steps import Ask, Lock, Look, Starts, Step, Trouble

# Written by hand, from the contract: not the product's own sets.
OPEN: Final = frozenset({"pending", "queued", "no_answer", "busy", "timeout"})
ENDED_CONTACTS: Final = frozenset(
    {"completed", "failed", "blocked", "invalid_number", "carrier_error", "cancelled"}
)
ENDED_JOBS: Final = frozenset({"completed", "failed", "cancelled"})
LIVE_JOBS: Final = frozenset({"scheduled", "pending", "running"})

FAILED: Final = HTTPStatus.INTERNAL_SERVER_ERROR

_THEIRS: Final = KEYS.index(NEIGHBOUR)
NEIGHBOURS: Final = (_THEIRS, RECORD + _THEIRS, CONTACTS)
"""The rows of another organization: its job, its record, its contact."""


def answer_of(mind: Mind) -> Answer | None:
    """
    Return what a cancel of one job answered.

    None if it is running, gone, cancelled, or not such a cancel.
    """
    ended, actor = mind.ended, mind.actor
    if ended is None or actor.operation is None or actor.many or mind.is_task_cancelled:
        return None
    if ended.answer is None:
        ended.answer = _answer(ended)
    return ended.answer


def _answer(ended: Ended) -> Answer:
    if isinstance(ended.value, CancelResult):
        return Answer(
            presenter.present(ended.value).status,
            contacts_cancelled=ended.value.contacts_cancelled,
            previous=ended.value.previous_status.value,
            removal=ended.value.removal,
            is_replay=ended.value.replayed,
        )
    error = ended.error
    if not isinstance(error, BatchCancelError):
        return Answer(FAILED)
    return Answer(
        presenter.present_error(error).status,
        status=error.status.value if isinstance(error, AlreadyTerminal) else None,
        outcome=error.outcome if isinstance(error, CancelFailed) else None,
    )


class Moment:
    """
    One thing that happened: the states before and after it.

    Arguments:
        scenario: what is explored.
        before: the state before.
        choice: what happened; None for the rest at the end.
        after: the state after.
        job: the row of the job that is looked at.
    """

    def __init__(
        self,
        scenario: Scenario,
        before: State,
        choice: Choice | None,
        after: State,
        job: int = JOB,
    ) -> None:
        self.job = job
        self.scenario = scenario
        self.before = before
        self.after = after
        self.who: int
        self.how: str
        self.who, self.how = choice or (0, "")
        self.rows_before: Rows = before.rows.value
        self.rows: Rows = after.rows.value
        self.starts: Starts = after.starts.value
        self.step: Step[Any] | None
        """The step that was taken, or struck by a fault, or arrived late."""
        self.kinds: list[str] = []
        """What kinds of moment it is; none, for most."""
        if before.rows is not after.rows:
            self.kinds.append("rows")
        if before.starts is not after.starts:
            self.kinds.append("starts")
        if self.who < 0:
            self.step = before.adrift[-1 - self.who].step
            self.kinds.append("adrift")
            return
        mind = after.minds[self.who]
        self.step = step = before.minds[self.who].step
        if mind.ended is not None and mind.actor.operation is not None:
            self.kinds.append("answer")
        if isinstance(step, Lock):
            self.kinds.append("lock")
        elif isinstance(step, Ask) and self.how == GOES_ON:
            self.kinds.append("ask")
        elif isinstance(step, Look):
            self.kinds.append("look")
        elif self.how == GOES_ON and mind.answer is Trouble.CONFLICT:
            self.kinds.append("conflict")
        if mind.is_task_cancelled:
            self.kinds.append("cancel")

    def about(self, job: int) -> Moment:
        """Return the same moment, looked at for another job."""
        if job == self.job:
            return self
        choice = None if self.before is self.after else (self.who, self.how)
        return Moment(self.scenario, self.before, choice, self.after, job)

    @property
    def first(self) -> First:
        """The job as it was at the beginning."""
        return self.scenario.first(self.job)

    @property
    def job_row(self) -> Row:
        """The row of the job."""
        return self.rows[self.job]

    @property
    def job_before(self) -> Row:
        """The row of the job before."""
        return self.rows_before[self.job]

    @property
    def record(self) -> Row:
        """The record of the job's cancellation; an empty row if there is none."""
        return self.rows[RECORD + self.job]

    @property
    def record_before(self) -> Row:
        """The record before."""
        return self.rows_before[RECORD + self.job]

    @property
    def cancels(self) -> list[Mind]:
        """The cancels of the job."""
        return [
            mind
            for mind in self.after.minds
            if mind.actor.operation is not None
            and self.job in (mind.actor.many or (mind.actor.job,))
        ]

    @property
    def mind(self) -> Mind:
        """Where the actor is now."""
        return self.after.minds[self.who]

    @property
    def answer(self) -> object:
        """What the actor was answered."""
        return self.mind.answer if self.who >= 0 and self.how == GOES_ON else None

    @property
    def actor(self) -> str:
        """Who it was."""
        who = self.who if self.who >= 0 else self.before.adrift[-1 - self.who].sender
        return self.scenario.actors[who].name

    @property
    def answers(self) -> list[tuple[str, Answer]]:
        """All that cancels of the job alone have answered so far, each with its operation."""
        return [
            (mind.actor.operation, answer)
            for mind in self.after.minds
            if mind.actor.operation is not None
            and mind.actor.job == self.job
            and (answer := answer_of(mind))
        ]

    @property
    def succeeded(self) -> list[tuple[str, Answer]]:
        """The operations that were answered 200."""
        return [it for it in self.answers if it[1].code == HTTPStatus.OK]

    @property
    def contacts_changed(self) -> Iterator[tuple[Any, Any]]:
        """The contacts of the job that were changed, before and after."""
        pairs = zip(self.rows_before[CONTACTS:], self.rows[CONTACTS:], strict=False)
        return ((was, now) for was, now in pairs if was != now and was[1] == self.job)

    @property
    def contacts_open(self) -> int:
        """How many contacts of the job would be called."""
        return sum(row[1] == self.job and row[2] in OPEN for row in self.rows[CONTACTS:])

    @property
    def was_sweeping(self) -> bool:
        """Whether contacts of the cancelled job were still to be swept."""
        record = self.record_before
        return bool(record) and not record[IS_SWEPT]

    @property
    def is_sweeping(self) -> bool:
        """Whether contacts of the cancelled job are still to be swept."""
        record = self.record
        return bool(record) and not record[IS_SWEPT]

    @property
    def is_cancelling(self) -> bool:
        """Whether the job became cancelled just now."""
        return bool(self.job_row[0] == "cancelled" != self.job_before[0])
