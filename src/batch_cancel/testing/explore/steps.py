"""
The steps of an actor, each at one moment; between two of them any other actor may act.

A step is awaited by a fake of a port and answered by the world. What it looks at it carries as a
pure function, so that the world need not know what a statement means.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from enum import Enum
from typing import Any, Final, Generic, NoReturn, TypeVar

from batch_cancel.domain.deferred_start import Deferred
from batch_cancel.domain.errors import Fault, SchedulerUnavailable, StoreFailed
from batch_cancel.testing.explore.rows import Row, Rows

T = TypeVar("T")

Starts = tuple[tuple[str, Deferred], ...]
Write = tuple[int | None, int | None, Any]
"""Which row, or None for a new one; which column, or None for the whole row; what is written."""


class Trouble(Enum):
    """What an actor gets instead of an answer."""

    LOST = "no answer came"
    CONFLICT = "another transaction was in the way"


class TaskCancelled(BaseException):
    """The task is cancelled; it stands for asyncio.CancelledError."""


TASK_CANCELLED: Final = TaskCancelled()


class Passed(Enum):
    """What a lock that skips answers for a row that another has in hand."""

    OVER = "passes over it, another has it in hand"


class Step(Generic[T]):
    """One step at one moment; `says` describes it in a story."""

    __slots__ = ("says",)

    def __init__(self, says: str) -> None:
        self.says: str = says

    def __await__(self) -> Generator[Step[Any], Any, T]:
        answer = yield self
        if isinstance(answer, Trouble):
            self.fail(answer)
        result: T = answer
        return result

    def fail(self, trouble: Trouble) -> NoReturn:
        """Raise what an adapter raises for this trouble."""
        raise StoreFailed(trouble.value, fault=Fault.CONFLICT)


class Begin(Step[None]):
    """A transaction begins; its first statement takes the snapshot, not this."""

    __slots__ = ()


class Send(Step[None]):
    """A statement that needs nothing but locks already held, and is not yet visible to others."""

    __slots__ = ()


class Look(Step[T]):
    """A statement takes its snapshot: what is committed, and the transaction's own writes."""

    __slots__ = ("project", "writes")

    def __init__(
        self, says: str, project: Callable[[Rows], T], writes: tuple[Write, ...] = ()
    ) -> None:
        self.says = says
        self.project: Callable[[Rows], T] = project
        self.writes: tuple[Write, ...] = writes


class Lock(Step[T]):
    """
    A statement locks a row, waiting for whoever has it, and looks at its newest version.

    Only at that row: for everything else the statement goes on with its snapshot.
    """

    __slots__ = ("index", "project", "writes")

    def __init__(
        self,
        says: str,
        index: int,
        project: Callable[[Row], T],
        writes: tuple[Write, ...] = (),
    ) -> None:
        self.says = says
        self.index: int = index
        self.project: Callable[[Row], T] = project
        self.writes: tuple[Write, ...] = writes


class LockOrPass(Lock[T | Passed]):
    """The same with SKIP LOCKED: a row that another has in hand is passed over."""

    __slots__ = ()


class Commit(Step[None]):
    """All that the transaction wrote becomes visible at one moment, and its locks are free."""

    __slots__ = ("writes",)

    def __init__(self, writes: tuple[Write, ...]) -> None:
        self.says = "commits"
        self.writes: tuple[Write, ...] = writes

    def fail(self, trouble: Trouble) -> NoReturn:
        """Raise what an adapter raises for this trouble."""
        if trouble is Trouble.LOST:
            raise StoreFailed(trouble.value, "unknown", Fault.INTERRUPTED)
        super().fail(trouble)


class Rollback(Step[None]):
    """What the transaction wrote is forgotten, and its locks are free."""

    __slots__ = ()


class Ask(Step[T]):
    """The scheduler does something, at one moment, as a script in Redis does."""

    __slots__ = ("do",)

    def __init__(self, says: str, do: Callable[[Starts], tuple[Starts, T]]) -> None:
        self.says = says
        self.do: Callable[[Starts], tuple[Starts, T]] = do

    def fail(self, trouble: Trouble) -> NoReturn:
        """Raise what an adapter raises for this trouble."""
        raise SchedulerUnavailable(trouble.value)


def applied(rows: Rows, writes: tuple[Write, ...]) -> Rows:
    """Return the rows with the writes; a row's last column counts how often it was written."""
    changed = list(rows)
    for index, column, value in writes:
        if index is None:
            changed.append(value)
        elif column is None:
            changed[index] = value
        else:
            before = changed[index]
            row = list(before)
            row[column] = value
            row[-1] += 1
            changed[index] = type(before)._make(row)  # type: ignore[attr-defined]  # A named tuple.
    return Rows(changed)
