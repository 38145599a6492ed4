"""
Adapters with one bug each, planted by hand, and the test of the kit that must reject each.

The test was named before it was run. What only a real database shows is planted on Postgres; what
only a file shows, on SQLite; the rest in the memory store, whose rows are plain values.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, ClassVar, Final

import attrs
import psycopg
from psycopg import sql

from batch_cancel.adapters.memory import MemoryScheduler, MemoryStore
from batch_cancel.adapters.memory import repositories as memory
from batch_cancel.adapters.memory import rows as memory_rows
from batch_cancel.adapters.postgres import PostgresUnitOfWork
from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.model import CANCELLABLE_CONTACTS, ContactStatus, JobKey, JobStatus
from batch_cancel.domain.worker_rules import Settlement
from batch_cancel.testing.adapter import ALL_GUARDS
from batch_cancel.testing.conformance import SchedulerConformance, StoreConformance
from examples import own_adapter, own_adapter_test
from tests import adapters_under_test
from tests.sabotage import UndoneStore

REJECTED_BY: Final[dict[str, str]] = {}
"""By the class of the broken adapter's tests, the test that must fail."""

SECOND: Final = timedelta(seconds=1)

ENDED: Final = {"completed", "failed", "blocked", "invalid_number", "carrier_error", "cancelled"}


def _plant(name: str, test: str, base: type, suite: type, **attributes: object) -> None:
    of = f"Test{name}"
    assert of not in REJECTED_BY
    assert hasattr(suite, test)
    REJECTED_BY[of] = test
    # What waits for the lock in vain must not be taken for a party that waits.
    more = {"patience_seconds": 0.5, "__module__": __name__, "__doc__": name, **attributes}
    globals()[of] = type(of, (base, suite), more)


# In memory ---------------------------------------------------------------------------------------


class Tampered(UndoneStore):
    """A memory store some parts of which are not its own."""

    def __init__(self, parts: Mapping[str, Callable[[Any], object]]) -> None:
        super().__init__()
        self._parts = parts

    @contextmanager
    def begin(self) -> Generator[Any]:
        """Open a transaction with the parts in their places."""
        with super().begin() as it:
            parts: dict[str, Any] = {
                name: part(getattr(it, name).rows) for name, part in self._parts.items()
            }
            yield attrs.evolve(it, **parts)


class OnMemory(adapters_under_test.MemoryTables):
    """A memory store with a bug."""

    parts: ClassVar[Mapping[str, Callable[[Any], object]]]

    def fresh(self) -> None:
        """Forget everything."""
        super().fresh()
        self._store = Tampered(self.parts)


def _in_memory(test: str, **parts: type) -> None:
    [bug] = parts.values()
    _plant(bug.__name__, test, OnMemory, StoreConformance, parts=parts)


class MarksNothing(memory._Jobs):
    def mark_cancelled(self, job: Any, record: Any) -> None:
        pass


class KeepsNoRecord(memory._Jobs):
    def mark_cancelled(self, job: Any, record: Any) -> None:
        self.rows[job.key] = attrs.evolve(self.rows[job.key], status="cancelled")


class CutsTheReason(memory._Jobs):
    def mark_cancelled(self, job: Any, record: Any) -> None:
        reason = record.reason and record.reason[:255]
        super().mark_cancelled(job, attrs.evolve(record, reason=reason))


class LosesTheRecord(memory._Jobs):
    def lock(self, key: Any) -> Any:
        job = super().lock(key)
        return job and attrs.evolve(job, cancellation=None)


class FindsTheRecordByOperationAlone(memory._Jobs):
    def lock(self, key: Any) -> Any:
        job = super().lock(key)
        for row in self.rows.values():
            if job is not None and row.cancellation is not None:
                return attrs.evolve(job, status="cancelled", cancellation=row.cancellation)
        return job


class NamesNoStartOfAJobStartedEarly(memory._Jobs):
    def lock(self, key: Any) -> Any:
        job = super().lock(key)
        if job is None or job.status == "scheduled":
            return job
        return attrs.evolve(job, deferred_id=None)


class TakesNoneForAWildcard(memory._Jobs):
    def lock(self, key: Any) -> Any:
        named = [it for it in self.rows if it.batch_job_id == key.batch_job_id]
        return super().lock(named[0] if named and key.organization_id is None else key)


class LeavesOutTheOrganization(memory._Jobs):
    def lock(self, key: Any) -> Any:
        named = [it for it in self.rows if it.batch_job_id == key.batch_job_id]
        return super().lock(named[0]) if named else None


class ComparesNullWithEquals(memory._Jobs):
    def lock(self, key: Any) -> Any:
        return None if key.organization_id is None else super().lock(key)


class RaisesForAMissingJob(memory._Jobs):
    def lock(self, key: Any) -> Any:
        return memory_rows.job_of(key, self.rows[key])


class FormatsTheId(memory._Jobs):
    def lock(self, key: Any) -> Any:
        assert key.batch_job_id % () == key.batch_job_id
        return super().lock(key)


class TrimsTheId(memory._Jobs):
    def lock(self, key: Any) -> Any:
        trimmed = attrs.evolve(key, batch_job_id=key.batch_job_id.strip())
        return super().lock(trimmed if trimmed in self.rows else key)


