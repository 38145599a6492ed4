"""Places in the history, and what a store answers that has none; both halves."""

from __future__ import annotations

import asyncio
import inspect
import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch_cancel import (
    CancellationPage,
    CancellationRecord,
    JobKey,
    JobStatus,
    Removal,
    StoreFailed,
    cancellation_of,
    cancellation_of_async,
    cancellations,
    cancellations_async,
    forget,
    forget_async,
)
from batch_cancel.domain.history import Place, Wanted

AT = datetime(2026, 1, 1, tzinfo=UTC)


def record(at: datetime = AT, job_id: str = "job", operation_id: str = "op") -> CancellationRecord:
    """Return a record."""
    return CancellationRecord(
        operation_id=operation_id,
        key=JobKey(job_id),
        previous_status=JobStatus.RUNNING,
        contacts_cancelled=1,
        actor=None,
        reason=None,
        cancelled_at=at,
        deferred_id=None,
        removal=Removal.NOT_APPLICABLE,
    )


ids = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20
)


zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.datetimes(timezones=zones), ids, ids)
def test_a_token_is_the_place(at: datetime, job_id: str, operation_id: str) -> None:
    """To the microsecond, whatever the ids; it fits into a URL."""
    place = Place.of(record(at, job_id, operation_id))
    assert Place.read(place.token) == place
    assert place.token.isascii()
    assert not set(place.token) & set("&?#/+ %")


def spelled(*parts: object) -> str:
    """Return a token of these parts."""
    return urlsafe_b64encode(json.dumps(parts).encode()).decode()


@pytest.mark.parametrize(
    "token",
    [
        "",
        "page 2",
        "☎",
        "AAAA",
        spelled(),
        spelled("2026-01-01T00:00:00", "job", "op"),
        spelled("yesterday", "job", "op"),
        spelled("2026-01-01T00:00:00+00:00", "job"),
        spelled("2026-01-01T00:00:00+00:00", "job", "op", "more"),
        spelled("2026-01-01T00:00:00+00:00", 7, "op"),
        spelled("2026-01-01T00:00:00+00:00", "job", "\0"),
        spelled("2026-01-01T00:00:00+00:00", "\ud800", "op"),
        urlsafe_b64encode(b"7").decode(),
    ],
)
def test_what_is_no_token_is_refused(token: str) -> None:
    """Before a store is asked with it."""
    with pytest.raises(ValueError, match=r"^after must be the `next` of an earlier page$"):
        Place.read(token)


def test_a_token_is_a_text() -> None:
    """Not the record itself."""
    wrong: Any = record()
    with pytest.raises(TypeError, match=r"^after must be a str"):
        Place.read(wrong)


def test_the_later_place_is_the_greater() -> None:
    """Of one moment the ids decide, the job's first."""
    places = [
        Place(AT, "a", "z"),
        Place(AT, "b", "a"),
        Place(AT, "b", "b"),
        Place(AT + timedelta(microseconds=1), "a", "a"),
    ]
    shuffled = [places[2], places[0], places[3], places[1]]
    assert sorted(shuffled) == places


def test_what_is_wanted_is_within_its_bounds() -> None:
    """Since is within, until and the last record before are not."""
    east = AT.astimezone(timezone(timedelta(hours=5)))
    moment = timedelta(microseconds=1)
    for wanted, is_held in (
        (Wanted(None), True),
        (Wanted("org"), False),
        (Wanted(None, since=east), True),
        (Wanted(None, since=AT + moment), False),
        (Wanted(None, until=east), False),
        (Wanted(None, until=AT + moment), True),
        (Wanted(None, after=Place.of(record())), False),
        (Wanted(None, after=Place(AT, "job", "oq")), True),
        (Wanted(None, after=Place(AT, "jo", "op")), False),
    ):
        assert wanted.holds(record()) == is_held, wanted


# What a store answers ----------------------------------------------------------------------------


