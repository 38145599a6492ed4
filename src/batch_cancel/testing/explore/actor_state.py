"""
An actor's position: its suspended coroutine, and the step that it is waiting on.

An actor is a deterministic function of the answers it got. So these answers name a position in its
coroutine, and two schedules with the same answers lead to the same position. `Recalled` keeps each
position once and returns to it by replaying the answers; `Live` goes on with one coroutine, and
can't turn back.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple, Protocol

import attrs

from batch_cancel.domain.statuses import JobStatus
from batch_cancel.testing.explore.explored_ports import Ports
from batch_cancel.testing.explore.postgres_model import ExploredUnitOfWork
from batch_cancel.testing.explore.redis_model import ExploredScheduler
from batch_cancel.testing.explore.rows import JOB, RECORD, STATUS_OF_JOB
from batch_cancel.testing.explore.steps import TASK_CANCELLED, Commit, Step, TaskCancelled

Program = Callable[[Ports], Coroutine[Any, Any, object]]
"""What an actor does: a coroutine that awaits nothing but the ports."""


@attrs.frozen
class Actor:
    """
    An actor: a program that runs beside the others.

    Arguments:
        name: its name in a story.
        program: the coroutine function that it runs.
        operation: for a cancel: names it.
        again: the program that its client or supervisor runs after its process was killed; None if
            there is no retry.
        suffers: which faults may strike it, see `FAULTS`.
        sweep_above: how many contacts its store cancels in one transaction; None for all.
        job: for a cancel: the row of its job.
        many: for a cancel of many jobs: their rows.
        writes_job: whether its store's steps write the job that they lock, as on nodes that do not
            see each other's locks.
    """

    name: str
    program: Program
    operation: str | None = None
    again: Program | None = None
    suffers: str = "klhoc"
    sweep_above: int | None = None
    job: int = JOB
    many: tuple[int, ...] = ()
    writes_job: bool = False

    def coroutine(self, attempt: int) -> Coroutine[Any, Any, object]:
        """Begin its program."""
        program = self.program if attempt == 0 or self.again is None else self.again
        token = f"{self.name}, {attempt}"
        uow = ExploredUnitOfWork(self.sweep_above, writes_job=self.writes_job)
        return program(Ports(uow, ExploredScheduler(token)))


@attrs.define(eq=False)
class Ended:
    """
    How an actor ended.

    Arguments:
        value: what it returned.
        error: what it raised instead.
        answer: what a client was answered, if it is a cancel; worked out once.
    """

    value: object = None
    error: BaseException | None = None
    answer: Answer | None = None


class Answer(NamedTuple):
    """What a cancel answered, as a client sees it."""

    code: int
    status: str | None = None
    contacts_cancelled: int | None = None
    previous: str | None = None
    removal: str | None = None
    outcome: str | None = None
    is_replay: bool = False


class Mind(Protocol):
    """An actor's position: its suspended coroutine and the step it is waiting on."""

    actor: Actor
    answer: object
    attempt: int
    step: Step[Any] | None
    ended: Ended | None
    knows: frozenset[int]
    is_task_cancelled: bool

    def resumed(self, answer: object, /) -> Mind:
        """Return its position after this answer."""
        ...

    def close(self) -> None:
        """Release it."""
        ...


def _advanced(
    coroutine: Coroutine[Any, Any, object], answer: object
) -> tuple[Step[Any] | None, Ended | None]:
    try:
        if answer is TASK_CANCELLED:
            return coroutine.throw(TASK_CANCELLED.with_traceback(None)), None
        return coroutine.send(answer), None
    except StopIteration as stop:
        return None, Ended(stop.value)
    except (Exception, TaskCancelled) as error:  # noqa: BLE001  # How an actor ends is judged later.
        return None, Ended(error=error)


def _cancelled_by(step: Step[Any] | None) -> frozenset[int]:
    """Return the rows of the jobs that this commit cancels."""
    if not isinstance(step, Commit):
        return _NONE
    return frozenset(
        index
        for index, column, value in step.writes
        if index is not None
        and index < RECORD
        and (column, value) == (STATUS_OF_JOB, JobStatus.CANCELLED)
    )


_NONE: Final = frozenset[int]()


class Recalled:
    """A position that is kept, with the positions that follow it."""

    __slots__ = (
        "_answers",
        "_next",
        "actor",
        "answer",
        "attempt",
        "ended",
        "is_task_cancelled",
        "knows",
        "step",
    )

    def __init__(
        self, actor: Actor, attempt: int = 0, answers: tuple[object, ...] = (None,)
    ) -> None:
        self.actor: Actor = actor
        self.attempt: int = attempt
        self._answers = answers
        self.answer: object = answers[-1]
        self._next: dict[object, Recalled] = {}
        self.knows: frozenset[int] = _NONE
        self.is_task_cancelled: bool = TASK_CANCELLED in answers
        coroutine = actor.coroutine(attempt)
        self.step: Step[Any] | None = None
        self.ended: Ended | None = None
        for answer in answers:
            if answer is None:
                self.knows |= _cancelled_by(self.step)
            self.step, self.ended = _advanced(coroutine, answer)
        coroutine.close()

    def resumed(self, answer: object, /) -> Recalled:
        """Return its position after this answer."""
        following = self._next.get(answer)
        if following is None:
            following = Recalled(self.actor, self.attempt, (*self._answers, answer))
            self._next[answer] = following
        return following

    def close(self) -> None:
        """Release it; nothing is held."""


class Live:
    """The position of a coroutine that runs; it may be answered once."""

    __slots__ = (
        "_coroutine",
        "actor",
        "answer",
        "attempt",
        "ended",
        "is_task_cancelled",
        "knows",
        "step",
    )

    def __init__(
        self,
        actor: Actor,
        attempt: int = 0,
        coroutine: Coroutine[Any, Any, object] | None = None,
        answer: object = None,
    ) -> None:
        self.actor: Actor = actor
        self.attempt: int = attempt
        self.answer: object = answer
        self._coroutine = coroutine or actor.coroutine(attempt)
        self.knows: frozenset[int] = _NONE
        self.is_task_cancelled: bool = False
        self.step: Step[Any] | None
        self.ended: Ended | None
        self.step, self.ended = _advanced(self._coroutine, answer)

    def resumed(self, answer: object, /) -> Live:
        """Return its position after this answer."""
        following = Live(self.actor, self.attempt, self._coroutine, answer)
        following.knows = self.knows | (_cancelled_by(self.step) if answer is None else _NONE)
        following.is_task_cancelled = self.is_task_cancelled or answer is TASK_CANCELLED
        return following

    def close(self) -> None:
        """Release it."""
        self._coroutine.close()


class Gone:
    """An actor that does not act any more: its process was killed, or hangs."""

    __slots__ = ("actor", "answer", "attempt", "ended", "is_task_cancelled", "knows", "step")

    def __init__(self, actor: Actor) -> None:
        self.actor: Actor = actor
        self.answer: object = None
        self.attempt: int = 0
        self.step: Step[Any] | None = None
        self.ended: Ended | None = None
        self.knows: frozenset[int] = _NONE
        self.is_task_cancelled: bool = False

    def resumed(self, _: object, /) -> Gone:
        """Ignore an answer."""
        return self

    def close(self) -> None:
        """Do nothing: no coroutine is left to release."""