class MakesUpADeferredId(memory._Jobs):
    def lock(self, key: Any) -> Any:
        job = super().lock(key)
        return job and attrs.evolve(job, deferred_id=job.deferred_id or key.batch_job_id)


class TakesTheJobsIdForTheDeferredOne(memory._Jobs):
    def lock(self, key: Any) -> Any:
        job = super().lock(key)
        return job and attrs.evolve(job, deferred_id=job.deferred_id and key.batch_job_id)


class GuessesTheStatus(memory._Jobs):
    def lock(self, key: Any) -> Any:
        job = super().lock(key)
        return job and attrs.evolve(job, status=(job.status or "pending").lower())


_in_memory("test_i6_a_live_job_is_cancelled", jobs=MarksNothing)
_in_memory("test_i12_the_same_operation_again_gets_the_same_answer", jobs=KeepsNoRecord)
_in_memory("test_i9_the_record_says_who_why_when_and_how_much", jobs=CutsTheReason)
_in_memory("test_i12_a_commit_whose_answer_was_lost_is_asked_for_again", jobs=LosesTheRecord)
_in_memory(
    "test_i2_another_operation_is_told_when_and_how_much", jobs=FindsTheRecordByOperationAlone
)
_in_memory(
    "test_i7_a_job_started_early_has_no_deferred_start_either",
    jobs=NamesNoStartOfAJobStartedEarly,
)
_in_memory("test_i16_a_strangers_job_is_not_there", jobs=TakesNoneForAWildcard)
_in_memory("test_i16_a_strangers_job_is_not_there", jobs=LeavesOutTheOrganization)
_in_memory("test_i6_an_organization_cancels_its_own_job", jobs=ComparesNullWithEquals)
_in_memory("test_i11_a_missing_job_is_not_found", jobs=RaisesForAMissingJob)
_in_memory("test_i11_any_id_may_be_asked_for", jobs=FormatsTheId)
_in_memory("test_i16_an_id_is_just_its_bytes", jobs=TrimsTheId)
_in_memory("test_i10_no_start_is_no_removal", jobs=MakesUpADeferredId)
_in_memory(
    "test_i10_the_scheduler_is_asked_for_the_jobs_own_start", jobs=TakesTheJobsIdForTheDeferredOne
)
_in_memory("test_i11_a_job_in_a_status_nobody_knows_is_left_alone", jobs=GuessesTheStatus)


class Contacts(memory._Contacts):
    """Contacts of which a bug chooses which to cancel."""

    def _cancel(self, key: Any, is_due: Callable[[str | None], bool]) -> int:
        row = self.rows[key]
        due = [it for it, status in row.contacts.items() if is_due(status)]
        contacts = {**row.contacts, **dict.fromkeys(due, "cancelled")}
        self.rows[key] = attrs.evolve(row, contacts=contacts)
        return len(due)


class ChoosesByADenyList(Contacts):
    def cancel(self, key: Any, statuses: Any) -> int:
        return self._cancel(key, lambda status: status not in ENDED)


class ForgetsAStatus(Contacts):
    def cancel(self, key: Any, statuses: Any) -> int:
        return self._cancel(key, lambda status: status in statuses - {"timeout"})


class TouchesEndedContacts(Contacts):
    def cancel(self, key: Any, statuses: Any) -> int:
        return self._cancel(key, lambda status: status in {*statuses, "failed"})


class IgnoresCase(Contacts):
    def cancel(self, key: Any, statuses: Any) -> int:
        return self._cancel(key, lambda status: (status or "").lower() in statuses)


class CancelsOtherJobsContacts(Contacts):
    def cancel(self, key: Any, statuses: Any) -> int:
        return [super(type(self), self).cancel(it, statuses) for it in (*self.rows, key)][-1]


class CountsAllContacts(Contacts):
    def cancel(self, key: Any, statuses: Any) -> int:
        super().cancel(key, statuses)
        return sum(status == "cancelled" for status in self.rows[key].contacts.values())


_in_memory("test_i15_a_live_call_is_left_alone", contacts=ChoosesByADenyList)
_in_memory("test_i4_every_open_contact_is_cancelled", contacts=ForgetsAStatus)
_in_memory("test_i3_an_ended_contact_is_never_changed", contacts=TouchesEndedContacts)
_in_memory("test_i15_a_contact_in_a_status_nobody_knows_is_left_alone", contacts=IgnoresCase)
_in_memory("test_i16_other_jobs_stay_as_they_are", contacts=CancelsOtherJobsContacts)
_in_memory("test_i9_the_count_is_of_the_rows_changed", contacts=CountsAllContacts)


class SettlesBackwards(memory._Outbox):
    def settle(self, record: Any) -> None:
        row = self.rows[record.key]
        if row.cancellation and row.cancellation.operation_id == record.operation_id:
            self.rows[record.key] = attrs.evolve(row, cancellation=record)


class SettlesForAnyOperation(memory._Outbox):
    def settle(self, record: Any) -> None:
        row = self.rows[record.key]
        assert row.cancellation
        super().settle(attrs.evolve(record, operation_id=row.cancellation.operation_id))


class TakesNothing(memory._Outbox):
    def take(self, limit: Any, lease: Any, *, announcements: Any) -> Any:
        return []