@attrs.define
class Store:
    """A store whose history and outbox answer what is given."""

    answer: Any = None
    asked: list[Any] = attrs.field(factory=list)

    @property
    def history(self) -> Store | None:
        """What it offers."""
        return None if self.answer is StoreFailed else self

    outbox = history

    @contextmanager
    def begin(self) -> Generator[Store]:
        """Open a transaction."""
        yield self

    def page(self, wanted: Wanted, limit: int) -> Any:
        """Return the answer."""
        self.asked.append((wanted, limit))
        return self.answer

    def find(self, key: JobKey) -> Any:
        """Return the answer."""
        self.asked.append(key)
        return self.answer

    def forget(self, before: datetime, retry_window: timedelta, limit: int) -> Any:
        """Return the answer, or the next of them."""
        self.asked.append((before, retry_window, limit))
        return self.answer.pop(0) if isinstance(self.answer, list) else self.answer


@attrs.define
class AsyncStore:
    """The same for asyncio."""

    store: Store

    @property
    def history(self) -> AsyncStore | None:
        """What it offers."""
        return None if self.store.history is None else self

    outbox = history

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[AsyncStore]:
        """Open a transaction."""
        yield self

    async def page(self, wanted: Wanted, limit: int) -> Any:
        """Return the answer."""
        return self.store.page(wanted, limit)

    async def find(self, key: JobKey) -> Any:
        """Return the answer."""
        return self.store.find(key)

    async def forget(self, before: datetime, retry_window: timedelta, limit: int) -> Any:
        """Return the answer."""
        return self.store.forget(before, retry_window, limit)


class Bare:
    """A store of before there was a history: its repositories have no such attribute."""

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


def listed(store: Any, **options: Any) -> CancellationPage:
    """Read a page."""
    return cancellations(uow=store, **options)


def listed_async(store: Any, **options: Any) -> CancellationPage:
    """Read a page in an event loop."""
    uow: Any = AsyncBare() if isinstance(store, Bare) else AsyncStore(store)
    return asyncio.run(cancellations_async(uow=uow, **options))


def found(store: Any, job_id: str = "job", **options: Any) -> CancellationRecord | None:
    """Read a record."""
    return cancellation_of(job_id, uow=store, **options)


def found_async(store: Any, job_id: str = "job", **options: Any) -> CancellationRecord | None:
    """Read a record in an event loop."""
    uow: Any = AsyncStore(store)
    return asyncio.run(cancellation_of_async(job_id, uow=uow, **options))


LISTS = pytest.mark.parametrize("ask", [listed, listed_async])
FINDS = pytest.mark.parametrize("ask", [found, found_async])
Ask = Callable[..., Any]


@LISTS
def test_a_store_without_a_history_says_so(ask: Ask) -> None:
    """Whether it declares that, or was written before."""
    for store in (Store(StoreFailed), Bare()):
        with pytest.raises(StoreFailed, match="implement `HistoryRepository` of batch_cancel"):
            ask(store)


@LISTS
def test_an_answer_of_another_kind_is_refused(ask: Ask) -> None:
    """Nothing is read from it."""
    with pytest.raises(StoreFailed, match="returned tuple instead of a list of records"):
        ask(Store(()))


@LISTS
def test_one_record_more_than_a_page_holds_is_asked_for(ask: Ask) -> None:
    """If it is there, there is a next page, which begins after the last record of this one."""
    records = [record(AT - timedelta(days=number)) for number in range(3)]
    store = Store(records)
    page = ask(store, limit=2)
    assert page.records == tuple(records[:2])
    assert page.next == Place.of(records[1]).token
    last = ask(store, limit=3, after=page.next, since=AT, until=AT, organization_id="org")
    assert last == CancellationPage(tuple(records), None)
    assert ask(Store([])) == CancellationPage((), None)
    assert store.asked == [
        (Wanted(None), 3),
        (Wanted("org", AT, AT, Place.of(records[1])), 4),
    ]


@LISTS
def test_a_page_holds_a_hundred_unless_told(ask: Ask) -> None:
    """And not every number makes sense."""
    store = Store([])
    ask(store)
    assert store.asked == [(Wanted(None), 101)]
    for limit, error in ((0, ValueError), (1_000_001, ValueError), ("3", TypeError)):
        with pytest.raises(error, match=r"^limit must be "):
            ask(store, limit=limit)
    assert len(store.asked) == 1


