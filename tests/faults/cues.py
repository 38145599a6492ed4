"""The steps of a cancel, and what watches for them so that a test can act at one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import attrs

from batch_cancel.adapters.postgres import AsyncPostgresUnitOfWork, PostgresUnitOfWork

if TYPE_CHECKING:
    from tests.faults.theatre import Theatre

Action = Callable[[], object]


class Step(Enum):
    """How far a cancel has come."""

    CONNECT = "about to connect"
    BEGIN = "connected"
    LOCKED = "the job locked"
    CONTACTS = "the contacts cancelled"
    MARKED = "the job marked, COMMIT not sent"
    COMMIT_UNDONE = "in COMMIT, not yet committed"
    COMMIT_DONE = "in COMMIT, committed, not answered"
    COMMITTED = "committed and answered, nothing noted"
    NOTED = "the removal noted, not yet committed"


BEFORE_COMMIT: Final = (Step.BEGIN, Step.LOCKED, Step.CONTACTS)
ABOUT_TO_COMMIT: Final = {Step.CONTACTS, Step.MARKED}
"""The next string has a COMMIT. The end of the server is seen before it is sent, or after."""

IN_DOUBT: Final = (Step.MARKED, Step.COMMIT_UNDONE, Step.COMMIT_DONE)


@attrs.define
class Cue:
    """
    What happens when a step is reached, once.

    Arguments:
        step: which.
        action: what.
        skip: how often the step is passed before.
        times: how often it happens.
    """

    step: Step | None = None
    action: Action = attrs.field(default=lambda: None)
    skip: int = 0
    times: int = 1
    played: int = 0

    def reached(self, step: Step | None) -> None:
        """Act if this is the step."""
        if step is None or step is not self.step:
            return
        if self.skip:
            self.skip -= 1
        elif self.played < self.times:
            self.played += 1
            self.action()


@attrs.frozen
class Spied:
    """A unit of work that tells the theatre how far it is."""

    theatre: Theatre
    uow: PostgresUnitOfWork

    @contextmanager
    def begin(self) -> Generator[Any]:
        """Open a transaction, and watch what is done in it."""
        with self.uow.begin() as repositories:
            yield _Repositories(self.theatre, repositories)

    def pause(self, attempts: int) -> None:
        """Pause between two attempts."""
        self.uow.pause(attempts)


@attrs.frozen
class AsyncSpied:
    """The asyncio twin of a `Spied`."""

    theatre: Theatre
    uow: AsyncPostgresUnitOfWork

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[Any]:
        """Open a transaction, and watch what is done in it."""
        async with self.uow.begin() as repositories:
            yield _Repositories(self.theatre, repositories)

    async def pause(self, attempts: int) -> None:
        """Pause between two attempts."""
        await self.uow.pause(attempts)


class _Repositories:
    def __init__(self, theatre: Theatre, repositories: Any) -> None:
        spy = _AsyncSpy if theatre.runner else _Spy
        self.jobs = spy(theatre, repositories.jobs)
        self.contacts = spy(theatre, repositories.contacts)
        self.outbox = spy(theatre, repositories.outbox)


_AFTER: Final = {
    "lock": Step.LOCKED,
    "cancel": Step.CONTACTS,
    "mark_cancelled": Step.MARKED,
    "settle": Step.NOTED,
    "take": None,
}


@attrs.frozen
class _Spy:
    theatre: Theatre
    repository: Any

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            answer = getattr(self.repository, name)(*arguments, **options)
            self.theatre.cue.reached(_AFTER[name])
            return answer

        return call


@attrs.frozen
class _AsyncSpy:
    theatre: Theatre
    repository: Any

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: Any, **options: Any) -> Any:
            answer = await getattr(self.repository, name)(*arguments, **options)
            self.theatre.cue.reached(_AFTER[name])
            return answer

        return call


@attrs.frozen
class Cued:
    """The scheduler; it is asked once the cancellation is committed."""

    theatre: Theatre

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """Remove the deferred start, after what is to happen before that."""
        self.theatre.cue.reached(Step.COMMITTED)
        return bool(self.theatre.scheduler.cancel(deferred_id, operation_id))


@attrs.frozen
class AsyncCued:
    """The asyncio twin of a `Cued`."""

    theatre: Theatre

    async def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """Remove the deferred start, after what is to happen before that."""
        self.theatre.cue.reached(Step.COMMITTED)
        return bool(await self.theatre.scheduler.cancel(deferred_id, operation_id))