class IgnoresTheLease(memory._Outbox):
    def take(self, limit: Any, lease: Any, *, announcements: Any) -> Any:
        return super().take(limit, lease * 0, announcements=announcements)


class TakesTheSameAgain(memory._Outbox):
    def take(self, limit: Any, lease: Any, *, announcements: Any) -> Any:
        rows = {**self.rows}
        return memory_rows.take(rows, limit, lease * 0, announcements=announcements)


class TakesThePassersBy(memory._Outbox):
    def take(self, limit: Any, lease: Any, *, announcements: Any) -> Any:
        return super().take(limit + 1, lease, announcements=announcements)


class SettlesForAnyLife(memory._Outbox):
    def settle(self, record: Any) -> None:
        row = self.rows[record.key]
        assert row.cancellation
        if record.operation_id == row.cancellation.operation_id:
            super().settle(attrs.evolve(record, cancelled_at=row.cancellation.cancelled_at))


class ClaimsForEverybody(memory._Outbox):
    def claim(self, record: Any) -> Any:
        found = super().find(record.key)
        return found and super().claim(found)


class ClaimsWithoutATrace(memory._Outbox):
    def claim(self, record: Any) -> Any:
        rows = {**self.rows}
        return memory_rows.claim_record(rows, record)


class ClaimsForAnyOperation(memory._Outbox):
    def claim(self, record: Any) -> Any:
        found = super().find(record.key)
        return found and super().claim(attrs.evolve(record, operation_id=found.operation_id))


class ClaimsForAnyLife(memory._Outbox):
    def claim(self, record: Any) -> Any:
        found = super().find(record.key)
        return found and super().claim(attrs.evolve(record, cancelled_at=found.cancelled_at))


class TakesWithoutSayingWhen(memory._Outbox):
    def take(self, limit: Any, lease: Any, *, announcements: Any) -> Any:
        taken = super().take(limit, lease, announcements=announcements)
        return [attrs.evolve(it, taken_at=it.cancelled_at) for it in taken]


class CallsEveryJobCancelled(memory._Outbox):
    def find(self, key: Any) -> Any:
        found = super().find(key)
        return found and attrs.evolve(found, is_undone=False)

    def take(self, limit: Any, lease: Any, *, announcements: Any) -> Any:
        taken = super().take(limit, lease, announcements=announcements)
        return [attrs.evolve(it, is_undone=False) for it in taken]


class StampsItsOwnTime(memory._Jobs):
    def mark_cancelled(self, job: Any, record: Any) -> None:
        super().mark_cancelled(job, record)
        later = record.cancelled_at + timedelta(seconds=1)
        self.rows[job.key] = attrs.evolve(self.rows[job.key], taken_at=later)


_in_memory("test_i21_a_note_of_an_earlier_life_settles_nothing", outbox=SettlesForAnyLife)
_in_memory("test_i21_of_claims_with_the_same_record_one_succeeds", outbox=ClaimsForEverybody)
_in_memory("test_i21_of_claims_with_the_same_record_one_succeeds", outbox=ClaimsWithoutATrace)
_in_memory("test_i21_another_cancellation_claims_nothing", outbox=ClaimsForAnyOperation)
_in_memory("test_i21_another_cancellation_claims_nothing", outbox=ClaimsForAnyLife)
_in_memory("test_i21_what_was_taken_is_claimed_by_who_took_it", outbox=TakesWithoutSayingWhen)
_in_memory("test_i8_a_job_that_was_set_back_keeps_its_start", outbox=CallsEveryJobCancelled)
_in_memory("test_i21_whoever_cancels_has_the_first_turn", jobs=StampsItsOwnTime)
_in_memory("test_i21_a_late_word_does_not_undo_what_is_settled", outbox=SettlesBackwards)
_in_memory("test_i21_another_operations_word_settles_nothing", outbox=SettlesForAnyOperation)
_in_memory("test_i7_reconcile_finishes_what_a_dead_process_left", outbox=TakesNothing)
_in_memory("test_i21_what_another_is_at_is_left_to_it", outbox=IgnoresTheLease)
_in_memory("test_i21_the_longest_untouched_comes_first", outbox=TakesTheSameAgain)
_in_memory("test_i21_the_longest_untouched_comes_first", outbox=TakesThePassersBy)


class StartsBlindly(memory._Work):
    def start(self, key: Any, statuses: Any, deferred_id: Any) -> bool:
        self.rows[key] = attrs.evolve(self.rows[key], status="running")
        return True


class ClaimsWithoutLookingAtTheJob(memory._Work):
    def claim(self, key: Any, statuses: Any, limit: int) -> list[str]:
        row = self.rows[key]
        rows = {key: attrs.evolve(row, status="running")}
        claimed = memory_rows.claim(rows, key, statuses, limit)
        self.rows[key] = attrs.evolve(rows[key], status=row.status)
        return claimed


class ClaimsEndedContacts(memory._Work):
    def claim(self, key: Any, statuses: Any, limit: int) -> list[str]:
        return super().claim(key, statuses | {ContactStatus.FAILED}, limit)


class ClaimsForStrangers(memory._Work):
    def claim(self, key: Any, statuses: Any, limit: int) -> list[str]:
        named = [it for it in self.rows if it.batch_job_id == key.batch_job_id]
        return super().claim(named[0] if named else key, statuses, limit)


