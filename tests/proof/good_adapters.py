"""Good adapters that only `make proof` runs through the kit: its other kinds of ids."""

from __future__ import annotations

from batch_cancel.testing.conformance import StoreConformance
from tests import conformers


class TestUuids(conformers.UuidTables, StoreConformance):
    """Postgres keeps the promises for tables whose jobs have uuids."""


class TestIntegers(conformers.IntegerTables, StoreConformance):
    """And for those whose jobs have numbers."""
