"""Stores that do not look at what became of their own statements."""

from __future__ import annotations

from typing import Any

import attrs

from batch_cancel.adapters.memory import repositories as memory
from batch_cancel.adapters.memory import rows as memory_rows
from batch_cancel.adapters.memory.contacts import Contact
from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS, JobStatus
from batch_cancel.testing.conformance import StoreConformance
from tests.proof.broken_adapters.memory_store import OnMemory
from tests.proof.broken_adapters.planting import plant


class _Marks(memory._Jobs):
    """A store that looks at a part of the outcome, or at none."""

    looks_at_job = True
    looks_for_open_contacts = True
    looks_at_count = True

    def mark_cancelled(self, job: Any, record: Any) -> None:
        self.rows[job.key] = attrs.evolve(
            self.rows[job.key], status="cancelled", cancellation=record, taken_at=job.locked_at
        )
        row = self.rows[job.key]
        if self.looks_for_open_contacts:
            memory_rows._look_for_open_contacts(self.rows, job.key, CANCELLABLE_CONTACTS)
        if self.looks_at_job:
            memory_rows.look_at_job(self.rows, job.key, JobStatus.CANCELLED)
        cancelled = len(row.contacts.among({"cancelled"}))
        if self.looks_at_count and cancelled < record.contacts_cancelled:
            reason = "not so many"
            raise StoreFailed(reason)


class TrustsThatTheJobIsCancelled(_Marks):
    looks_at_job = False


class LooksForNoOpenContacts(_Marks):
    looks_for_open_contacts = False


class MarksBeforeItsContacts(_Marks):
    looks_for_open_contacts = False


class LooksForNoRecord(_Marks):
    """It looks at all but the record."""


class TellsACountThatIsNotTrue(_Marks):
    looks_at_count = False


class TrustsItsContacts(memory._Contacts):
    def cancel(self, key: Any, statuses: Any) -> int:
        row = self.rows[key]
        due: list[str] = row.contacts.among(statuses)
        cancelled = dict.fromkeys(due, Contact("cancelled"))
        self.rows[key] = attrs.evolve(row, contacts=row.contacts | cancelled)
        return len(due)


def _trusting(test: str, jobs: type) -> None:
    parts = {"jobs": jobs, "contacts": TrustsItsContacts}
    plant(jobs.__name__, test, OnMemory, StoreConformance, parts=parts)


_trusting("test_i6_a_job_that_did_not_become_cancelled_is_no_success", TrustsThatTheJobIsCancelled)
_trusting("test_i4_contacts_that_stay_open_are_no_success", LooksForNoOpenContacts)
_trusting("test_i4_a_job_with_open_contacts_is_not_marked", MarksBeforeItsContacts)
_trusting("test_i9_a_count_that_is_not_true_is_no_success", TellsACountThatIsNotTrue)
_trusting("test_i12_a_record_that_is_not_kept_is_no_success", LooksForNoRecord)
