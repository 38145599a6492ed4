"""Bugs of the inspection in the memory store."""

from __future__ import annotations

from typing import Any

import attrs

from batch_cancel.adapters.memory import repositories as memory
from batch_cancel.domain.drift import Inventory
from tests.proof.broken_adapters.memory_store import in_memory


class SeesNothing(memory._Inspection):
    def look(self, limit: Any, statuses: Any, older_than: Any) -> Inventory:
        return Inventory()


class SeesNoRemoval(memory._Inspection):
    def look(self, limit: Any, statuses: Any, older_than: Any) -> Inventory:
        return attrs.evolve(super().look(limit, statuses, older_than), removals_pending=())


class SeesNoOverdueCall(memory._Inspection):
    def look(self, limit: Any, statuses: Any, older_than: Any) -> Inventory:
        return attrs.evolve(super().look(limit, statuses, older_than), calls_overdue=())


in_memory("test_i20_what_could_be_wrong_is_seen", inspection=SeesNothing)
in_memory("test_i7_a_pending_removal_is_seen", inspection=SeesNoRemoval)
in_memory("test_i20_an_overdue_call_is_seen", inspection=SeesNoOverdueCall)
