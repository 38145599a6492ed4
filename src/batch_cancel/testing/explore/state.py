"""
The world: what is committed, what waits, who is where; and what can happen next.

A state is all of it at one moment. What can happen next is a choice: an actor takes its next step,
or is struck by a fault, or a request whose sender no longer listens arrives after all.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, Generic, NamedTuple, TypeVar

import attrs

from batch_cancel.testing.explore.actor_state import Actor, Gone, Live, Mind, Program, Recalled
from batch_cancel.testing.explore.redis_model import first_starts
from batch_cancel.testing.explore.rows import JOB, KEYS, SECOND, START, First, Rows, first_rows
from batch_cancel.testing.explore.steps import (
    TASK_CANCELLED,
    Ask,
    Begin,
    Commit,
    Lock,
    LockOrPass,
    Look,
    Passed,
    Rollback,
    Send,
    Starts,
    Step,
    Trouble,
    applied,
)

T = TypeVar("T")

FAULTS: Final = {
    "k": "is killed",
    "l": "gets no answer",
    "h": "hangs",
    "o": "is cancelled",
    "c": "gets a conflict",
}
"""
The faults that may strike an actor at a step, by their letter in a schedule.

A message that was on its way to a store when its sender was killed, cancelled or gave up is
adrift: it takes effect at any later moment, or never.
"""

GOES_ON: Final = ""
ARRIVES: Final = "a"
NEVER_ARRIVES: Final = "n"

Choice = tuple[int, str]
"""The actor, by its index in the list, or -1, -2 ... for a message adrift; and what happens."""


class Shared(Generic[T]):
    """A value of which there is one only, so that equal ones are the same one."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value: T = value


class Adrift(NamedTuple):
    """A request on its way whose sender no longer listens."""

    sender: int
    step: Commit | Ask[Any]
    held: tuple[int, ...]


class State(NamedTuple):
    """Everything at one moment."""

    rows: Shared[Rows]
    starts: Shared[Starts]
    minds: tuple[Mind, ...]
    held: tuple[tuple[int, ...], ...]
    adrift: tuple[Adrift, ...]
    faults_left: tuple[int, ...]


@attrs.frozen
class Scenario:
    """
    The actors, their jobs, and the faults that may strike them.

    Arguments:
        name: names it, on the command line too.
        says: what is looked for.
        actors: who acts.
        status: the job's status at first.
        contacts: the statuses of its contacts at first.
        deferred_id: its deferred start at first, due now; None if it has none.
        faults: how many of each fault may strike them in all, see `FAULTS`.
        reconcile: what is done once more when all is at rest.
        one_by_one: whether it is small enough to execute each of its schedules by itself.
        second: another job of the same organization; None if there is none.
        locks_are_local: whether each actor is on a node of its own, as in Galera: no other sees
            its row locks, and of two transactions that wrote one row the first to commit wins; the
            other gets a conflict.
    """

    name: str
    says: str
    actors: Sequence[Actor]
    reconcile: Program
    status: str = "scheduled"
    contacts: Sequence[str] = ("pending",)
    deferred_id: str | None = START
    faults: str = ""
    one_by_one: bool = False
    second: First | None = None
    locks_are_local: bool = False

    @property
    def jobs(self) -> tuple[int, ...]:
        """The rows of the jobs that everything is about."""
        return (JOB,) if self.second is None else (JOB, KEYS.index(SECOND))

    def first(self, job: int = JOB) -> First:
        """Return one of these jobs as it is at first."""
        if job != JOB and self.second is not None:
            return self.second
        return First(self.status, self.contacts, self.deferred_id)


