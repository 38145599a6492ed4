"""Good adapters that only `make proof` runs through the kit: its other kinds of ids."""

from __future__ import annotations

from batch_cancel.testing.conformance import StoreConformance
from tests import adapters_under_test


class TestUuids(adapters_under_test.UuidTables, StoreConformance):
    """Postgres keeps the promises for tables whose jobs have uuids."""


class TestIntegers(adapters_under_test.IntegerTables, StoreConformance):
    """And for those whose jobs have numbers."""
