"""The test classes of every broken adapter, where pytest finds them."""

from __future__ import annotations

from tests.proof.broken_adapters import (
    cancels,
    collation,
    inspections,
    on_file,
    outbox,
    outcomes,
    postgres_races,
    postgres_statements,
    schedulers,
    server,
    transactions,
    workers,
)
from tests.proof.broken_adapters.planting import REJECTED_BY, SUITES

__all__ = ["PLANTING", "REJECTED_BY"]

PLANTING = (
    cancels,
    collation,
    inspections,
    outbox,
    workers,
    outcomes,
    transactions,
    on_file,
    postgres_statements,
    postgres_races,
    server,
    schedulers,
)
"""The modules that plant a bug when they are imported."""

globals().update(SUITES)
