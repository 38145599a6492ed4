"""Bugs of a worker's steps in the memory store."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs

from batch_cancel.adapters.memory import repositories as memory
from batch_cancel.adapters.memory import work as memory_work
from batch_cancel.adapters.memory.contacts import Contact
from batch_cancel.adapters.memory.rows import Rows
from batch_cancel.domain.statuses import ContactStatus
from batch_cancel.domain.worker_rules import Settlement
from batch_cancel.testing.adapter import ALL_GUARDS
from batch_cancel.testing.conformance import StoreConformance
from tests import adapters_under_test
from tests.proof.broken_adapters.memory_store import in_memory
from tests.proof.broken_adapters.planting import plant


class StartsBlindly(memory._Work):
    def start(self, key: Any, statuses: Any, deferred_id: Any) -> bool:
        self.rows[key] = attrs.evolve(self.rows[key], status="running")
        return True


class ClaimsWithoutLookingAtTheJob(memory._Work):
    def claim(self, key: Any, statuses: Any, limit: int) -> list[str]:
        row = self.rows[key]
        rows = Rows({key: attrs.evolve(row, status="running")})
        claimed = memory_work.claim(rows, key, statuses, limit)
        self.rows[key] = attrs.evolve(rows[key], status=row.status)
        return claimed


class ClaimsEndedContacts(memory._Work):
    def claim(self, key: Any, statuses: Any, limit: int) -> list[str]:
        return super().claim(key, statuses | {ContactStatus.FAILED}, limit)


class ClaimsForStrangers(memory._Work):
    def claim(self, key: Any, statuses: Any, limit: int) -> list[str]:
        named = [it for it in self.rows if it.batch_job_id == key.batch_job_id]
        return super().claim(named[0] if named else key, statuses, limit)


class ReadsInAnotherOrder(memory._Work):
    def claim_returning(self, key: Any, statuses: Any, limit: int, columns: Any) -> Any:
        found = super().claim_returning(key, statuses, limit, columns)
        rows = [row for _, row in found]
        return [(it, row) for (it, _), row in zip(found, reversed(rows), strict=True)]


class ReadsUnknownColumns(memory._Work):
    def claim_returning(self, key: Any, statuses: Any, limit: int, columns: Any) -> Any:
        return [(it, dict.fromkeys(columns)) for it in self.claim(key, statuses, limit)]


class SeesOnlyWhatIsDue(memory._Work):
    def has_contacts(self, key: Any, statuses: Any) -> bool:
        row = self.rows.get(key)
        return row is not None and any(row.contacts.due(statuses, datetime.now(UTC)))


class SeesOnlyOpenContacts(memory._Work):
    def has_contacts(self, key: Any, statuses: Any) -> bool:
        return super().has_contacts(key, statuses - {ContactStatus.DIALING})


class SeesAnyContact(memory._Work):
    def has_contacts(self, key: Any, statuses: Any) -> bool:
        return key in self.rows and bool(self.rows[key].contacts)


class SeesAnyonesContacts(memory._Work):
    def has_contacts(self, key: Any, statuses: Any) -> bool:
        return any(
            super(SeesAnyonesContacts, self).has_contacts(it, statuses)
            for it in self.rows
            if it.batch_job_id == key.batch_job_id
        )


class SettlesWhateverItIs(memory._Work):
    def settle(self, key: Any, contact_id: Any, settlement: Any) -> bool:
        row = self.rows[key]
        contact = Contact(settlement.status.value)
        self.rows[key] = attrs.evolve(row, contacts=row.contacts | {contact_id: contact})
        return True


class CancelsEveryCall(memory._Work):
    def settle(self, key: Any, contact_id: Any, settlement: Any) -> bool:
        if self.rows[key].status == "cancelled":
            settlement = Settlement(ContactStatus.CANCELLED, None)
        return super().settle(key, contact_id, settlement)


class FinishesWithOpenContacts(memory._Work):
    def finish(self, key: Any, unfinished: Any) -> bool:
        return super().finish(key, frozenset({ContactStatus.DIALING}))


class FinishesBlindly(memory._Work):
    def finish(self, key: Any, unfinished: Any) -> bool:
        self.rows[key] = attrs.evolve(self.rows[key], status="completed")
        return True


class HandsOutWhatItMeant(memory._Work):
    def claim(self, key: Any, statuses: Any, limit: int) -> list[str]:
        row = self.rows[key]
        if row.status != "running":
            return []
        due: list[str] = row.contacts.among(statuses)[:limit]
        dialing = dict.fromkeys(due, Contact("dialing", dialing_since=datetime.now(UTC)))
        self.rows[key] = attrs.evolve(row, contacts=row.contacts | dialing)
        return due


class _Claims(memory._Work):
    """A store that gives out contacts by a rule of its own."""

    def _give_out(self, key: Any, due: list[str]) -> list[str]:
        row = self.rows[key]
        dialing = dict.fromkeys(due, Contact("dialing", dialing_since=datetime.now(UTC)))
        self.rows[key] = attrs.evolve(row, contacts=row.contacts | dialing)
        return due


class ClaimsWhatIsNotDue(_Claims):
    def claim(self, key: Any, statuses: Any, limit: int) -> list[str]:
        row = self.rows[key]
        due: list[str] = sorted(
            row.contacts.among(statuses), key=lambda it: row.contacts[it].due_at
        )
        return self._give_out(key, due[:limit] if row.status == "running" else [])


class ClaimsTheLatestFirst(_Claims):
    def claim(self, key: Any, statuses: Any, limit: int) -> list[str]:
        row = self.rows[key]
        due: list[str] = list(row.contacts.due(statuses, datetime.now(UTC)))
        return self._give_out(key, due[::-1][:limit] if row.status == "running" else [])


class DropsTheTimeOfTheRetry(memory._Work):
    def settle(self, key: Any, contact_id: Any, settlement: Any) -> bool:
        return super().settle(key, contact_id, Settlement(settlement.status, None))


class TakesTheTimeOfTheRetryForALocalOne(memory._Work):
    def settle(self, key: Any, contact_id: Any, settlement: Any) -> bool:
        at = settlement.retry_at and settlement.retry_at.astimezone().replace(tzinfo=UTC)
        return super().settle(key, contact_id, Settlement(settlement.status, at))


class SettlesForStrangers(memory._Work):
    def settle(self, key: Any, contact_id: Any, settlement: Any) -> bool:
        [named] = [it for it in self.rows if it.batch_job_id == key.batch_job_id]
        return super().settle(named, contact_id, settlement)


class SaysThatEveryJobRuns(memory._Work):
    def status(self, key: Any) -> str:
        return "running"


class _Expires(memory._Work):
    """A store that ends calls by a rule of its own."""

    def _expire(self, key: Any, is_due: Callable[[Any, str], bool], status: str) -> int:
        row = self.rows.get(key)
        due = [it for it in row.contacts if is_due(row, it)] if row else []
        if row and due:
            expired = dict.fromkeys(due, Contact(status))
            self.rows[key] = attrs.evolve(row, contacts=row.contacts | expired)
        return len(due)


def _is_old(row: Any, contact_id: str, older_than: timedelta) -> bool:
    since: datetime = row.contacts[contact_id].dialing_since
    return since < datetime.now(UTC) - older_than


class ExpiresYoungCalls(_Expires):
    def expire(self, key: Any, settlement: Any, older_than: Any) -> int:
        return self._expire(
            key, lambda row, it: row.contacts.status_of(it) == "dialing", settlement.status.value
        )


class ExpiresWhateverItIs(_Expires):
    def expire(self, key: Any, settlement: Any, older_than: Any) -> int:
        return self._expire(
            key, lambda row, it: _is_old(row, it, older_than), settlement.status.value
        )


class ExpiresWithoutLookingAtTheJob(memory._Work):
    def expire(self, key: Any, settlement: Any, older_than: Any) -> int:
        return super().expire(key, Settlement(ContactStatus.TIMEOUT, None), older_than)


class ExpiresForLater(memory._Work):
    def expire(self, key: Any, settlement: Any, older_than: Any) -> int:
        later = Settlement(settlement.status, datetime.now(UTC) + older_than)
        return super().expire(key, later, older_than)


class ExpiresCallsOfAllJobs(memory._Work):
    def expire(self, key: Any, settlement: Any, older_than: Any) -> int:
        for it in list(self.rows):
            if it != key and it.organization_id == key.organization_id:
                super().expire(it, settlement, older_than)
        return super().expire(key, settlement, older_than)


class ExpiresCallsOfEqualIds(memory._Work):
    def expire(self, key: Any, settlement: Any, older_than: Any) -> int:
        for it in list(self.rows):
            if it.batch_job_id == key.batch_job_id and it != key:
                super().expire(it, settlement, older_than)
        return super().expire(key, settlement, older_than)


class TrustsWhatItExpired(_Expires):
    def expire(self, key: Any, settlement: Any, older_than: Any) -> int:
        return self._expire(
            key,
            lambda row, it: (
                row.contacts.status_of(it) == "dialing" and _is_old(row, it, older_than)
            ),
            settlement.status.value,
        )


in_memory("test_i20_a_contact_is_called_when_its_time_has_come", work=ClaimsWhatIsNotDue)
in_memory("test_i20_a_contact_is_called_when_its_time_has_come", work=ClaimsTheLatestFirst)
in_memory("test_i20_a_contact_is_called_when_its_time_has_come", work=DropsTheTimeOfTheRetry)
in_memory(
    "test_i20_a_contact_is_called_when_its_time_has_come", work=TakesTheTimeOfTheRetryForALocalOne
)
in_memory("test_i16_a_stranger_settles_no_call", work=SettlesForStrangers)
in_memory("test_i1_a_worker_that_asks_hears_of_the_cancel", work=SaysThatEveryJobRuns)
in_memory("test_i1_a_contact_that_is_not_dialing_is_not_handed_out", work=HandsOutWhatItMeant)
in_memory("test_i1_an_old_call_is_made_again", work=ExpiresYoungCalls)
in_memory("test_i1_an_old_call_is_made_again", work=ExpiresForLater)
in_memory("test_i15_only_a_live_call_expires", work=ExpiresWhateverItIs)
in_memory(
    "test_i4_an_old_call_of_a_cancelled_job_is_not_made_again",
    work=ExpiresWithoutLookingAtTheJob,
)
in_memory("test_i16_old_calls_of_other_jobs_are_left_alone", work=ExpiresCallsOfAllJobs)
in_memory("test_i22_old_calls_of_a_job_of_the_same_id_are_left_alone", work=ExpiresCallsOfEqualIds)
in_memory("test_i20_an_expiry_that_was_undone_is_no_success", work=TrustsWhatItExpired)


class GuessesTheTime(adapters_under_test.MemoryTables):
    """It is declared not to know since when a contact is dialing, and ends calls all the same."""

    guards = ALL_GUARDS - {"expire"}


plant(
    "GuessesTheTime",
    "test_i20_a_store_that_does_not_know_the_time_ends_no_calls",
    GuessesTheTime,
    StoreConformance,
)

in_memory("test_i2_an_ended_job_is_not_started", work=StartsBlindly)
in_memory("test_i1_only_a_running_job_is_called", work=ClaimsWithoutLookingAtTheJob)
in_memory("test_i15_open_contacts_alone_are_called", work=ClaimsEndedContacts)
in_memory("test_i16_a_strangers_worker_does_nothing", work=ClaimsForStrangers)
in_memory("test_i20_a_contact_comes_with_its_own_columns", work=ReadsInAnotherOrder)
in_memory("test_i11_an_unknown_column_is_refused", work=ReadsUnknownColumns)
in_memory("test_i8_a_job_with_work_left_is_not_over", work=SeesOnlyWhatIsDue)
in_memory("test_i8_a_job_with_work_left_is_not_over", work=SeesOnlyOpenContacts)
in_memory("test_i8_a_job_without_work_left_is_over", work=SeesAnyContact)
in_memory("test_i16_a_job_that_is_not_there_is_over", work=SeesAnyonesContacts)
in_memory("test_i3_only_a_live_call_ends", work=SettlesWhateverItIs)
in_memory("test_i15_a_call_that_came_to_its_end_keeps_it", work=CancelsEveryCall)
in_memory("test_i2_a_running_job_without_work_alone_is_finished", work=FinishesWithOpenContacts)
in_memory("test_i2_a_running_job_without_work_alone_is_finished", work=FinishesBlindly)
