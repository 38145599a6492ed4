"""Bugs of a cancel in the memory store: of the job, its record and its contacts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from batch_cancel.adapters.memory import repositories as memory
from batch_cancel.adapters.memory import rows as memory_rows
from batch_cancel.adapters.memory.contacts import Contact
from tests.proof.broken_adapters.memory_store import in_memory
from tests.proof.broken_adapters.planting import ENDED


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
        return memory_rows.job_of(self.rows, key)


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


in_memory("test_i6_a_live_job_is_cancelled", jobs=MarksNothing)
in_memory("test_i12_the_same_operation_again_gets_the_same_answer", jobs=KeepsNoRecord)
in_memory("test_i9_the_record_says_who_why_when_and_how_much", jobs=CutsTheReason)
in_memory("test_i12_a_commit_whose_answer_was_lost_is_asked_for_again", jobs=LosesTheRecord)
in_memory(
    "test_i2_another_operation_is_told_when_and_how_much", jobs=FindsTheRecordByOperationAlone
)
in_memory(
    "test_i7_a_job_started_early_has_no_deferred_start_either",
    jobs=NamesNoStartOfAJobStartedEarly,
)
in_memory("test_i16_a_strangers_job_is_not_there", jobs=TakesNoneForAWildcard)
in_memory("test_i16_a_strangers_job_is_not_there", jobs=LeavesOutTheOrganization)
in_memory("test_i6_an_organization_cancels_its_own_job", jobs=ComparesNullWithEquals)
in_memory("test_i11_a_missing_job_is_not_found", jobs=RaisesForAMissingJob)
in_memory("test_i11_any_id_may_be_asked_for", jobs=FormatsTheId)
in_memory("test_i16_an_id_is_just_its_bytes", jobs=TrimsTheId)
in_memory("test_i10_no_start_is_no_removal", jobs=MakesUpADeferredId)
in_memory(
    "test_i10_the_scheduler_is_asked_for_the_jobs_own_start", jobs=TakesTheJobsIdForTheDeferredOne
)
in_memory("test_i11_a_job_in_a_status_nobody_knows_is_left_alone", jobs=GuessesTheStatus)


class Contacts(memory._Contacts):
    """Contacts of which a bug chooses which to cancel."""

    def _cancel(self, key: Any, is_due: Callable[[str | None], bool]) -> int:
        row = self.rows[key]
        due = [it for it, contact in row.contacts.items() if is_due(contact.status)]
        cancelled = dict.fromkeys(due, Contact("cancelled"))
        self.rows[key] = attrs.evolve(row, contacts=row.contacts | cancelled)
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
    def cancel(self, key: Any, statuses: Any) -> int | None:
        return [super(type(self), self).cancel(it, statuses) for it in (*self.rows, key)][-1]


class CountsAllContacts(Contacts):
    def cancel(self, key: Any, statuses: Any) -> int:
        super().cancel(key, statuses)
        return len(self.rows[key].contacts.among({"cancelled"}))


in_memory("test_i15_a_live_call_is_left_alone", contacts=ChoosesByADenyList)
in_memory("test_i4_every_open_contact_is_cancelled", contacts=ForgetsAStatus)
in_memory("test_i3_an_ended_contact_is_never_changed", contacts=TouchesEndedContacts)
in_memory("test_i15_a_contact_in_a_status_nobody_knows_is_left_alone", contacts=IgnoresCase)
in_memory("test_i16_other_jobs_stay_as_they_are", contacts=CancelsOtherJobsContacts)
in_memory("test_i9_the_count_is_of_the_rows_changed", contacts=CountsAllContacts)


class CancelsContactsOfEqualIds(memory._Contacts):
    def cancel(self, key: Any, statuses: Any) -> int | None:
        for it in list(self.rows):
            if it.batch_job_id == key.batch_job_id and it != key:
                super().cancel(it, statuses)
        return super().cancel(key, statuses)


in_memory("test_i22_a_job_of_the_same_id_is_left_alone", contacts=CancelsContactsOfEqualIds)