class SettlesWhateverItIs(memory._Work):
    def settle(self, key: Any, contact_id: Any, settlement: Any) -> bool:
        row = self.rows[key]
        contacts = {**row.contacts, contact_id: settlement.status.value}
        self.rows[key] = attrs.evolve(row, contacts=contacts)
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
            memory_rows._look_at_job(self.rows, job.key, JobStatus.CANCELLED)
        cancelled = sum(status == "cancelled" for status in row.contacts.values())
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
        due = [it for it, status in row.contacts.items() if status in statuses]
        contacts = {**row.contacts, **dict.fromkeys(due, "cancelled")}
        self.rows[key] = attrs.evolve(row, contacts=contacts)
        return len(due)


class CancelsContactsOfEqualIds(memory._Contacts):
    def cancel(self, key: Any, statuses: Any) -> int:
        for it in list(self.rows):
            if it.batch_job_id == key.batch_job_id and it != key:
                super().cancel(it, statuses)
        return super().cancel(key, statuses)


def _trusting(test: str, jobs: type) -> None:
    parts = {"jobs": jobs, "contacts": TrustsItsContacts}
    _plant(jobs.__name__, test, OnMemory, StoreConformance, parts=parts)


_trusting("test_i6_a_job_that_did_not_become_cancelled_is_no_success", TrustsThatTheJobIsCancelled)
_trusting("test_i4_contacts_that_stay_open_are_no_success", LooksForNoOpenContacts)
_trusting("test_i4_a_job_with_open_contacts_is_not_marked", MarksBeforeItsContacts)
_trusting("test_i9_a_count_that_is_not_true_is_no_success", TellsACountThatIsNotTrue)
_trusting("test_i12_a_record_that_is_not_kept_is_no_success", LooksForNoRecord)
_in_memory("test_i22_a_job_of_the_same_id_is_left_alone", contacts=CancelsContactsOfEqualIds)


class FindsByTheIdAlone(memory._Outbox):
    def find(self, key: Any) -> Any:
        named = [it for it in self.rows if it.batch_job_id == key.batch_job_id]
        return super().find(named[0]) if named else None


class FindsAnotherOperationsRecord(memory._Outbox):
    def find(self, key: Any) -> Any:
        found = [row.cancellation for row in self.rows.values() if row.cancellation is not None]
        return attrs.evolve(found[0], key=key) if found else None


_in_memory("test_i16_a_strangers_record_is_not_found", outbox=FindsByTheIdAlone)
_in_memory("test_i12_the_record_found_is_that_of_the_job", outbox=FindsAnotherOperationsRecord)


class HandsOutWhatItMeant(memory._Work):
    def claim(self, key: Any, statuses: Any, limit: int) -> list[str]:
        row = self.rows[key]
        if row.status != "running":
            return []
        due = [it for it, status in row.contacts.items() if status in statuses][:limit]
        now = datetime.now(UTC)
        self.rows[key] = attrs.evolve(
            row,
            contacts={**row.contacts, **dict.fromkeys(due, "dialing")},
            dialing_since={**row.dialing_since, **dict.fromkeys(due, now)},
        )
        return due


class _Expires(memory._Work):
    """A store that ends calls by a rule of its own."""

    def _expire(self, key: Any, is_due: Callable[[Any, str], bool], status: str) -> int:
        row = self.rows.get(key)
        due = [it for it in row.contacts if is_due(row, it)] if row else []
        if row and due:
            contacts = {**row.contacts, **dict.fromkeys(due, status)}
            times = {**row.next_attempts, **dict.fromkeys(due, datetime.min.replace(tzinfo=UTC))}
            self.rows[key] = attrs.evolve(row, contacts=contacts, next_attempts=times)
        return len(due)


def _is_old(row: Any, contact_id: str, older_than: timedelta) -> bool:
    since: datetime = row.dialing_since[contact_id]
    return since < datetime.now(UTC) - older_than


class ExpiresYoungCalls(_Expires):
    def expire(self, key: Any, settlement: Any, older_than: Any) -> int:
        return self._expire(
            key, lambda row, it: row.contacts[it] == "dialing", settlement.status.value
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
            lambda row, it: row.contacts[it] == "dialing" and _is_old(row, it, older_than),
            settlement.status.value,
        )


_in_memory("test_i1_a_contact_that_is_not_dialing_is_not_handed_out", work=HandsOutWhatItMeant)
_in_memory("test_i1_an_old_call_is_made_again", work=ExpiresYoungCalls)
_in_memory("test_i1_an_old_call_is_made_again", work=ExpiresForLater)
_in_memory("test_i15_only_a_live_call_expires", work=ExpiresWhateverItIs)
_in_memory(
    "test_i4_an_old_call_of_a_cancelled_job_is_not_made_again",
    work=ExpiresWithoutLookingAtTheJob,
)
_in_memory("test_i16_old_calls_of_other_jobs_are_left_alone", work=ExpiresCallsOfAllJobs)
_in_memory(
    "test_i22_old_calls_of_a_job_of_the_same_id_are_left_alone", work=ExpiresCallsOfEqualIds
)
_in_memory("test_i20_an_expiry_that_was_undone_is_no_success", work=TrustsWhatItExpired)