@LISTS
def test_an_organization_that_cannot_exist_has_no_history(ask: Ask) -> None:
    """The store is not asked; what is no text is a mistake."""
    store = Store([record()])
    assert ask(store, organization_id="\0") == CancellationPage((), None)
    assert store.asked == []
    with pytest.raises(TypeError, match=r"^organization_id must be a str"):
        ask(store, organization_id=7)


@FINDS
def test_a_record_is_found_by_the_outbox(ask: Ask) -> None:
    """Not at all for an id that no store can hold."""
    store = Store(record())
    assert ask(store, organization_id="org") == record()
    assert store.asked == [JobKey("job", "org")]
    assert ask(store, "\0") is None
    assert len(store.asked) == 1
    assert ask(Store(None)) is None


@FINDS
def test_a_store_without_records_says_so(ask: Ask) -> None:
    """And what is no record is refused."""
    with pytest.raises(StoreFailed, match="keeps no cancellation records: its `repo"):
        ask(Store(StoreFailed))
    with pytest.raises(StoreFailed, match="returned dict instead of a CancellationRecord"):
        ask(Store({}))


def forgotten(store: Any, before: Any = AT, **options: Any) -> int:
    """Forget."""
    return forget(uow=store, before=before, **options)


def forgotten_async(store: Any, before: Any = AT, **options: Any) -> int:
    """Forget in an event loop."""
    uow: Any = AsyncBare() if isinstance(store, Bare) else AsyncStore(store)
    return asyncio.run(forget_async(uow=uow, before=before, **options))


FORGETS = pytest.mark.parametrize("ask", [forgotten, forgotten_async])
MONTH = timedelta(days=30)


@FORGETS
def test_slices_are_forgotten_until_one_is_not_full(ask: Ask) -> None:
    """A thousand records each, and none of the last 30 days unless told otherwise."""
    store = Store([1000, 1000, 7])
    assert ask(store) == 2007
    assert store.asked == [(AT, MONTH, 1000)] * 3
    store = Store([0])
    assert ask(store, retry_window=timedelta(0)) == 0
    assert store.asked == [(AT, timedelta(0), 1000)]


@FORGETS
def test_what_to_forget_must_be_said_sensibly(ask: Ask) -> None:
    """Before the store is asked."""
    store = Store(0)
    for options, error, what in (
        ({"before": datetime(2026, 1, 1)}, ValueError, "before must be an aware"),  # noqa: DTZ001
        ({"before": "2026-01-01"}, TypeError, "before must be a datetime, got str"),
        ({"retry_window": 30}, TypeError, "retry_window must be a timedelta, got int"),
        ({"retry_window": -MONTH}, ValueError, "retry_window must be 0 to a century"),
        ({"retry_window": 2000 * MONTH}, ValueError, "retry_window must be 0 to a century"),
    ):
        with pytest.raises(error, match=what):
            ask(store, **options)
    assert store.asked == []
    assert ask(store, retry_window=timedelta(days=36_525)) == 0


@FORGETS
def test_a_store_that_cannot_forget_says_so(ask: Ask) -> None:
    """Or answers with what is no number."""
    for store in (Store(StoreFailed), Bare()):
        with pytest.raises(StoreFailed, match="implement `HistoryRepository` of batch_cancel"):
            ask(store)
    with pytest.raises(StoreFailed, match="returned dict instead of a number of records"):
        ask(Store({}))


@pytest.mark.parametrize("ask", [listed, listed_async, forgotten, forgotten_async])
def test_a_coroutine_is_no_answer(ask: Ask) -> None:
    """It is closed, so that Python does not warn that nobody has awaited it."""

    async def answer() -> int:
        return 0

    coroutine = answer()
    with pytest.raises(StoreFailed, match=r"returned coroutine instead of a (list|number)"):
        ask(Store(coroutine))
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
