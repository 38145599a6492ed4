"""The kit's tests of a scheduler: a removed start never fires, and is reported once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import cast

import pytest

from batch_cancel.domain.errors import shown
from batch_cancel.testing.adapter import (
    AnyScheduler,
    Maybe,
    SchedulerAdapter,
)
from batch_cancel.testing.invariants import promise
from batch_cancel.testing.runner import Runner, ended, expect
from batch_cancel.testing.strategies import (
    HOSTILE_IDS,
)


class Timetable(Runner):
    """A scheduler under test, empty at first."""

    def __init__(self, adapter: SchedulerAdapter) -> None:
        super().__init__(is_async=adapter.is_async)
        self._adapter = adapter
        scheduler = self.run(adapter.scheduler)
        # mypy takes it for an object.
        self.scheduler: AnyScheduler = cast("AnyScheduler", scheduler)  # pyright: ignore[reportUnnecessaryCast]

    def close(self) -> None:
        """Let go of everything."""
        self.run(self._adapter.close)
        super().close()

    def missing(self, need: str) -> str | None:
        """Return that a scheduler has no capabilities to declare."""
        return f"no scheduler offers {need}"

    def schedule(self, *deferred_ids: str) -> None:
        """Schedule starts."""
        for it in deferred_ids:
            self.note(f"scheduled {shown(it)}")
            self.run(partial(self._adapter.schedule, self.scheduler, it))

    def waiting(self) -> set[str]:
        """Return the starts that wait."""
        return set(self.run(lambda: self._adapter.waiting(self.scheduler)))

    def fire(self) -> set[str]:
        """Let fire what would, and give what did."""
        fired = set(self.run(lambda: self._adapter.fire(self.scheduler)))
        self.note(f"let the day come; fired: {sorted(fired)}")
        return fired

    def cancel(self, deferred_id: str, operation_id: str) -> object:
        """Take a start back."""
        answer = self.run(self.cancelling(deferred_id, operation_id))
        self.note(f"cancel {shown(deferred_id)}, operation {shown(operation_id)} -> {answer!r}")
        # Anything else, such as a count, confirms nothing, and the removal stays pending.
        expect(type(answer), bool, "The type of the answer:")
        return answer

    def cancel_many(self, *starts: tuple[str, str]) -> list[object]:
        """Take starts back at once; skip the test of a scheduler that cannot."""
        many: Callable[[object], Maybe[object]] | None
        many = getattr(self.scheduler, "cancel_many", None)
        if many is None:
            pytest.skip("declared: it has no `cancel_many`")
        found = self.run(lambda: many([*starts]))
        self.note(f"cancel_many {[*starts]} -> {found!r}")
        expect(isinstance(found, Sequence), True, "Whether the answers are in an order:")
        answers = [*cast("Sequence[object]", found)]
        expect({type(it) for it in answers}, {bool}, "The types of the answers:")
        return answers

    def cancelling(self, deferred_id: str, operation_id: str) -> Callable[[], Maybe[bool]]:
        """Return a cancel to be done beside something else."""
        return lambda: self.scheduler.cancel(deferred_id, operation_id)


class SchedulerConformance(SchedulerAdapter):
    """The suite for a scheduler: give `scheduler`, `schedule`, `waiting` and `fire`."""

    @pytest.fixture
    def timetable(self) -> Iterator[Timetable]:
        """Yield an empty scheduler."""
        timetable = Timetable(self)
        yield timetable
        timetable.close()

    @promise(
        "I10",
        cause="the entry is only flagged, or started at once so as to be aborted (as arq's "
        "abort): delete it.",
    )
    def test_i10_what_was_taken_back_never_fires(self, timetable: Timetable) -> None:
        """True, and only the others fire."""
        timetable.schedule("mine", "theirs")
        expect(timetable.cancel("mine", "op"), True, "The answer:")
        expect(timetable.waiting(), {"theirs"}, "The starts that still wait:")
        expect(timetable.fire(), {"theirs"}, "The starts that fired:")

    @promise("I10", cause="the answer is that of asking, not of removing: give what DEL gives.")
    def test_i10_what_was_not_there_was_not_removed(self, timetable: Timetable) -> None:
        """False, and nothing else is harmed."""
        timetable.schedule("theirs")
        expect(timetable.cancel("mine", "op"), False, "The answer:")
        expect(timetable.waiting(), {"theirs"}, "The starts that still wait:")

    @promise("I10", cause="a start that was handed out is still found, in another key.")
    def test_i10_what_has_fired_was_not_removed(self, timetable: Timetable) -> None:
        """False: the start won."""
        timetable.schedule("mine")
        expect(timetable.fire(), {"mine"}, "The starts that fired:")
        expect(timetable.cancel("mine", "op"), False, "The answer:")

    @promise(
        "I12",
        cause="a second removal finds nothing and says False: remember the operation that "
        "removed it.",
    )
    def test_i12_the_same_removal_again_gets_the_same_answer(self, timetable: Timetable) -> None:
        """Whatever was lost on the way."""
        timetable.schedule("mine")
        answers = [timetable.cancel("mine", "op") for _ in range(3)]
        expect(answers, [True, True, True], "The answers:")
        absent = [timetable.cancel("absent", "op") for _ in range(2)]
        expect(absent, [False, False], "The answers for a start that was not there:")

    @promise("I10", cause="True is said of the entry's end, not of who ended it.")
    def test_i10_another_operation_removed_nothing(self, timetable: Timetable) -> None:
        """False, and the first one's answer stays."""
        timetable.schedule("mine")
        answers = [timetable.cancel("mine", it) for it in ("first", "second", "first")]
        expect(answers, [True, False, True], "The answers to first, second, first:")

    @promise(
        "I10",
        cause="`cancel_many` gives its answers in another order, or not one for each start.",
    )
    def test_i10_many_starts_are_answered_as_each_alone(self, timetable: Timetable) -> None:
        """In their order, for an optional `cancel_many`; the others still fire."""
        timetable.schedule("theirs", "mine", "another's", "mine too")
        timetable.cancel("another's", "other")
        starts = ("absent", "mine", "another's", "mine too")
        for _ in range(2):
            answers = timetable.cancel_many(*((it, "op") for it in starts))
            expect(answers, [False, True, False, True], "The answers:")
        expect(timetable.fire(), {"theirs"}, "The starts that fired:")

    @promise("I5", cause="looking and removing are two steps: make them one (DEL, a script).")
    def test_i5_of_cancels_at_once_one_removed_it(self, timetable: Timetable) -> None:
        """Of four operations."""
        for number in range(10):
            start = f"start-{number}"
            timetable.schedule(start)
            parties = [timetable.beside(timetable.cancelling(start, f"op-{it}")) for it in "abcd"]
            answers = [ended(party) for party in parties]
            timetable.note(f"four cancels of {start!r} at once -> {answers}")
            expect(sorted(answers), [False, False, False, True], "The answers, sorted:")

    @pytest.mark.parametrize("hostile", HOSTILE_IDS, ids=range(len(HOSTILE_IDS)))
    @promise(
        "I16",
        cause="an id is used as a pattern, or in a key that is split again. If no id passes: the "
        "answer is not kept with its operation, and the test of I12 says more.",
    )
    def test_i16_a_deferred_id_is_just_its_bytes(self, timetable: Timetable, hostile: str) -> None:
        """The start's and the operation's."""
        timetable.schedule(hostile, "theirs", f"{hostile[:1000]}!")
        expect(timetable.cancel(hostile, hostile), True, "The answer:")
        expect(
            timetable.waiting(), {"theirs", f"{hostile[:1000]}!"}, "The starts that still wait:"
        )
        expect(timetable.cancel(hostile, hostile), True, "The answer to the same again:")
        expect(timetable.cancel(hostile, f"{hostile}!"), False, "The answer to another:")
