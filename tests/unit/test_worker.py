"""When a worker's step is tried again, and what a store must offer; blocking and asyncio."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from batch_cancel import (
    append_contacts,
    append_contacts_async,
    cancellations,
    claim_contacts,
    claim_contacts_async,
    expire_calls,
    expire_calls_async,
    finish_job,
    finish_job_async,
    forget,
    reconcile,
    settle_contact,
    settle_contact_async,
    start_job,
    start_job_async,
    still_running,
    still_running_async,
)
from batch_cancel.adapters.memory import AsyncMemoryStore, MemoryScheduler, MemoryStore
from batch_cancel.domain.errors import Fault, StoreFailed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

HOUR = timedelta(hours=1)
CONFLICT = StoreFailed("in the way", fault=Fault.CONFLICT)
INTERRUPTED = StoreFailed("broke", fault=Fault.INTERRUPTED)
LOST = StoreFailed("broke", "unknown", Fault.INTERRUPTED)
BUSY = StoreFailed("busy", fault=Fault.BUSY)


def store_of(kind: type[Any]) -> Any:
    """Return a store with a running job `j`: a contact that waits, one on the phone."""
    store = kind()
    store.add_job("j", "running")
    store.add_contacts("j", {"a": "pending", "b": "dialing"})
    store.add_job("old", "running")
    store.add_contacts("old", {"a": "dialing"}, since=datetime.now(UTC) - 2 * HOUR)
    store.add_job("due", "scheduled")
    store.add_job("done", "running")
    return store


@attrs.define
class Flaky:
    """A store whose first transactions fail as they end; other repositories where it is told."""

    store: Any
    failures: list[StoreFailed]
    instead: dict[str, Any] = attrs.field(factory=dict)
    paused: list[int] = attrs.field(factory=list)

    @contextmanager
    def begin(self) -> Generator[Any]:
        """Open a transaction."""
        with self.store.begin() as it:
            yield attrs.evolve(it, **self.instead)
            if self.failures:
                raise self.failures.pop(0)

    def pause(self, attempts: int) -> None:
        """Note the pause."""
        self.paused.append(attempts)


@attrs.define
class AsyncFlaky:
    """A store whose first transactions fail as they end; other repositories where it is told."""

    store: Any
    failures: list[StoreFailed]
    instead: dict[str, Any] = attrs.field(factory=dict)
    paused: list[int] = attrs.field(factory=list)

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[Any]:
        """Open a transaction."""
        async with self.store.begin() as it:
            yield SimpleNamespace(**(vars(it) | self.instead))
            if self.failures:
                raise self.failures.pop(0)

    async def pause(self, attempts: int) -> None:
        """Note the pause."""
        self.paused.append(attempts)


STEPS: dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[Any, ...], Any]] = {
    "start": (start_job, start_job_async, ("due",), True),
    "claim": (claim_contacts, claim_contacts_async, ("j",), ["a"]),
    "settle": (settle_contact, settle_contact_async, ("j", "b", "busy"), "busy"),
    "settle for good": (settle_contact, settle_contact_async, ("j", "b", "failed"), "failed"),
    "expire": (expire_calls, expire_calls_async, ("old", HOUR), 1),
    "append": (append_contacts, append_contacts_async, ("j", [{"id": "c"}]), 1),
    "finish": (finish_job, finish_job_async, ("done",), True),
    "look": (still_running, still_running_async, ("j",), True),
}
"""The step's halves, what it is called with, and its answer."""


@pytest.fixture(params=["blocking", "asyncio"])
def is_async(request: pytest.FixtureRequest) -> bool:
    """Return which half is on."""
    return bool(request.param == "asyncio")


def take(step: str, uow: Any) -> Any:
    """Take a step on a flaky store."""
    blocking, nonblocking, arguments, _ = STEPS[step]
    more = {"limit": 9} if step == "claim" else {}
    if isinstance(uow, Flaky):
        return blocking(*arguments, uow=uow, **more)
    return asyncio.run(nonblocking(*arguments, uow=uow, **more))


def flaky(is_async: object, *failures: StoreFailed, **instead: Any) -> Any:
    """Return a flaky store of one kind or the other."""
    if is_async:
        return AsyncFlaky(store_of(AsyncMemoryStore), list(failures), instead)
    return Flaky(store_of(MemoryStore), list(failures), instead)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("failures", "paused"),
    [
        ([], []),
        ([CONFLICT], [1]),
        ([CONFLICT, CONFLICT, CONFLICT], [1, 2, 3]),
        ([INTERRUPTED], [1]),
    ],
    ids=lambda it: str(len(it)),
)
def test_a_step_that_did_not_happen_is_taken_again(
    step: str, failures: list[StoreFailed], paused: list[int], is_async: object
) -> None:
    """Its answer is that of the one attempt that succeeded."""
    uow = flaky(is_async, *failures)
    assert take(step, uow) == STEPS[step][3]
    assert uow.paused == paused


