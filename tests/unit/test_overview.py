"""What is reported of one job, and what a store answers that cannot report; both halves."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from batch_cancel import (
    ContactStatus,
    Job,
    JobKey,
    JobNotFound,
    JobStatus,
    Preview,
    Progress,
    StoreFailed,
    job_progress,
    job_progress_async,
    preview_job,
    preview_job_async,
)
from batch_cancel.domain.job import CancellationRecord
from batch_cancel.domain.overview import Overview, progress
from batch_cancel.domain.statuses import Removal

AT = datetime(2026, 1, 1, tzinfo=UTC)
KEY = JobKey("job", "org")


def overview(status: str | None = "running", **contacts: int) -> Overview:
    """Return an overview of a job."""
    job = Job(KEY, status, None, AT)
    return Overview(job, {ContactStatus(name): number for name, number in contacts.items()})


# The values --------------------------------------------------------------------------------------


def test_numbers_are_added_up_by_status() -> None:
    """A status of two spellings comes twice; what is not known is counted by itself."""
    counted = [
        (ContactStatus.BUSY, 2),
        (None, 3),
        (ContactStatus.BUSY, 5),
        (ContactStatus.DIALING, 1),
        (None, 4),
    ]
    seen = Overview.of(Job(KEY, "running", None, AT), counted)
    assert seen.contacts_unknown == 7
    assert {it: number for it, number in seen.contacts.items() if number} == {
        "busy": 7,
        "dialing": 1,
    }
    assert len(seen.contacts) == 12


@pytest.mark.parametrize("status", [*JobStatus, "paused", None])
@pytest.mark.parametrize(
    ("contacts", "is_empty"),
    [
        ({}, True),
        ({"completed": 1, "cancelled": 2}, True),
        ({"dialing": 1}, False),
        ({"timeout": 1}, False),
        ({"pending": 1, "dialing": 1}, False),
    ],
)
def test_a_job_is_drained_once_it_has_ended_and_is_empty(
    status: str | None, contacts: dict[str, int], *, is_empty: bool
) -> None:
    """Live and unknown ones never are."""
    has_ended = status in {"completed", "failed", "cancelled"}
    assert progress(overview(status, **contacts)).is_drained == (is_empty and has_ended)


def test_a_progress_names_its_job() -> None:
    """Its organization and its status with it."""
    seen = progress(overview("paused"))
    assert (seen.batch_job_id, seen.organization_id, seen.status) == ("job", "org", "paused")


# What a store answers ----------------------------------------------------------------------------


@attrs.define
class Store:
    """A store whose overview is what is given."""

    answer: Any
    asked: list[Any] = attrs.field(factory=list)

    @property
    def overview(self) -> Store | None:
        """What it offers."""
        return None if self.answer is StoreFailed else self

    @contextmanager
    def begin(self) -> Generator[Store]:
        """Open a transaction."""
        yield self

    def look(self, key: JobKey) -> Any:
        """Return the answer."""
        self.asked.append(key)
        return self.answer


@attrs.define
class AsyncStore:
    """The same for asyncio."""

    store: Store

    @property
    def overview(self) -> AsyncStore | None:
        """What it offers."""
        return None if self.store.overview is None else self

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[AsyncStore]:
        """Open a transaction."""
        yield self

    async def look(self, key: JobKey) -> Any:
        """Return the answer."""
        return self.store.look(key)


class Bare:
    """A store of before there were overviews: its repositories have no such attribute."""

    @contextmanager
    def begin(self) -> Generator[object]:
        """Open a transaction."""
        yield object()


class AsyncBare:
    """The same for asyncio."""

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[object]:
        """Open a transaction."""
        yield object()


def preview(store: Any, job_id: str = "job", **more: Any) -> Preview:
    """Preview a cancel."""
    return preview_job(job_id, uow=store, organization_id="org", **more)


def preview_async(store: Any, job_id: str = "job", **more: Any) -> Preview:
    """Preview a cancel in an event loop."""
    uow: Any = AsyncBare() if isinstance(store, Bare) else AsyncStore(store)
    return asyncio.run(preview_job_async(job_id, uow=uow, organization_id="org", **more))


def progressed(store: Any, job_id: str = "job") -> Progress:
    """Ask how far the job is."""
    return job_progress(job_id, uow=store, organization_id="org")


def progressed_async(store: Any, job_id: str = "job") -> Progress:
    """Ask in an event loop how far the job is."""
    uow: Any = AsyncBare() if isinstance(store, Bare) else AsyncStore(store)
    return asyncio.run(job_progress_async(job_id, uow=uow, organization_id="org"))


Ask = Callable[..., Any]
ALL = pytest.mark.parametrize("ask", [preview, preview_async, progressed, progressed_async])
PREVIEWS = pytest.mark.parametrize("ask", [preview, preview_async])


@ALL
def test_a_store_that_offers_none_says_so(ask: Ask) -> None:
    """Whether it declares that, or was written before."""
    for store in (Store(StoreFailed), Bare()):
        with pytest.raises(StoreFailed) as refused:
            ask(store)
        assert refused.value.reason == (
            "this store has no overview of a job: its `repositories.overview` is missing or None, "
            "so implement `OverviewRepository` of batch_cancel.ports in it"
        )


@ALL
def test_an_answer_of_another_kind_is_refused(ask: Ask) -> None:
    """Nothing is read from it."""
    with pytest.raises(StoreFailed, match="returned dict instead of an Overview"):
        ask(Store({}))


@ALL
def test_a_coroutine_is_no_overview(ask: Ask) -> None:
    """It is closed, so that Python does not warn that nobody has awaited it."""

    async def look() -> None:
        """Be awaited by nobody."""

    coroutine = look()
    with pytest.raises(StoreFailed, match="returned coroutine instead of an Overview"):
        ask(Store(coroutine))
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


@ALL
def test_a_job_that_is_not_there(ask: Ask) -> None:
    """The store is asked by id and organization; not at all where it could hold no such id."""
    store = Store(None)
    with pytest.raises(JobNotFound, match="'job'"):
        ask(store)
    with pytest.raises(JobNotFound):
        ask(store, "\0")
    assert store.asked == [KEY]


@PREVIEWS
def test_a_preview_is_of_the_store_s_numbers(ask: Ask) -> None:
    """A status that it leaves out is 0."""
    seen = ask(Store(overview(pending=3, busy=1, dialing=2, completed=9)))
    assert (seen.batch_job_id, seen.organization_id, seen.status) == ("job", "org", "running")
    assert (seen.contacts_to_cancel, seen.live_calls, seen.removes_start) == (4, 2, False)
    assert seen.contacts["queued"] == 0
    assert seen.would_cancel


@pytest.mark.parametrize(("is_swept", "to_cancel"), [(True, 0), (False, 3)], ids=["all", "some"])
def test_a_job_that_was_cancelled_before_keeps_its_contacts(
    to_cancel: int, *, is_swept: bool
) -> None:
    """Unless they were still to be swept, which goes on."""
    record = CancellationRecord(
        operation_id="op",
        key=KEY,
        previous_status=JobStatus.RUNNING,
        contacts_cancelled=7,
        actor=None,
        reason=None,
        cancelled_at=AT,
        deferred_id=None,
        removal=Removal.NOT_APPLICABLE,
        is_swept=is_swept,
    )
    job = Job(KEY, "cancelled", None, AT, record)
    seen = preview(Store(Overview(job, {ContactStatus.PENDING: 3})))
    assert (seen.would_cancel, seen.contacts_to_cancel) == (False, to_cancel)


@PREVIEWS
def test_an_operation_id_that_no_store_can_hold_is_refused(ask: Ask) -> None:
    """Before the store is asked, as by the cancel."""
    store = Store(overview())
    with pytest.raises(ValueError, match=r"^operation_id must be 1 to 1024 bytes"):
        ask(store, operation_id="")
    assert store.asked == []