class World:
    """
    What can happen in a scenario.

    Arguments:
        scenario: who acts on what.
        is_live: whether the actors are coroutines that run and can't turn back.
    """

    def __init__(self, scenario: Scenario, *, is_live: bool = False) -> None:
        self.scenario = scenario
        self._mind: type[Live | Recalled] = Live if is_live else Recalled
        self._rows: dict[Rows, Shared[Rows]] = {}
        self._starts: dict[Starts, Shared[Starts]] = {}
        self._gone = tuple(map(Gone, scenario.actors))
        self._again: dict[int, Mind] = {}
        self._letters = tuple(FAULTS)
        self._first: State | None = None

    def first(self) -> State:
        """Return the state at the beginning."""
        it = self.scenario
        if self._first is None or self._mind is Live:
            actors = it.actors
            self._first = State(
                self.share_rows(first_rows(it.first(), it.second)),
                self.share_starts(first_starts(it.first(), it.second)),
                tuple(self._mind(actor) for actor in actors),
                ((),) * len(actors),
                (),
                tuple(it.faults.count(letter) for letter in FAULTS),
            )
        return self._first

    def share_rows(self, rows: Rows) -> Shared[Rows]:
        """Return the one that there is of these rows."""
        shared = self._rows.get(rows)
        if shared is None:
            shared = self._rows[rows] = Shared(rows)
        return shared

    def share_starts(self, starts: Starts) -> Shared[Starts]:
        """Return the one that there is of these starts."""
        shared = self._starts.get(starts)
        if shared is None:
            shared = self._starts[starts] = Shared(starts)
        return shared

    def choices(self, state: State) -> list[Choice]:
        """Return all that can happen next; nothing, when all is at rest or stands still."""
        found: list[Choice] = []
        for who, mind in enumerate(state.minds):
            step = mind.step
            if step is None:
                continue
            if not self._waits(state, who, step):
                found.append((who, GOES_ON))
            if any(state.faults_left) and not mind.is_task_cancelled:
                found += [(who, letter) for letter in self._faults(state, mind, step)]
        for index in range(len(state.adrift)):
            found += ((-1 - index, ARRIVES), (-1 - index, NEVER_ARRIVES))
        return found

    def _faults(self, state: State, mind: Mind, step: Step[Any]) -> list[str]:
        return [
            letter
            for letter, left in zip(self._letters, state.faults_left, strict=True)
            if left and letter in mind.actor.suffers and isinstance(step, _STRUCK[letter])
        ]

    def after(self, state: State, choice: Choice) -> State:
        """Return the state after this has happened."""
        who, how = choice
        if who < 0:
            return self._adrift_no_more(state, -1 - who, arrives=how == ARRIVES)
        step = state.minds[who].step
        if step is None:
            msg = f"{self.scenario.actors[who].name} does nothing more"
            raise ValueError(msg)
        if how == GOES_ON:
            return self._gone_on(state, who, step)
        return self._befallen(state, who, how, step)

    def _gone_on(self, state: State, who: int, step: Step[Any]) -> State:
        rows, starts, minds, held, adrift, left = state
        held_now = held[who]
        answer: object = None
        if isinstance(step, Look):
            answer = step.project(_seen(rows.value, step))
        elif isinstance(step, LockOrPass) and self._is_locked(state, who, step.index):
            answer = Passed.OVER
        elif isinstance(step, Lock):
            if step.index not in held_now:
                held_now = (*held_now, step.index)
            answer = step.project(_seen(rows.value, step)[step.index])
        elif isinstance(step, Commit):
            if is_outrun(step, held_now):
                answer = Trouble.CONFLICT
            elif step.writes:
                rows, held, adrift = self._committed(state, step)
            held_now = ()
        elif isinstance(step, Rollback):
            held_now = ()
        elif isinstance(step, Ask):
            after, answer = step.do(starts.value)
            starts = self.share_starts(after)
        minds = _with(minds, who, minds[who].resumed(answer))
        return State(rows, starts, minds, _with(held, who, held_now), adrift, left)

    def _befallen(self, state: State, who: int, how: str, step: Step[Any]) -> State:
        rows, starts, minds, held, adrift, left = state
        mind, held_now = minds[who], held[who]
        if how in "lko" and isinstance(step, (Commit, Ask)):
            keeps = isinstance(step, Commit)
            adrift = (*adrift, Adrift(who, step, held_now if keeps else ()))
            held_now = () if keeps else held_now
        match how:
            case "l":
                mind = mind.resumed(Trouble.LOST)
            case "c":
                mind, held_now = mind.resumed(Trouble.CONFLICT), ()
            case "o":
                mind = mind.resumed(TASK_CANCELLED)
            case "k":
                mind, held_now = self._killed(who, mind), ()
            case _:
                mind = self._gone[who]
        index = self._letters.index(how)
        left = _with(left, index, left[index] - 1)
        return State(
            rows, starts, _with(minds, who, mind), _with(held, who, held_now), adrift, left
        )

    def _killed(self, who: int, mind: Mind) -> Mind:
        mind.close()
        actor = self.scenario.actors[who]
        if actor.again is None:
            return self._gone[who]
        if self._mind is Live:
            return Live(actor, mind.attempt + 1)
        # All later attempts do the same; one index serves for them.
        if who not in self._again:
            self._again[who] = Recalled(actor, 1)
        return self._again[who]

    def _adrift_no_more(self, state: State, index: int, *, arrives: bool) -> State:
        _, step, held = state.adrift[index]
        adrift = (*state.adrift[:index], *state.adrift[index + 1 :])
        state = state._replace(adrift=adrift)
        if not arrives or (isinstance(step, Commit) and is_outrun(step, held)):
            return state
        if isinstance(step, Commit):
            rows, of_others, adrift = self._committed(state, step)
            return state._replace(rows=rows, held=of_others, adrift=adrift)
        starts: Starts
        starts, _ = step.do(state.starts.value)
        return state._replace(starts=self.share_starts(starts))

    def _committed(
        self, state: State, step: Commit
    ) -> tuple[Shared[Rows], tuple[tuple[int, ...], ...], tuple[Adrift, ...]]:
        """Return the rows after a commit, and what others hold; it has outrun some of them."""
        rows = self.share_rows(applied(state.rows.value, step.writes))
        if not self.scenario.locks_are_local:
            return rows, state.held, state.adrift
        written = {index for index, _, _ in step.writes if index is not None}
        held = tuple(_outrun(it, written) for it in state.held)
        adrift = tuple(it._replace(held=_outrun(it.held, written)) for it in state.adrift)
        return rows, held, adrift

    def _waits(self, state: State, who: int, step: Step[Any]) -> bool:
        if isinstance(step, LockOrPass):
            return False
        return isinstance(step, Lock) and self._is_locked(state, who, step.index)

    def _is_locked(self, state: State, who: int, index: int) -> bool:
        return not self.scenario.locks_are_local and is_locked(state, who, index)