@pytest.mark.parametrize("step", ["settle for good", "start", "claim", "finish", "look"])
def test_a_step_that_does_not_depend_on_it_does_not_lock_the_job(
    step: str, is_async: object
) -> None:
    """So it waits for nobody who has locked it."""
    assert take(step, flaky(is_async, jobs=None)) == STEPS[step][3]


class Committing(Flaky):
    """A store that can commit each call by itself; it notes how it was opened."""

    def begin_autocommit(self) -> Any:
        """Open a transaction of such calls."""
        self.paused.append(0)
        return self.begin()


class AsyncCommitting(AsyncFlaky):
    """A store that can commit each call by itself; it notes how it was opened."""

    def begin_autocommit(self) -> Any:
        """Open a transaction of such calls."""
        self.paused.append(0)
        return self.begin()


NO_ROLLBACK = {"settle for good", "start", "claim", "finish", "look"}
"""The steps that write by one call and return its answer; the others lock the job first."""


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_needs_no_rollback_is_committed_call_by_call(
    step: str, is_async: object
) -> None:
    """The store opens such a transaction in its own way; also another attempt's."""
    given = flaky(is_async)
    kind = AsyncCommitting if is_async else Committing
    uow = kind(given.store, [CONFLICT])
    assert take(step, uow) == STEPS[step][3]
    assert uow.paused == ([0, 1, 0] if step in NO_ROLLBACK else [1])


def test_whatever_else_asks_the_store_has_a_transaction() -> None:
    """A pass that takes records, and a page of the history."""
    uow = Committing(MemoryStore(), [])
    assert reconcile(uow=uow, scheduler=MemoryScheduler()) == []
    assert cancellations(uow=uow).records == ()
    assert forget(uow=uow, before=datetime.now(UTC)) == 0
    assert uow.paused == []


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("failures", "pauses"),
    [
        ([CONFLICT] * 4, 3),
        ([INTERRUPTED] * 2, 1),
        ([LOST], 0),
        ([CONFLICT, LOST], 1),
        ([BUSY], 0),
    ],
)
def test_a_step_is_given_up(
    step: str, failures: list[StoreFailed], pauses: int, is_async: object
) -> None:
    """What may have happened is never done again: it would be done twice, or told as not done."""
    uow = flaky(is_async, *failures)
    with pytest.raises(StoreFailed) as given_up:
        take(step, uow)
    assert given_up.value is failures[-1]
    assert len(uow.paused) == pauses
    assert not uow.failures


@pytest.mark.parametrize("step", STEPS)
def test_within_the_callers_transaction_nothing_is_repeated(step: str) -> None:
    """The worker's other writes in it would be lost; such a store has no `pause`."""

    @attrs.define
    class Joined:
        store: Any

        @contextmanager
        def begin(self) -> Generator[Any]:
            with self.store.begin() as it:
                yield it
                raise CONFLICT

    blocking, _, arguments, _ = STEPS[step]
    more = {"limit": 9} if step == "claim" else {}
    with pytest.raises(StoreFailed, match="in the way"):
        blocking(*arguments, uow=Joined(store_of(MemoryStore)), **more)


@pytest.mark.parametrize("step", STEPS)
def test_a_store_that_does_not_offer_the_steps_says_so(step: str, is_async: object) -> None:
    """It may still cancel; what is missing is named."""
    with pytest.raises(StoreFailed, match="`work` is None") as refused:
        take(step, flaky(is_async, work=None))
    assert refused.value.fault is Fault.REFUSED
    told = "this store does not offer the workers' steps: its `work` is None"
    assert refused.value.reason == told


@attrs.frozen
class Strange:
    """Jobs that are none."""

    found: Any

    def lock(self, _: object) -> Any:
        """Find it."""
        return self.found


@attrs.frozen
class AsyncStrange:
    """Jobs that are none."""

    found: Any

    async def lock(self, _: object) -> Any:
        """Find it."""
        return self.found


@pytest.mark.parametrize("step", ["settle", "append"])
@pytest.mark.parametrize("found", ["j", SimpleNamespace(key="j", status="paused")])
def test_a_job_that_is_none_is_a_failure(step: str, found: object, is_async: object) -> None:
    """What the store should have returned is named, and nothing is written."""
    uow = flaky(is_async, jobs=AsyncStrange(found) if is_async else Strange(found))
    with pytest.raises(StoreFailed, match=r"returned \w+ instead of a Job") as refused:
        take(step, uow)
    assert refused.value.fault is Fault.REFUSED
    assert uow.store.contacts("j") == {"a": "pending", "b": "dialing"}
