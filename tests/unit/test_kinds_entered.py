"""What is said of a transaction that cannot be entered, word by word."""

from __future__ import annotations

from typing import Any

import pytest

from batch_cancel import StoreFailed
from batch_cancel.use_cases import kinds

BLOCKING = (
    "this function is blocking: await the function of the same name that ends in _async, or pass "
    "a blocking one"
)
ASYNCIO = (
    "this function is asyncio: call the function of the same name without _async, or pass an "
    "asyncio one"
)


async def hook(_first: object, _result: object) -> None:
    """Await."""


class Begins:
    """A store whose `begin` returns what it was made with."""

    def __init__(self, transaction: object) -> None:
        self.transaction: Any = transaction

    def begin(self) -> Any:
        """Begin."""
        return self.transaction


class Enters:
    """What `with` enters."""

    def __enter__(self) -> None:
        """Enter."""

    def __exit__(self, *_: object) -> None:
        """Leave."""


class AsyncEnters:
    """What `async with` enters."""

    async def __aenter__(self) -> None:
        """Enter."""

    async def __aexit__(self, *_: object) -> None:
        """Leave."""


def test_a_transaction_of_the_other_kind() -> None:
    """The sentence names the kind of the transaction, and what to call."""
    with pytest.raises(TypeError) as error:
        kinds.opened(Begins(AsyncEnters()))
    assert str(error.value) == (
        f"the store (uow) opens transactions of the asyncio kind, and {BLOCKING}"
    )
    with pytest.raises(TypeError) as error:
        kinds.opened_async(Begins(Enters()))
    assert str(error.value) == (
        f"the store (uow) opens transactions of the blocking kind, and {ASYNCIO}"
    )


def test_what_cannot_be_entered() -> None:
    """The sentence names the decorator; of a coroutine it is a wrong kind, and it is closed."""
    with pytest.raises(StoreFailed) as failure:
        kinds.opened(Begins(None))
    assert failure.value.reason == (
        "the store's `begin` returned no context manager but None: decorate it with "
        "contextlib.contextmanager"
    )
    with pytest.raises(StoreFailed) as failure:
        kinds.opened_async(Begins(1))
    assert failure.value.reason == (
        "the store's `begin` returned no async context manager but int: decorate it with "
        "contextlib.asynccontextmanager"
    )
    coroutine = hook(1, 2)
    with pytest.raises(TypeError) as error:
        kinds.opened_async(Begins(coroutine))
    assert str(error.value) == (
        "the store's `begin` returned no async context manager but coroutine: decorate it with "
        "contextlib.asynccontextmanager"
    )
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        coroutine.send(None)


def test_what_declares_nothing_is_judged_by_what_it_returns() -> None:
    """A built-in function has no annotations."""
    assert not kinds.declares(min, bool)
