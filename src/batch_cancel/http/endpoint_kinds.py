"""Check the function that an endpoint calls, and the ports that are bound to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, cast

from batch_cancel.domain.cancellation import CancelResult
from batch_cancel.use_cases.kinds import (
    WrongKind,
    check_callable,
    check_hook,
    check_hook_async,
    check_scheduler,
    check_scheduler_async,
    check_store,
    check_store_async,
    declares,
    is_asyncio,
    name_of,
)

_CANCEL: Final = "the endpoint's `cancel`"


def check_cancel(cancel: object) -> None:
    """
    Check the function that a blocking endpoint calls, and the ports that are bound to it.

    Raises:
        TypeError: it is not callable, or a coroutine function, or a port is of the wrong kind.
    """
    check_callable(cancel, _CANCEL)
    if is_asyncio(cancel):
        msg = f"{_CANCEL} is a coroutine function ({name_of(cancel)}): pass one of cancel_job"
        raise WrongKind(msg)
    _check_bound(cancel)


def check_cancel_async(cancel: object) -> None:
    """
    Check the function that an asyncio endpoint calls, and the ports that are bound to it.

    Raises:
        TypeError: it is not callable, or it blocks, or a port is of the wrong kind.
    """
    check_callable(cancel, _CANCEL)
    if declares(cancel, CancelResult):
        msg = (
            f"{_CANCEL} blocks ({name_of(cancel)}): pass one of cancel_job_async, or "
            "partial(asyncio.to_thread, partial(cancel_job, ...))"
        )
        raise WrongKind(msg)
    _check_bound(cancel)


def _check_bound(function: object) -> None:
    """Check the ports that functools.partial has bound to `cancel_job` or its asyncio half."""
    while isinstance(function, partial):
        bound = cast("partial[object]", function)
        checks = _CHECKS.get(getattr(bound.func, "__name__", ""), {})
        for name, check in checks.items():
            if name in bound.keywords:
                check(bound.keywords[name])
        function = bound.args[0] if bound.args else bound.func


_CHECKS: Final[Mapping[str, Mapping[str, Callable[[object], None]]]] = {
    "cancel_job": {
        "uow": check_store,
        "scheduler": check_scheduler,
        "on_cancelled": check_hook,
    },
    "cancel_job_async": {
        "uow": check_store_async,
        "scheduler": check_scheduler_async,
        "on_cancelled": check_hook_async,
    },
}
"""What is bound to which function; a decorated one keeps the name."""