class GuessesTheTime(adapters_under_test.MemoryTables):
    """It is declared not to know since when a contact is dialing, and ends calls all the same."""

    guards = ALL_GUARDS - {"expire"}


_plant(
    "GuessesTheTime",
    "test_i20_a_store_that_does_not_know_the_time_ends_no_calls",
    GuessesTheTime,
    StoreConformance,
)

_in_memory("test_i2_an_ended_job_is_not_started", work=StartsBlindly)
_in_memory("test_i1_only_a_running_job_is_called", work=ClaimsWithoutLookingAtTheJob)
_in_memory("test_i15_open_contacts_alone_are_called", work=ClaimsEndedContacts)
_in_memory("test_i16_a_strangers_worker_does_nothing", work=ClaimsForStrangers)
_in_memory("test_i3_only_a_live_call_ends", work=SettlesWhateverItIs)
_in_memory("test_i15_a_call_that_came_to_its_end_keeps_it", work=CancelsEveryCall)
_in_memory("test_i2_a_running_job_without_work_alone_is_finished", work=FinishesWithOpenContacts)
_in_memory("test_i2_a_running_job_without_work_alone_is_finished", work=FinishesBlindly)


class CommitsOnException(MemoryStore):
    @contextmanager
    def begin(self) -> Generator[Any]:
        """Commit, whatever happens."""
        failure: Exception | None = None
        with super().begin() as it:
            try:
                yield it
            except Exception as error:  # noqa: BLE001  # The bug.
                failure = error
        if failure:
            raise failure


class CommitsOnBaseException(MemoryStore):
    @contextmanager
    def begin(self) -> Generator[Any]:
        """Roll back for an Exception only."""
        stop: BaseException | None = None
        with super().begin() as it:
            try:
                yield it
            except Exception:
                raise
            except BaseException as error:  # noqa: BLE001  # The bug.
                stop = error
        if stop:
            raise stop


class SwallowsBaseException(MemoryStore):
    @contextmanager
    def begin(self) -> Generator[Any]:
        """Let nothing out but an Exception."""
        try:
            with super().begin() as it:
                yield it
        except Exception:
            raise
        except BaseException as error:  # The bug.
            raise RuntimeError from error


class IgnoresSavepoints(MemoryStore):
    @contextmanager
    def begin(self) -> Generator[Any]:
        """Take part in the transaction that is open, whatever comes of this one."""
        if self._top is self._committed:
            with super().begin() as it:
                yield it
        else:
            rows = self._top
            yield SimpleNamespace(
                jobs=memory._Jobs(rows),
                contacts=memory._Contacts(rows),
                outbox=memory._Outbox(rows),
                inspection=memory._Inspection(rows),
                work=memory._Work(rows),
            )


class CommitsForTheCaller(MemoryStore):
    @contextmanager
    def begin(self) -> Generator[Any]:
        """Commit what is within at once."""
        with super().begin() as it:
            yield it
        if self._top is not self._committed:
            self._committed.update(self._top)


class HidesThatItIsJoined(MemoryStore):
    @property
    def is_joined(self) -> bool:
        """Say that every transaction is one of its own."""
        return False


for _kind, _test in (
    (HidesThatItIsJoined, "test_i8_a_whole_cancel_in_a_callers_transaction_is_refused"),
    (CommitsOnException, "test_i17_an_exception_undoes_everything"),
    (CommitsOnBaseException, "test_i19_a_base_exception_passes_unchanged"),
    (SwallowsBaseException, "test_i19_a_base_exception_passes_unchanged"),
    (IgnoresSavepoints, "test_i17_a_joined_cancel_that_fails_is_undone_alone"),
    (CommitsForTheCaller, "test_i17_the_callers_rollback_undoes_a_joined_cancel"),
):
    _plant(_kind.__name__, _test, adapters_under_test.MemoryTables, StoreConformance, kind=_kind)


class DeclaresLessThanItHas(adapters_under_test.MemoryTables):
    """Its tests of records would be skipped."""

    records = False


_plant(
    "DeclaresLessThanItHas",
    "test_i20_what_is_declared_is_what_there_is",
    DeclaresLessThanItHas,
    StoreConformance,
)


# In a file --------------------------------------------------------------------------------------


class OnFile(own_adapter_test.TestOwnStore):
    """The example adapter, with a bug in its transactions."""

    begin: ClassVar[Any]

    def uow(self) -> Any:
        """Give a unit of work that begins by the bug."""
        store = own_adapter.OwnStore(self.path)
        return SimpleNamespace(begin=lambda: type(self).begin(store))


del own_adapter_test  # Its tests are run where they are.


@contextmanager
def _autocommits(store: Any) -> Generator[Any]:
    connection = sqlite3.connect(store.path, isolation_level=None)
    try:
        yield own_adapter.Transaction(connection)
    finally:
        connection.close()


@contextmanager
def _begins_without_the_lock(store: Any) -> Generator[Any]:
    with sqlite3.connect(store.path, isolation_level="DEFERRED") as connection:
        yield own_adapter.Transaction(connection)
    connection.close()


_abandoned: list[sqlite3.Connection] = []


@contextmanager
def _leaves_the_lock(store: Any) -> Generator[Any]:
    connection = sqlite3.connect(store.path, isolation_level=None, timeout=0.1)
    connection.execute("BEGIN IMMEDIATE")
    _abandoned.append(connection)
    yield own_adapter.Transaction(connection)
    connection.execute("COMMIT")


