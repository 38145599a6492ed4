r"""
The start gate as a row of a table, for every adapter whose database speaks SQL.

    (none) --arm--> armed --may_start--> started
       |               \------cancel---> cancelled, by this operation
       +--cancel-----> barred: closed, but there was no armed start
       +--may_start--> refused, or started where `armed_only` is False

Rule 1: the first decision stands. A start that has passed may pass again (a retry, a redelivery, a
        lost answer); a cancelled start never passes.
Rule 2: each decision is one statement that changes a row only in the state that it is for. So of a
        cancel and a start that meet exactly one wins, whatever was read before.
Rule 3: an answer is returned once its transaction is committed, so a gate has transactions of its
        own. If the answer to a commit is lost, the step is repeated, and finds what it did.
Rule 4: the gate fails closed: no start passes without an answer, and no unknown start passes.
Rule 5: a row is kept until `retention` after its start is due or decided. Who arms a start
        deletes some of the rows that are older.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol, TypeVar

import attrs

from batch_cancel.domain.defaults import CENTURY
from batch_cancel.domain.deferred_start import check_schedulable
from batch_cancel.domain.errors import StoreFailed, shown
from batch_cancel.domain.job import ID_BYTES_MAX, is_storable
from batch_cancel.domain.retry import ATTEMPTS_MAX, ATTEMPTS_MAX_UNKNOWN
from batch_cancel.ports import SchedulerUnavailable
from batch_cancel.use_cases.run_blocking import run

START_GATES: Final = "batch_start_gates"
"""The name of the table, unless another one is passed."""

T = TypeVar("T")

_FORGOTTEN_TOGETHER: Final = 8
_PAGE_SIZE: Final = 1000
_ROUNDS: Final = 5
"""How often a step looks again because another one has just decided."""

_END: Final = datetime(9999, 12, 31, tzinfo=UTC)
"""The latest time that all databases can keep."""


class GateState(StrEnum):
    """The state of a start at the gate."""

    ARMED = "armed"
    BARRED = "barred"
    CANCELLED = "cancelled"
    STARTED = "started"


@attrs.frozen
class Row:
    """
    What is written of a start.

    Arguments:
        state: its state.
        forget_at: when the row may be deleted; a row keeps a later time.
        operation_id: cancelled or barred: the operation that did it.
    """

    state: GateState
    forget_at: datetime
    operation_id: str | None = None


class Rows(Protocol):
    """The rows of the gate in one transaction; blocking ones never suspend."""

    async def now(self) -> datetime:
        """Read the database's clock."""
        ...

    async def change(self, deferred_id: str, states: Collection[GateState], to: Row) -> bool:
        """Change the row if it is in one of the states; return whether it was."""
        ...

    async def add(self, deferred_id: str, row: Row) -> bool:
        """Add a row if there is none, not even one that is added meanwhile."""
        ...

    async def read(self, deferred_id: str) -> tuple[str, str | None] | None:
        """Read the state and the operation of a committed row; None if there is none."""
        ...

    async def armed_among(self, deferred_ids: Sequence[str]) -> set[str]:
        """Return those that are armed."""
        ...

    async def forget(self, before: datetime, limit: int) -> None:
        """Delete so many of the older rows that no other transaction has locked."""
        ...

    async def check(self) -> list[str]:
        """Return in sentences what is missing."""
        ...


Step = Callable[[Rows], Coroutine[object, None, T]]


class Transactions(Protocol):
    """Transactions of the gate's own; blocking ones never suspend."""

    async def commit(self, step: Step[T], /) -> T:
        """Return the answer of a step once its transaction is committed."""
        ...

    def pause(self, attempts: int, /) -> Awaitable[None] | None:
        """Wait before another attempt."""
        ...


