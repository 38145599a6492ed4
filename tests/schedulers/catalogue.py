"""The libraries, and our adapters for them."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from batch_cancel.adapters.arq import ArqScheduler, AsyncArqScheduler
from tests.schedulers.rig import Library

PATIENCE: Final = timedelta(seconds=10)
"""A budget that a loaded machine keeps: these tests are of answers, not of delays."""

ARQ: Final = Library(
    "arq",
    lambda client: ArqScheduler(client, budget=PATIENCE),
    lambda client: AsyncArqScheduler(client, budget=PATIENCE),
    races=1000,
)
LIBRARIES: Final = {library.name: library for library in (ARQ,)}
