"""Bugs of a scheduler."""

from __future__ import annotations

from collections.abc import Sequence

from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.testing.conformance import SchedulerConformance
from tests import adapters_under_test
from tests.proof.broken_adapters.planting import plant


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


class AnswersForManyInAnotherOrder(MemoryScheduler):
    def cancel_many(self, starts: Sequence[tuple[str, str]]) -> list[bool]:
        return sorted(self.cancel(*it) for it in starts)


class AnswersForManyOfThoseThatItRemoved(MemoryScheduler):
    def cancel_many(self, starts: Sequence[tuple[str, str]]) -> list[bool]:
        return [it for it in [self.cancel(*start) for start in starts] if it]


class RemovesTheFirstOfMany(MemoryScheduler):
    def cancel_many(self, starts: Sequence[tuple[str, str]]) -> list[bool]:
        waits = self.waiting()
        self.cancel(*starts[1])
        return [it in waits or it.startswith("mine") for it, _ in starts]


class AnswersWithANumber(MemoryScheduler):
    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        return int(super().cancel(deferred_id, operation_id))  # type: ignore[return-value]


class AnswersForManyWithNumbers(MemoryScheduler):
    def cancel_many(self, starts: Sequence[tuple[str, str]]) -> list[int]:
        return [int(self.cancel(*it)) for it in starts]


for _scheduler, _test in (
    (AlwaysTrue, "test_i10_what_was_not_there_was_not_removed"),
    (ForgetsWhoRemovedIt, "test_i12_the_same_removal_again_gets_the_same_answer"),
    (StartsInsteadOfRemoving, "test_i10_what_was_taken_back_never_fires"),
    (TellsEveryoneThatItIsGone, "test_i10_another_operation_removed_nothing"),
    (TakesTheIdForAPrefix, "test_i16_a_deferred_id_is_just_its_bytes"),
    (CountsWhatHasFired, "test_i10_what_has_fired_was_not_removed"),
    (AnswersForManyInAnotherOrder, "test_i10_many_starts_are_answered_as_each_alone"),
    (AnswersForManyOfThoseThatItRemoved, "test_i10_many_starts_are_answered_as_each_alone"),
    (AnswersWithANumber, "test_i10_what_was_taken_back_never_fires"),
    (AnswersForManyWithNumbers, "test_i10_many_starts_are_answered_as_each_alone"),
    (RemovesTheFirstOfMany, "test_i10_many_starts_are_answered_as_each_alone"),
):
    plant(
        _scheduler.__name__,
        _test,
        adapters_under_test.MemoryStarts,
        SchedulerConformance,
        scheduler=lambda _, kind=_scheduler: kind(),
    )