for _begin, _test in (
    (_autocommits, "test_i17_nothing_is_seen_before_the_commit"),
    (_begins_without_the_lock, "test_i5_of_two_cancels_at_once_one_succeeds"),
    (_leaves_the_lock, "test_i18_a_transaction_given_up_leaves_no_lock"),
):
    _name = "".join(it.title() for it in _begin.__name__.split("_"))
    _plant(_name, _test, OnFile, StoreConformance, begin=staticmethod(_begin))


# On Postgres -------------------------------------------------------------------------------------


class Rewritten:
    """The statements, with one piece of text in the place of another."""

    def __init__(self, queries: Any, swaps: Mapping[str, str]) -> None:
        self._queries = queries
        self._swaps = swaps

    def __getattr__(self, name: str) -> Any:
        it = getattr(self._queries, name)
        return (
            (lambda *given: self._rewritten(it(*given))) if callable(it) else self._rewritten(it)
        )

    def _rewritten(self, it: Any) -> Any:
        if isinstance(it, tuple):
            return tuple(self._rewritten(one) for one in it)
        if not isinstance(it, sql.Composable):
            return it
        text = it.as_string(None)
        for old, new in self._swaps.items():
            text = text.replace(old, new)
        return sql.SQL(text)  # pyright: ignore[reportArgumentType]


class RewrittenUnitOfWork(PostgresUnitOfWork):
    """Postgres with other statements."""

    swaps: Mapping[str, str]

    @contextmanager
    def begin(self) -> Generator[Any]:
        """Open a transaction with the statements rewritten."""
        with super().begin() as it:
            for name in ("jobs", "contacts", "outbox", "inspection", "work"):
                part = getattr(it, name)
                queries = Rewritten(part.queries, self.swaps)
                setattr(it, name, attrs.evolve(part, queries=queries))
            yield it


class LockingUnitOfWork(RewrittenUnitOfWork):
    """Postgres whose outbox locks the job of the record that it finds."""

    @contextmanager
    def begin(self) -> Generator[Any]:
        """Open a transaction with that outbox."""
        with super().begin() as it:
            outbox, jobs = it.outbox, it.jobs

            def find(key: JobKey) -> Any:
                jobs.lock(key)
                return outbox.find(key)

            yield SimpleNamespace(
                jobs=jobs,
                contacts=it.contacts,
                outbox=SimpleNamespace(
                    find=find, claim=outbox.claim, settle=outbox.settle, take=outbox.take
                ),
                inspection=it.inspection,
                work=it.work,
            )


class ReadingUnitOfWork(RewrittenUnitOfWork):
    """Postgres whose outbox reads the turn first, and writes it after."""

    @contextmanager
    def begin(self) -> Generator[Any]:
        """Open a transaction with that outbox."""
        with super().begin() as it:
            outbox = it.outbox

            def claim(record: Any) -> Any:
                found = outbox.find(record.key)
                if found is None or found.taken_at != record.taken_at:
                    return None
                it.jobs.connection.execute(
                    "UPDATE batch_cancellations SET taken_at = clock_timestamp() "
                    "WHERE batch_job_id = %s",
                    [record.key.batch_job_id],
                )
                return outbox.find(record.key)

            yield SimpleNamespace(
                jobs=it.jobs,
                contacts=it.contacts,
                outbox=SimpleNamespace(
                    find=outbox.find, claim=claim, settle=outbox.settle, take=outbox.take
                ),
                inspection=it.inspection,
                work=it.work,
            )


