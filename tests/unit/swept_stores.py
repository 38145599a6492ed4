"""Stores with a job that is swept, and sweeps that answer oddly or are cut short."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from batch_cancel import cancel_job
from batch_cancel.adapters.memory import MemoryScheduler, MemoryStore
from batch_cancel.testing.breakpoints import Hooked


class Killed(BaseException):
    """Ends the process."""


def store_of(contacts: int, **more: Any) -> MemoryStore:
    """Return a store with a running job, which sweeps above two contacts."""
    store = MemoryStore(sweep_above=2, **more)
    store.add_job("j", "running")
    store.add_contacts("j", {str(number): "pending" for number in range(contacts)})
    return store


def kill(store: MemoryStore, commits: int) -> None:
    """Cancel the job in a process that is killed after so many commits."""
    left = [commits]

    def die(at: str) -> None:
        left[0] -= at == "committed"
        if not left[0]:
            raise Killed

    with pytest.raises(Killed):
        cancel_job("j", uow=Hooked(store, die), scheduler=MemoryScheduler(), operation_id="op")


class Odd(MemoryStore):
    """A store whose sweep answers oddly, or is not even an attribute if it is to be `Odd`."""

    def __init__(self, **answers: Any) -> None:
        super().__init__(sweep_above=2)
        self.answers = answers

    def begin(self) -> Any:
        """Open a transaction."""
        return _Odd(super().begin(), self.answers)


@attrs.frozen
class _Odd:
    within: Any
    answers: dict[str, Any]

    def __enter__(self) -> Any:
        repositories = self.within.__enter__()
        sweep = repositories.sweep
        if self.answers.get("sweep") is Odd:
            others = attrs.asdict(
                repositories, recurse=False, filter=lambda it, _: it.name != "sweep"
            )
            return SimpleNamespace(**others)
        if "sweep" in self.answers:
            sweep = self.answers["sweep"]
        elif self.answers:
            sweep = _OddSweep(sweep, self.answers)
        return attrs.evolve(repositories, sweep=sweep)

    def __exit__(self, *raised: object) -> Any:
        return self.within.__exit__(*raised)


@attrs.frozen
class _OddSweep:
    sweep: Any
    answers: dict[str, Any]

    def lock(self, record: Any) -> Any:
        return self.answers["lock"] if "lock" in self.answers else self.sweep.lock(record)

    def cancel(self, key: Any, statuses: Any) -> Any:
        return (
            self.answers["cancel"]
            if "cancel" in self.answers
            else self.sweep.cancel(key, statuses)
        )

    def note(self, record: Any) -> None:
        self.sweep.note(record)
