"""What this version of the library can do; the bars of what it can't are listed, not measured."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

import batch_cancel
from batch_cancel.adapters.postgres import PostgresUnitOfWork

cancel_jobs: Final[Callable[..., Any] | None] = getattr(batch_cancel, "cancel_jobs", None)
"""Cancels many jobs: `cancel_jobs(ids, uow=..., scheduler=...)`; None if there is no such call."""

SWEEPS: Final = "sweep_above" in inspect.signature(PostgresUnitOfWork).parameters
"""Whether a store cancels a very large job first, and its contacts in slices afterwards."""


def sweeping(above: int | None) -> dict[str, Any]:
    """Return the option of a store that sweeps above so many open contacts; None for never."""
    return {"sweep_above": above} if SWEEPS else {}
