"""Bugs of the outbox in the memory store: of take, claim, settle and find."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import attrs

from batch_cancel.adapters.memory import repositories as memory
from batch_cancel.adapters.memory import rows as memory_rows
from tests.proof.broken_adapters.memory_store import in_memory


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
        rows = memory_rows.Rows({**self.rows})
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
        rows = memory_rows.Rows({**self.rows})
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


in_memory("test_i21_a_note_of_an_earlier_life_settles_nothing", outbox=SettlesForAnyLife)
in_memory("test_i21_of_claims_with_the_same_record_one_succeeds", outbox=ClaimsForEverybody)
in_memory("test_i21_of_claims_with_the_same_record_one_succeeds", outbox=ClaimsWithoutATrace)
in_memory("test_i21_another_cancellation_claims_nothing", outbox=ClaimsForAnyOperation)
in_memory("test_i21_another_cancellation_claims_nothing", outbox=ClaimsForAnyLife)
in_memory("test_i21_what_was_taken_is_claimed_by_who_took_it", outbox=TakesWithoutSayingWhen)
in_memory("test_i8_a_job_that_was_set_back_keeps_its_start", outbox=CallsEveryJobCancelled)
in_memory("test_i21_whoever_cancels_has_the_first_turn", jobs=StampsItsOwnTime)
in_memory("test_i21_a_late_word_does_not_undo_what_is_settled", outbox=SettlesBackwards)
in_memory("test_i21_another_operations_word_settles_nothing", outbox=SettlesForAnyOperation)
in_memory("test_i7_reconcile_finishes_what_a_dead_process_left", outbox=TakesNothing)
in_memory("test_i21_what_another_is_at_is_left_to_it", outbox=IgnoresTheLease)
in_memory("test_i21_the_longest_untouched_comes_first", outbox=TakesTheSameAgain)
in_memory("test_i21_the_longest_untouched_comes_first", outbox=TakesThePassersBy)


class FindsByTheIdAlone(memory._Outbox):
    def find(self, key: Any) -> Any:
        named = [it for it in self.rows if it.batch_job_id == key.batch_job_id]
        return super().find(named[0]) if named else None


class FindsAnotherOperationsRecord(memory._Outbox):
    def find(self, key: Any) -> Any:
        found = [row.cancellation for row in self.rows.values() if row.cancellation is not None]
        return attrs.evolve(found[0], key=key) if found else None


in_memory("test_i16_a_strangers_record_is_not_found", outbox=FindsByTheIdAlone)
in_memory("test_i12_the_record_found_is_that_of_the_job", outbox=FindsAnotherOperationsRecord)