class OnPostgres(adapters_under_test.PostgresTables):
    """Postgres with a bug in its statements, or in a worker's own."""

    swaps: ClassVar[Mapping[str, str]] = {}

    def uow(self) -> Any:
        """Give a unit of work with the bug."""
        uow = RewrittenUnitOfWork(self._connect, lock_timeout=SECOND)
        uow.swaps = self.swaps
        return uow

    def send(self, statement: str, values: Sequence[object]) -> int:
        """Send a worker's own statement, and commit it."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            return connection.execute(statement.encode(), values).rowcount


def _rewritten(name: str, test: str, **swaps: str) -> None:
    _plant(name, test, OnPostgres, StoreConformance, swaps=swaps)


LOCK: Final = "FOR NO KEY UPDATE\n)\nSELECT locked"
_plant(
    "LocksNothing",
    "test_i5_of_two_cancels_at_once_one_succeeds",
    OnPostgres,
    StoreConformance,
    swaps={LOCK: ")\nSELECT locked"},
)


class LocksTheStrangersRow(OnPostgres):
    """It locks by id, and looks at the organization afterwards."""

    swaps: ClassVar[Mapping[str, str]] = {
        ' AND "organization_id" IS NOT DISTINCT FROM %(organization_id)s': "",
        "clock_timestamp() FROM locked": (
            "clock_timestamp() FROM locked "
            "WHERE organization_id IS NOT DISTINCT FROM %(organization_id)s"
        ),
    }


_plant(
    "LocksTheStrangersRow",
    "test_i16_a_stranger_can_not_lock_the_job",
    LocksTheStrangersRow,
    StoreConformance,
)
_plant(
    "LocksAllJobs",
    "test_i16_other_jobs_are_not_locked",
    OnPostgres,
    StoreConformance,
    swaps={
        "WITH locked AS MATERIALIZED (": (
            "WITH everything AS MATERIALIZED (SELECT pg_advisory_xact_lock(4711) AS it), "
            "locked AS MATERIALIZED ("
        ),
        "FROM locked": "FROM locked, everything WHERE everything.it IS NOT NULL",
    },
)
_plant(
    "TouchesTheTimeOfEveryContact",
    "test_i3_an_ended_contact_is_never_changed",
    OnPostgres,
    StoreConformance,
    swaps={
        'SET "status" = \'cancelled\', "updated_at"': (
            "SET \"status\" = CASE WHEN \"status\" IN ('pending', 'queued', 'no_answer', 'busy', "
            "'timeout') THEN 'cancelled' ELSE \"status\" END, \"updated_at\""
        ),
        "AND \"status\" IN ('busy', 'no_answer', 'pending', 'queued', 'timeout')": "",
    },
)


class LeaksConnections(OnPostgres):
    """What failed is never closed."""

    def uow(self) -> Any:
        """Give connections that only a success closes."""

        @contextmanager
        def connect() -> Generator[Any]:
            connection = self._connect()
            yield connection
            connection.close()

        return PostgresUnitOfWork(connect)

    def close(self) -> None:
        """Clean up behind the bug."""
        for connection in self.opened:
            connection.close()


_plant("LeaksConnections", "test_i18_no_connection_is_leaked", LeaksConnections, StoreConformance)


class StartsByCheckThenAct(OnPostgres):
    """It looks, and then writes."""

    def start(self, key: JobKey) -> bool:
        """Start a job that was startable a moment ago."""
        status = "SELECT FROM batch_jobs WHERE id = %s AND status IN ('scheduled', 'pending')"
        if not self.send(status, [key.batch_job_id]):
            return False
        update = "UPDATE batch_jobs SET status = 'running' WHERE id = %s"
        return self.send(update, [key.batch_job_id]) == 1


class FinishesByCheckThenAct(OnPostgres):
    """It looks, and then writes."""

    def finish(self, key: JobKey) -> bool:
        """Finish a job that had nothing left to do a moment ago."""
        status = "SELECT FROM batch_jobs WHERE id = %s AND status = 'running'"
        if not self.send(status, [key.batch_job_id]):
            return False
        update = "UPDATE batch_jobs SET status = 'completed' WHERE id = %s"
        return self.send(update, [key.batch_job_id]) == 1


class SettlesWithoutTheLock(OnPostgres):
    """It reads the job's status in the statement that writes."""

    def settle(self, key: JobKey, contact_id: str, outcome: ContactStatus) -> int:
        """Settle by the status from before."""
        update = (
            "UPDATE batch_contacts SET status = CASE WHEN (SELECT status FROM batch_jobs WHERE "
            "id = %s) = 'cancelled' AND %s::text IN ('queued', 'no_answer', 'busy', 'timeout') "
            "THEN 'cancelled' ELSE %s END WHERE id = %s AND status = 'dialing'"
        )
        return self.send(update, [key.batch_job_id, outcome, outcome, int(contact_id)])


class SettlesWithoutLookingAtTheJob(OnPostgres):
    """It writes how the call ended, whatever became of the job."""

    def settle(self, key: JobKey, contact_id: str, outcome: ContactStatus) -> int:
        """Settle by the outcome alone."""
        update = "UPDATE batch_contacts SET status = %s WHERE id = %s AND status = 'dialing'"
        return self.send(update, [outcome, int(contact_id)])


class AppendsWithoutTheLock(OnPostgres):
    """It inserts if the job was live a moment ago."""

    def append(self, key: JobKey) -> int:
        """Insert by the status from before."""
        insert = (
            "INSERT INTO batch_contacts (batch_job_id) SELECT id FROM batch_jobs "
            "WHERE id = %s AND status IN ('scheduled', 'pending', 'running')"
        )
        if not self.send(insert, [key.batch_job_id]):
            msg = "the job has ended"
            raise RuntimeError(msg)
        return 1


class AppendsToACancelledJob(OnPostgres):
    """It does not look at the job."""

    def append(self, key: JobKey) -> int:
        """Insert."""
        return self.send(
            "INSERT INTO batch_contacts (batch_job_id) VALUES (%s)", [key.batch_job_id]
        )


class ClaimsWhatItWaitedFor(OnPostgres):
    """It chooses its contacts first, and takes them in another statement, whatever they are."""

    def claim(self, key: JobKey, limit: int) -> list[str]:
        """Take what was open a moment ago."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            chosen = connection.execute(
                "SELECT contact.id FROM batch_contacts contact JOIN batch_jobs job "
                "ON job.id = batch_job_id WHERE job.id = %s AND job.status = 'running' "
                "AND contact.status IN ('pending', 'queued', 'no_answer', 'busy', 'timeout') "
                "ORDER BY contact.id LIMIT %s",
                [key.batch_job_id, limit],
            ).fetchall()
            taken = connection.execute(
                "UPDATE batch_contacts SET status = 'dialing' WHERE id = ANY(%s) "
                "RETURNING id::text",
                [[contact_id for (contact_id,) in chosen]],
            )
            return [contact_id for (contact_id,) in taken]


class ExpiresWithoutTheLock(OnPostgres):
    """It reads the job's status in the statement that writes."""

    def expire(self, key: JobKey, older_than: timedelta) -> int:
        """Expire by the status from before."""
        update = (
            "UPDATE batch_contacts SET status = CASE WHEN (SELECT status FROM batch_jobs WHERE "
            "id = %s) = 'cancelled' THEN 'cancelled' ELSE 'timeout' END "
            "WHERE batch_job_id = %s AND status = 'dialing' AND updated_at < now() - %s"
        )
        return self.send(update, [key.batch_job_id, key.batch_job_id, older_than])


