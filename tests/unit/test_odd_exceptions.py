"""What a store or a hook raises or suppresses, however odd, is never taken for a success."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest

from batch_cancel import CancelFailed, Removal, cancel_job, start_job
from batch_cancel.adapters.memory import MemoryScheduler, MemoryStore
from batch_cancel.domain.errors import StoreFailed
from batch_cancel.use_cases.unexpected import with_text


def port(**methods: Any) -> Any:
    """Return a port of these methods, or a transaction of these parts."""
    return SimpleNamespace(**methods)


class Suppressing:
    """A store whose transactions suppress every exception, as after a rollback of its own."""

    def __init__(self, failing: str) -> None:
        self.inner = MemoryStore()
        self.inner.add_job("job", "scheduled", deferred_id="start")
        self.failing = failing
        self.pauses = 0

    @contextmanager
    def begin(self) -> Generator[Any]:
        """Let one method fail, and suppress it."""
        with suppress(OSError), self.inner.begin() as it:
            named = {name: getattr(it, name) for name in ("jobs", "contacts", "outbox", "work")}
            part, _, method = self.failing.partition(".")
            named[part] = Failing(named[part], method)
            yield port(**named)

    def pause(self, attempts: int) -> None:
        """Count."""
        self.pauses += 1


class Failing:
    """A repository of which one method fails."""

    def __init__(self, inner: Any, method: str) -> None:
        self.inner, self.method = inner, method

    def __getattr__(self, name: str) -> Any:
        if name == self.method:
            raise OSError
        return getattr(self.inner, name)


def test_a_transaction_that_suppresses_an_error_is_no_success() -> None:
    """Its block would end without an answer: whether it was committed is not known."""
    store: Any = Suppressing("jobs.lock")
    with pytest.raises(CancelFailed, match="suppressed an exception") as cancelled:
        cancel_job("job", uow=store, scheduler=MemoryScheduler())
    assert cancelled.value.outcome == "unknown"
    store = Suppressing("work.start")
    with pytest.raises(StoreFailed, match="suppressed an exception") as started:
        start_job("job", uow=store)
    assert (started.value.outcome, store.pauses) == ("unknown", 0)


def test_a_suppressed_error_after_the_commit_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The cancellation stands; reconcile calls the hook."""
    store: Any = Suppressing("outbox.claim")
    result = cancel_job("job", uow=store, scheduler=MemoryScheduler(), on_cancelled=lambda _: None)
    assert result.removal is Removal.ABSENT
    assert "reconcile will finish it" in caplog.text


class Unprintable(Exception):
    """An exception whose text cannot be made."""

    def __str__(self) -> str:
        """Fail."""
        raise AttributeError


def test_an_exception_that_has_no_text_ends_the_transaction(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is rolled back, and raised as it is."""
    store = MemoryStore()
    store.add_job("job", "running")
    left: list[object] = []

    @contextmanager
    def begin() -> Generator[Any]:
        try:
            with store.begin() as it:
                yield port(jobs=Raising(Unprintable()), contacts=it.contacts, outbox=it.outbox)
        finally:
            left.append(True)

    with pytest.raises(CancelFailed, match="the store raised Unprintable"):
        cancel_job("job", uow=port(begin=begin), scheduler=MemoryScheduler())
    assert left == [True]
    store.add_job("later", "scheduled", deferred_id="start")
    cancel_job("later", uow=store, scheduler=MemoryScheduler(), on_cancelled=unprintable)
    assert "the on_cancelled hook failed (Unprintable)" in caplog.text


def unprintable(_: object) -> None:
    """Fail."""
    raise Unprintable


class Raising:
    """A repository that raises."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def lock(self, key: object) -> None:
        """Fail."""
        raise self.error


def test_the_callers_own_stopped_coroutine_stays_an_error() -> None:
    """Python has made a RuntimeError of a StopIteration in it; a loop would end in silence."""

    async def query() -> object:
        return next(iter(()))

    @contextmanager
    def begin() -> Generator[Any]:
        yield port(work=port(start=lambda *_: asyncio.run(query())))

    with pytest.raises(RuntimeError, match="coroutine raised StopIteration"):
        start_job("job", uow=port(begin=begin))


def test_an_exception_that_has_no_text_is_named_by_its_type() -> None:
    """Also where its text would be shown."""
    assert with_text(Unprintable()) == "Unprintable"
