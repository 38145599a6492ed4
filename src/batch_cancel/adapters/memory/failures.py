"""
The failures that a test asks of the memory store and scheduler.

Rule 1: an error is the one that the Postgres store or the Redis scheduler raises: the same type,
        kind of fault, outcome and sentence.
Rule 2: a store does not lie. After a commit that happened it never reports "unchanged".
Rule 3: a failure that is asked for is not retried, since the memory store has no `pause`: it
        stands for one that has outlasted the retries of the other stores.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final, Literal, get_args

import attrs

from batch_cancel.domain.errors import Fault, SchedulerUnavailable, StoreFailed
from batch_cancel.domain.outcomes import left_open

Phase = Literal["before_commit", "at_commit", "after_commit"]
"""When a transaction fails: at its beginning, at its commit, or once that has happened."""

_REPORTED: Final = {
    Fault.CONFLICT: "another transaction was in the way (deadlock)",
    Fault.INTERRUPTED: "the connection to Postgres broke",
    Fault.BUSY: "Postgres has no connection left",
    Fault.LATE: "another transaction locks the job or a contact (lock timeout)",
    Fault.REFUSED: 'relation "batch_cancellations" does not exist: run `batch-cancel schema`, or '
    "map your names with PostgresSchema(...)",
    Fault.INCOMPLETE: left_open(1),
}
"""The sentences for what a store reports, and has rolled back."""

_LOST: Final = {
    Fault.INTERRUPTED: "the connection to Postgres broke before it confirmed the commit",
    Fault.LATE: "Postgres did not answer in time, so the connection was cut",
}
"""The sentences for an answer to a commit that is lost; no other fault can lose one."""

_NO_ANSWER: Final = "Redis did not answer within 250 ms (TimeoutError)"


@attrs.frozen
class _Failure:
    fault: Fault
    phase: Phase

    def error(self) -> StoreFailed:
        if self.phase != "before_commit" and self.fault in _LOST:
            return StoreFailed(_LOST[self.fault], "unknown", self.fault)
        return StoreFailed(_REPORTED[self.fault], "unchanged", self.fault)


class Failures:
    """The failures that were asked for and have not happened yet, in their order."""

    def __init__(self) -> None:
        self._next: deque[_Failure] = deque()

    def add(self, fault: Fault, phase: Phase) -> None:
        """
        Ask for a failure.

        Raises:
            ValueError: there is no such fault or phase, or such a fault cannot follow a commit.
        """
        if phase not in get_args(Phase):
            msg = f"the phase must be one of {', '.join(get_args(Phase))}, got {phase!r}"
            raise ValueError(msg)
        if fault not in list(Fault):
            msg = f"the fault must be one of {', '.join(Fault)}, got {fault!r}"
            raise ValueError(msg)
        fault = Fault(fault)
        if phase == "after_commit" and fault not in _LOST:
            msg = (
                f"a store that reports {fault.value!r} has rolled back: after a commit only its "
                f"answer can be lost, as {' or '.join(it.value for it in _LOST)}"
            )
            raise ValueError(msg)
        self._next.append(_Failure(fault, phase))

    def strike(self, phase: Phase) -> None:
        """
        Let the next failure happen, if it is one of this phase.

        Raises:
            StoreFailed: it is.
        """
        if self._next and self._next[0].phase == phase:
            raise self._next.popleft().error()


_Answers = Literal["in time", "late", "never"]

_DONE_AND_ANSWERED: Final[Mapping[_Answers, tuple[bool, bool]]] = {
    "in time": (True, True),
    "late": (True, False),
    "never": (False, False),
}
"""Whether a scheduler does what it is asked, and whether the caller gets an answer."""


class Answering:
    """Whether a scheduler answers, and in time."""

    def __init__(self) -> None:
        self._answers: _Answers = "in time"

    def stop_answering(self) -> None:
        """Let every call raise `SchedulerUnavailable`, with nothing done."""
        self._answers = "never"

    def answer_late(self) -> None:
        """Let every call do its work, and then raise `SchedulerUnavailable`."""
        self._answers = "late"

    def answer_again(self) -> None:
        """Let every call answer in time."""
        self._answers = "in time"

    @contextmanager
    def _asked(self) -> Generator[None]:
        """Do a call's work, or not, as was asked for."""
        is_done, is_answered = _DONE_AND_ANSWERED[self._answers]
        if not is_done:
            raise SchedulerUnavailable(_NO_ANSWER)
        yield
        if not is_answered:
            raise SchedulerUnavailable(_NO_ANSWER)
