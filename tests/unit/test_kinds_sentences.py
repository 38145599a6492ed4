"""What is said of a wrong kind, word by word: which part it is, what it is, and what to pass."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from batch_cancel import CancelResult
from batch_cancel.http import endpoint_kinds
from batch_cancel.use_cases import kinds

BLOCKING = (
    "this function is blocking: await the function of the same name that ends in _async, or pass "
    "a blocking one"
)
ASYNCIO = (
    "this function is asyncio: call the function of the same name without _async, or pass an "
    "asyncio one"
)


class Claims:
    """It can claim, and not acknowledge."""

    def claim(self, _limit: int, _lease: object, /) -> list[Any]:
        """Claim nothing."""
        return []


class Starts(Claims):
    """A blocking store of deferred starts."""

    def ack(self, _deferred_id: str, _token: str, /) -> bool:
        """Acknowledge nothing."""
        return False


class AsyncStarts:
    """An asyncio one."""

    async def claim(self, _limit: int, _lease: object, /) -> list[Any]:
        """Claim nothing."""
        return []

    async def ack(self, _deferred_id: str, _token: str, /) -> bool:
        """Acknowledge nothing."""
        return False


class Store:
    """A blocking store."""

    @contextmanager
    def begin(self) -> Generator[None]:
        """Begin."""
        yield


class AwaitedStore:
    """A store of neither kind, nearer to asyncio."""

    async def begin(self) -> None:
        """Begin nothing."""


class Scheduler:
    """A blocking scheduler."""

    def cancel(self, _deferred_id: str, _operation_id: str, /) -> bool:
        """Take nothing back."""
        return False


class AsyncScheduler:
    """An asyncio one."""

    async def cancel(self, _deferred_id: str, _operation_id: str, /) -> bool:
        """Take nothing back."""
        return False


class Waiting:
    """A blocking scheduler that reports what waits."""

    def waiting_among(self, _deferred_ids: object, /) -> set[str]:
        """Report nothing."""
        return set()


class AsyncWaiting:
    """An asyncio one."""

    async def waiting_among(self, _deferred_ids: object, /) -> set[str]:
        """Report nothing."""
        return set()


class Closes:
    """It can be closed, and is not awaitable."""

    is_closed = False

    def close(self) -> None:
        """Close."""
        self.is_closed = True


class Hook:
    """A hook that is an object."""

    async def __call__(self, _result: object) -> None:
        """Await."""


class Generates:
    """A hook that is an object, whose body nothing runs."""

    def __call__(self, _result: object) -> Generator[None]:
        """Yield."""
        yield


async def hook(_first: object, _result: object) -> None:
    """Await."""


def generates(_result: object) -> Generator[None]:
    """Yield."""
    yield


async def generates_async(_result: object) -> AsyncGenerator[None]:
    """Yield."""
    yield


def blocks(_batch_job_id: str) -> CancelResult:
    """Block."""
    raise NotImplementedError


async def awaits(_batch_job_id: str) -> CancelResult:
    """Await."""
    raise NotImplementedError


def cancel_job(_batch_job_id: str, **_: object) -> Any:
    """Stand in for the function of that name: a decorated one keeps the name alone."""


async def cancel_job_async(_batch_job_id: str, **_: object) -> Any:
    """Stand in for the function of that name."""


SENTENCES: dict[str, tuple[Callable[[], object], str]] = {
    "no claim": (
        lambda: kinds.check_starts(object()),
        (
            "the store of deferred starts has no method `claim` (object): pass for example "
            "RedisScheduler(...)"
        ),
    ),
    "no ack": (
        lambda: kinds.check_starts(Claims()),
        (
            "the store of deferred starts has no method `ack` (Claims): pass for example "
            "RedisScheduler(...)"
        ),
    ),
    "a class": (
        lambda: kinds.check_starts(Starts),
        "the store of deferred starts is the class Starts: pass an instance of it",
    ),
    "asyncio starts": (
        lambda: kinds.check_starts(AsyncStarts()),
        f"the store of deferred starts is of the asyncio kind (AsyncStarts), and {BLOCKING}",
    ),
    "no claim, asyncio": (
        lambda: kinds.check_starts_async(None),
        (
            "the store of deferred starts has no method `claim` (None): pass for example "
            "AsyncRedisScheduler(...)"
        ),
    ),
    "no ack, asyncio": (
        lambda: kinds.check_starts_async(Claims()),
        (
            "the store of deferred starts has no method `ack` (Claims): pass for example "
            "AsyncRedisScheduler(...)"
        ),
    ),
    "blocking starts": (
        lambda: kinds.check_starts_async(Starts()),
        f"the store of deferred starts is of the blocking kind (Starts), and {ASYNCIO}",
    ),
    "asyncio, of a scheduler that reports what waits": (
        lambda: kinds.check_inspectable(AsyncWaiting()),
        f"the scheduler is of the asyncio kind (AsyncWaiting), and {BLOCKING}",
    ),
    "blocking, of a scheduler that reports what waits": (
        lambda: kinds.check_inspectable_async(Waiting()),
        f"the scheduler is of the blocking kind (Waiting), and {ASYNCIO}",
    ),
    "asyncio, which reports nothing": (
        lambda: kinds.check_inspectable(AsyncScheduler()),
        f"the scheduler is of the asyncio kind (AsyncScheduler), and {BLOCKING}",
    ),
    "a class of a scheduler": (
        lambda: kinds.check_inspectable_async(Scheduler),
        "the scheduler is the class Scheduler: pass an instance of it",
    ),
    "no scheduler": (
        lambda: kinds.check_inspectable_async("redis://"),
        "the scheduler has no method `cancel` (str): pass for example AsyncRedisScheduler(...)",
    ),
    "no hook": (
        lambda: kinds.check_hook("told"),
        "the hook is not callable (str): pass a function",
    ),
    "a coroutine function as hook": (
        lambda: kinds.check_hook(partial(partial(hook, 1))),
        f"the hook is a coroutine function (hook), and {BLOCKING}; it would not be awaited here",
    ),
    "an object as hook": (
        lambda: kinds.check_hook(Hook()),
        f"the hook is a coroutine function (Hook), and {BLOCKING}; it would not be awaited here",
    ),
    "a generator function as hook": (
        lambda: kinds.check_hook(generates),
        (
            "the hook is a generator function (generates), whose body would not run: pass a "
            "function without yield"
        ),
    ),
    "a generator function as asyncio hook": (
        lambda: kinds.check_hook_async(generates_async),
        (
            "the hook is a generator function (generates_async), whose body would not run: pass "
            "a function without yield"
        ),
    ),
    "an object that generates": (
        lambda: kinds.check_hook_async(Generates()),
        (
            "the hook is a generator function (Generates), whose body would not run: pass a "
            "function without yield"
        ),
    ),
    "no cancel": (
        lambda: endpoint_kinds.check_cancel(None),
        "the endpoint's `cancel` is not callable (None): pass a function",
    ),
    "no asyncio cancel": (
        lambda: endpoint_kinds.check_cancel_async(1),
        "the endpoint's `cancel` is not callable (int): pass a function",
    ),
    "an asyncio cancel": (
        lambda: endpoint_kinds.check_cancel(awaits),
        "the endpoint's `cancel` is a coroutine function (awaits): pass one of cancel_job",
    ),
    "a blocking cancel": (
        lambda: endpoint_kinds.check_cancel_async(partial(blocks)),
        (
            "the endpoint's `cancel` blocks (blocks): pass one of cancel_job_async, or "
            "partial(asyncio.to_thread, partial(cancel_job, ...))"
        ),
    ),
    "no store": (
        lambda: kinds.check_store(None),
        "the store (uow) has no method `begin` (None): pass for example PostgresUnitOfWork(...)",
    ),
    "no asyncio store": (
        lambda: kinds.check_store_async(None),
        (
            "the store (uow) has no method `begin` (None): pass for example "
            "AsyncPostgresUnitOfWork(...)"
        ),
    ),
    "no blocking scheduler": (
        lambda: kinds.check_scheduler(None),
        "the scheduler has no method `cancel` (None): pass for example RedisScheduler(...)",
    ),
    "a store whose begin has to be awaited": (
        lambda: kinds.check_store(AwaitedStore()),
        f"the store (uow) is of the asyncio kind (AwaitedStore), and {BLOCKING}",
    ),
    "a store that is bound": (
        lambda: endpoint_kinds.check_cancel(partial(cancel_job, uow=None, other=1)),
        "the store (uow) has no method `begin` (None): pass for example PostgresUnitOfWork(...)",
    ),
    "a scheduler that is bound": (
        lambda: endpoint_kinds.check_cancel(
            partial(partial(cancel_job, scheduler=AsyncScheduler()), uow=Store())
        ),
        f"the scheduler is of the asyncio kind (AsyncScheduler), and {BLOCKING}",
    ),
    "a hook that is bound": (
        lambda: endpoint_kinds.check_cancel(partial(cancel_job, on_cancelled=1)),
        "the hook is not callable (int): pass a function",
    ),
    "an asyncio store that is bound": (
        lambda: endpoint_kinds.check_cancel_async(partial(cancel_job_async, uow=Store())),
        f"the store (uow) is of the blocking kind (Store), and {ASYNCIO}",
    ),
    "an asyncio scheduler that is bound": (
        lambda: endpoint_kinds.check_cancel_async(
            partial(cancel_job_async, scheduler=Scheduler())
        ),
        f"the scheduler is of the blocking kind (Scheduler), and {ASYNCIO}",
    ),
    "an asyncio hook that is bound": (
        lambda: endpoint_kinds.check_cancel_async(
            partial(cancel_job_async, on_cancelled=generates)
        ),
        (
            "the hook is a generator function (generates), whose body would not run: pass a "
            "function without yield"
        ),
    ),
    "what is bound to an argument": (
        lambda: endpoint_kinds.check_cancel_async(partial(hook, partial(cancel_job, uow=None))),
        "the store (uow) has no method `begin` (None): pass for example PostgresUnitOfWork(...)",
    ),
}


@pytest.mark.parametrize("name", SENTENCES)
def test_a_wrong_kind(name: str) -> None:
    """It is a TypeError."""
    check, sentence = SENTENCES[name]
    with pytest.raises(TypeError) as error:
        check()
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    "check",
    [
        lambda: kinds.check_starts(Starts()),
        lambda: kinds.check_starts_async(AsyncStarts()),
        lambda: kinds.check_hook(None),
        lambda: kinds.check_hook_async(None),
        lambda: kinds.check_hook_async(Hook()),
        lambda: kinds.check_inspectable(Scheduler()),
        lambda: kinds.check_inspectable_async(AsyncScheduler()),
        lambda: endpoint_kinds.check_cancel(blocks),
        lambda: endpoint_kinds.check_cancel(partial(cancel_job, uow=Store(), other=None)),
        lambda: endpoint_kinds.check_cancel_async(awaits),
        lambda: endpoint_kinds.check_cancel_async(partial(awaits, "job")),
    ],
)
def test_the_right_kind(check: Callable[[], None]) -> None:
    """Nothing is raised."""
    check()


def test_what_is_no_awaitable_is_not_closed() -> None:
    """A file or a connection that a port returned is the caller's."""
    returned = Closes()
    kinds.discard(returned)
    assert not returned.is_closed


@pytest.mark.parametrize("declared", ["set[str]", set[str], set])
def test_a_declared_answer_counts_as_text_and_as_a_type(declared: object) -> None:
    """A module without `from __future__ import annotations` declares types."""

    def waiting_among() -> None:
        """Return nothing."""

    waiting_among.__annotations__ = {"return": declared}
    assert kinds.declares(waiting_among, set)
    assert not kinds.declares(waiting_among, bool)