class ExpiresWhatItRead(OnPostgres):
    """It chooses its contacts first, and writes them in another statement, whatever they are."""

    def expire(self, key: JobKey, older_than: timedelta) -> int:
        """End what was live a moment ago."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            chosen = connection.execute(
                "SELECT id, pg_sleep(0.05) FROM batch_contacts WHERE batch_job_id = %s "
                "AND status = 'dialing' AND updated_at < now() - %s",
                [key.batch_job_id, older_than],
            ).fetchall()
            ended = connection.execute(
                "UPDATE batch_contacts SET status = 'timeout' WHERE id = ANY(%s)",
                [[contact_id for contact_id, _ in chosen]],
            )
            return ended.rowcount


class LocksWhatItFinds(OnPostgres):
    """It reads the record as one that is about to write it."""

    def uow(self) -> Any:
        """Give a unit of work with the bug."""
        uow = LockingUnitOfWork(self._connect, lock_timeout=SECOND)
        uow.swaps = {}
        return uow


class ClaimsWhatItRead(OnPostgres):
    """It compares the turn in one statement, and sets it in another."""

    def uow(self) -> Any:
        """Give a unit of work with the bug."""
        uow = ReadingUnitOfWork(self._connect, lock_timeout=SECOND)
        uow.swaps = {}
        return uow


for _bug, _test in (
    (ClaimsWhatItRead, "test_i21_of_claims_at_once_one_succeeds"),
    (ExpiresWithoutTheLock, "test_i4_calls_that_expire_beside_a_cancel_leave_nothing_open"),
    (ExpiresWhatItRead, "test_i3_a_call_that_ends_while_it_expires_ends_once"),
    (LocksWhatItFinds, "test_i16_finding_a_record_locks_nothing"),
    (StartsByCheckThenAct, "test_i2_a_start_beside_a_cancel_does_not_undo_it"),
    (FinishesByCheckThenAct, "test_i2_a_finish_beside_a_cancel_does_not_undo_it"),
    (SettlesWithoutTheLock, "test_i4_a_settlement_beside_a_cancel_leaves_nothing_open"),
    (SettlesWithoutLookingAtTheJob, "test_i4_a_call_of_a_cancelled_job_is_not_retried"),
    (AppendsWithoutTheLock, "test_i4_an_append_beside_a_cancel_leaves_nothing_open"),
    (AppendsToACancelledJob, "test_i4_an_ended_job_gets_no_contacts"),
    (ClaimsWhatItWaitedFor, "test_i1_a_claim_beside_a_cancel_takes_nothing_back"),
):
    _plant(_bug.__name__, _test, _bug, StoreConformance)


# Schedulers --------------------------------------------------------------------------------------


class AlwaysTrue(MemoryScheduler):
    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        super().cancel(deferred_id, operation_id)
        return True


class ForgetsWhoRemovedIt(MemoryScheduler):
    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        was_waiting = deferred_id in self.waiting()
        super().cancel(deferred_id, operation_id)
        return was_waiting


class StartsInsteadOfRemoving(MemoryScheduler):
    """As arq's abort does: the entry is made due, so that a worker takes it and lets it go."""

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        return deferred_id in self.waiting()


class TellsEveryoneThatItIsGone(MemoryScheduler):
    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        super().cancel(deferred_id, operation_id)
        return self._by_id[deferred_id].state.value == "cancelled"


class TakesTheIdForAPrefix(MemoryScheduler):
    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        for it in list(self._by_id):
            if it.startswith(deferred_id) and it != deferred_id:
                super().cancel(it, operation_id)
        return super().cancel(deferred_id, operation_id)


class CountsWhatHasFired(MemoryScheduler):
    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        is_known = deferred_id in self._by_id
        super().cancel(deferred_id, operation_id)
        by = self._by_id[deferred_id].operation_id
        return is_known and by in {None, operation_id}


for _scheduler, _test in (
    (AlwaysTrue, "test_i10_what_was_not_there_was_not_removed"),
    (ForgetsWhoRemovedIt, "test_i12_the_same_removal_again_gets_the_same_answer"),
    (StartsInsteadOfRemoving, "test_i10_what_was_taken_back_never_fires"),
    (TellsEveryoneThatItIsGone, "test_i10_another_operation_removed_nothing"),
    (TakesTheIdForAPrefix, "test_i16_a_deferred_id_is_just_its_bytes"),
    (CountsWhatHasFired, "test_i10_what_has_fired_was_not_removed"),
):
    _plant(
        _scheduler.__name__,
        _test,
        adapters_under_test.MemoryStarts,
        SchedulerConformance,
        scheduler=lambda _, kind=_scheduler: kind(),
    )