@attrs.define(eq=False, repr=False)
class SqlGate:
    """
    The steps of the gate; over blocking transactions they never suspend.

    Arguments:
        transactions: opens them.
        retention: how long a row is kept.
        armed_only: whether an unknown start is refused.
    """

    _transactions: Transactions
    _retention: timedelta
    _armed_only: bool

    def __attrs_post_init__(self) -> None:
        if not timedelta(0) < self._retention <= CENTURY:
            days, got = CENTURY.days, self._retention
            msg = f"the retention must be positive, and at most {days} days, got {got}"
            raise ValueError(msg)

    async def arm(self, deferred_id: str, at: datetime) -> bool:
        """As `GateCalls.arm`, awaited."""
        check_schedulable(deferred_id, at)

        async def step(rows: Rows) -> bool:
            now = await rows.now()
            row = Row(GateState.ARMED, self._kept_until(max(at, now)))
            await rows.forget(now, _FORGOTTEN_TOGETHER)
            for _ in range(_ROUNDS):
                if await rows.change(deferred_id, {GateState.ARMED}, row):
                    return True
                if await rows.add(deferred_id, row):
                    return True
                found = await rows.read(deferred_id)
                if found is not None and found[0] != GateState.ARMED:
                    return False
            raise _unchanged(deferred_id)

        return await self._answer(step)

    async def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """As `GateCalls.cancel`, awaited."""
        if not is_storable(deferred_id, ID_BYTES_MAX):
            return False  # It was never armed, and never can be.

        async def step(rows: Rows) -> bool:
            forget_at = self._kept_until(await rows.now())
            closed = Row(GateState.CANCELLED, forget_at, operation_id)
            barred = Row(GateState.BARRED, forget_at, operation_id)
            for _ in range(_ROUNDS):
                if await rows.change(deferred_id, {GateState.ARMED}, closed):
                    return True
                if await rows.add(deferred_id, barred):
                    return False
                found = await rows.read(deferred_id)
                if found is not None and found[0] != GateState.ARMED:
                    return found == (GateState.CANCELLED, operation_id)
            raise _unchanged(deferred_id)

        return await self._answer(step)

    async def may_start(self, deferred_id: str) -> bool:
        """As `GateCalls.may_start`, awaited."""
        if not is_storable(deferred_id, ID_BYTES_MAX):
            raise _unknown(deferred_id)

        async def step(rows: Rows) -> bool:
            row = Row(GateState.STARTED, self._kept_until(await rows.now()))
            for _ in range(_ROUNDS):
                if await rows.change(deferred_id, {GateState.ARMED, GateState.STARTED}, row):
                    return True
                if not self._armed_only and await rows.add(deferred_id, row):
                    return True
                found = await rows.read(deferred_id)
                if found is not None and found[0] in {GateState.CANCELLED, GateState.BARRED}:
                    return False
                if found is None and self._armed_only:
                    raise _unknown(deferred_id)
            raise _unchanged(deferred_id)

        return await self._answer(step)

    async def waiting_among(self, deferred_ids: AbstractSet[str]) -> set[str]:
        """As `GateCalls.waiting_among`, awaited."""
        ids = sorted(each for each in deferred_ids if is_storable(each, ID_BYTES_MAX))

        async def step(rows: Rows) -> set[str]:
            found: set[str] = set()
            for first in range(0, len(ids), _PAGE_SIZE):
                found |= await rows.armed_among(ids[first : first + _PAGE_SIZE])
            return found

        return await self._answer(step)

    async def check(self) -> list[str]:
        """As `GateCalls.check`, awaited."""

        async def step(rows: Rows) -> list[str]:
            return await rows.check()

        try:
            return await self._answer(step)
        except SchedulerUnavailable as error:
            return [error.reason]

    def _kept_until(self, at: datetime) -> datetime:
        return min(at, _END - self._retention) + self._retention

    async def _answer(self, step: Step[T]) -> T:
        """Repeat a step that failed in passing, or whose commit may have been made."""
        attempts, attempts_max = 0, ATTEMPTS_MAX
        while True:
            attempts += 1
            try:
                return await self._transactions.commit(step)
            except StoreFailed as error:
                if error.outcome == "unknown":
                    attempts_max = ATTEMPTS_MAX_UNKNOWN
                if attempts >= attempts_max[error.fault]:
                    raise SchedulerUnavailable(error.reason) from error
            pause = self._transactions.pause(attempts)
            if pause is not None:
                await pause


class GateCalls:
    """What a program calls of a gate in SQL."""

    def __init__(self, gate: SqlGate) -> None:
        self._gate = gate

    def arm(self, deferred_id: str, at: datetime) -> bool:
        """
        Arm the gate for a start, before you hand the start to its scheduler.

        Arguments:
            deferred_id: its id.
            at: when it is due, an aware datetime. Arm it again to move it.

        Returns:
            False if it was started or cancelled before: an id is used once.

        Raises:
            SchedulerUnavailable: no answer; it may be armed or not.
            ValueError: the id cannot be stored, or the datetime is naive.
        """
        return run(self._gate.arm(deferred_id, at))

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """
        Close the gate for good, unless the start has passed it.

        Returns:
            True if this operation closed it for an armed start; the same answer on every repeat.

        Raises:
            SchedulerUnavailable: no answer; retry with the same operation.
        """
        return run(self._gate.cancel(deferred_id, operation_id))

    def may_start(self, deferred_id: str) -> bool:
        """
        Pass the gate; call it first in a deferred start.

        Returns:
            False if it was cancelled: then do nothing.

        Raises:
            SchedulerUnavailable: no answer, or the gate does not know the start. Do nothing, and
                let the start be retried.
        """
        return run(self._gate.may_start(deferred_id))

    def waiting_among(self, deferred_ids: AbstractSet[str]) -> set[str]:
        """
        Return those of the deferred starts that are armed, and neither started nor cancelled.

        The gate does not know whether their scheduler still has them.

        Raises:
            SchedulerUnavailable: no answer.
        """
        return run(self._gate.waiting_among(deferred_ids))

    def check(self) -> list[str]:
        """
        Return in sentences what the gate misses in this database, without a change.

        An empty list means that it is fit: check when your program starts.
        """
        return run(self._gate.check())


def check_own(uow: object, kind: type) -> None:
    """
    Check that a unit of work has transactions of its own, blocking or asyncio as is needed.

    Raises:
        TypeError: it is of another kind.
    """
    if not isinstance(uow, kind):
        msg = (
            f"a start gate in SQL needs the {kind.__name__} whose transactions are its own, got "
            f"{type(uow).__name__}"
        )
        raise TypeError(msg)


def _unknown(deferred_id: str) -> SchedulerUnavailable:
    return SchedulerUnavailable(
        f"the start gate does not know the start {shown(deferred_id)}: it was never armed, or its "
        "row was deleted, and with it a possible cancel, so it is refused. If it still should "
        "start, arm it again and retry it; starts that are never armed pass a SqlStartGate with "
        "armed_only=False"
    )


def _unchanged(deferred_id: str) -> SchedulerUnavailable:
    return SchedulerUnavailable(
        f"the start gate can neither add nor change the row of the start {shown(deferred_id)}: a "
        "trigger, a rule or a policy of its table is in the way"
    )