def is_outrun(step: Commit, held: tuple[int, ...]) -> bool:
    """Check whether another transaction has committed a row that this one has locked and wrote."""
    return any(index is not None and ~index in held for index, _, _ in step.writes)


def _outrun(held: tuple[int, ...], written: AbstractSet[int]) -> tuple[int, ...]:
    """Return what is held, with the complement of each row that another has written meanwhile."""
    lost = {~index for index in held if index in written}
    return (*held, *sorted(lost.difference(held))) if lost else held


def _with(them: tuple[T, ...], index: int, it: T) -> tuple[T, ...]:
    return (*them[:index], it, *them[index + 1 :])


def _seen(rows: Rows, step: Look[Any] | Lock[Any]) -> Rows:
    return applied(rows, step.writes) if step.writes else rows


def is_locked(state: State, who: int, index: int) -> bool:
    """Check whether an actor other than `who` holds this row."""
    for other, held in enumerate(state.held):
        if index in held and other != who:
            return True
    return any(index in it.held for it in state.adrift)


_STRUCK: Final[dict[str, tuple[type, ...]]] = {
    "k": (Begin, Send, Look, Lock, Commit, Rollback, Ask),
    "l": (Commit, Ask),
    "h": (Ask,),
    "o": (Begin, Send, Look, Lock, Commit, Ask),
    "c": (Send, Look, Lock, Commit),
}
"""The steps at which each fault may strike an actor."""
