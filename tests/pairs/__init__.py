"""
Worlds: one store with one scheduler, seen through the same few verbs whatever they are.

Tests are written once, blocking, and run in every world. A store or a scheduler of the asyncio
kind is driven through one event loop of the world's own, so that its clients live as long as it.
"""

from __future__ import annotations

from tests.pairs.opening import (
    LAYERED,
    ON_MARIADB,
    PATIENCE,
    SCHEDULERS,
    SHORT,
    STORES,
    SWEEP_ABOVE,
    SWEEPING,
    opened,
    pairs,
    params,
)
from tests.pairs.stores import (
    JobRow,
    MemoryTables,
    PostgresTables,
    SqliteTables,
    Store,
    create_reference_tables,
)
from tests.pairs.world import LATER, World

__all__ = [
    "LATER",
    "LAYERED",
    "ON_MARIADB",
    "PATIENCE",
    "SCHEDULERS",
    "SHORT",
    "STORES",
    "SWEEPING",
    "SWEEP_ABOVE",
    "JobRow",
    "MemoryTables",
    "PostgresTables",
    "SqliteTables",
    "Store",
    "World",
    "create_reference_tables",
    "opened",
    "pairs",
    "params",
]
