"""Runs of the library on the memory store, whose calls of the ports are noted as they happen."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs

from batch_cancel import cancel_job
from batch_cancel.adapters.memory import MemoryScheduler, MemoryStore

JOB: Final = "job"
START: Final = "start"


def cancelled_contacts(job_status: str, contacts: Iterable[str]) -> list[str]:
    """
    Return the statuses of contacts after a cancel of their job.

    Raises:
        BatchCancelError: the cancel was refused.
    """
    store = MemoryStore()
    given = {f"{number:03}": status for number, status in enumerate(contacts)}
    store.add_job(JOB, job_status, contacts=given)
    cancel_job(JOB, uow=store, scheduler=MemoryScheduler())
    after = store.contacts(JOB)
    return [str(after[contact_id]) for contact_id in given]


@attrs.define
class Noted:
    """A store and a scheduler, and the calls of their methods: (who asks, whom, which call)."""

    store: MemoryStore = attrs.field(factory=MemoryStore)
    scheduler_inside: MemoryScheduler = attrs.field(factory=MemoryScheduler)
    calls: list[tuple[str, str, str]] = attrs.field(factory=list[tuple[str, str, str]])
    who: str = ""

    def uow(self) -> Any:  # noqa: ANN401  # It looks like the store that it wraps.
        """Return the store, noting."""
        return _Store(self)

    def scheduler(self) -> Any:  # noqa: ANN401  # Likewise.
        """Return the scheduler, noting."""
        return _Scheduler(self)

    def note(self, whom: str, call: str) -> None:
        """Note a call."""
        self.calls.append((self.who, whom, call))

    def add_scheduled_job(self, contacts: dict[str, str]) -> None:
        """Put in a job whose start is in an hour."""
        self.store.add_job(JOB, "scheduled", deferred_id=START, contacts=contacts)
        self.scheduler_inside.schedule(START, datetime.now(UTC) + timedelta(hours=1))


class _Store:
    def __init__(self, noted: Noted) -> None:
        self._noted = noted

    @contextmanager
    def begin(self) -> Generator[Any]:
        self._noted.note("database", "BEGIN")
        with self._noted.store.begin() as repositories:
            yield _Repositories(self._noted, repositories)
        self._noted.note("database", "COMMIT")


class _Repositories:
    def __init__(self, noted: Noted, repositories: Any) -> None:  # noqa: ANN401  # Any port.
        self._noted, self._repositories = noted, repositories

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # Whatever the port has.
        part = getattr(self._repositories, name)
        return None if part is None else _Part(self._noted, name, part)


class _Part:
    def __init__(self, noted: Noted, name: str, part: Any) -> None:  # noqa: ANN401  # Any port.
        self._noted, self._name, self._part = noted, name, part

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # Whatever the port has.
        method = getattr(self._part, name)
        if not callable(method):
            return method

        def noting(*given: object, **named: object) -> object:
            self._noted.note("database", f"{self._name}.{name}")
            return method(*given, **named)

        return noting


class _Scheduler:
    def __init__(self, noted: Noted) -> None:
        self._noted = noted

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        self._noted.note("scheduler", "cancel")
        return self._noted.scheduler_inside.cancel(deferred_id, operation_id)
