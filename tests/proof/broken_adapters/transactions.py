"""Bugs of transactions, and a declaration that is not true, in the memory store."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from batch_cancel.adapters.memory import MemoryStore
from batch_cancel.adapters.memory import repositories as memory
from batch_cancel.adapters.memory.rows import Rows
from batch_cancel.testing.conformance import StoreConformance
from tests import adapters_under_test
from tests.proof.broken_adapters.planting import plant


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
            rows = Rows(self._top)
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
        """Return that every transaction is one of its own."""
        return False


for _kind, _test in (
    (HidesThatItIsJoined, "test_i8_a_whole_cancel_in_a_callers_transaction_is_refused"),
    (CommitsOnException, "test_i17_an_exception_undoes_everything"),
    (CommitsOnBaseException, "test_i19_a_base_exception_passes_unchanged"),
    (SwallowsBaseException, "test_i19_a_base_exception_passes_unchanged"),
    (IgnoresSavepoints, "test_i17_a_joined_cancel_that_fails_is_undone_alone"),
    (CommitsForTheCaller, "test_i17_the_callers_rollback_undoes_a_joined_cancel"),
):
    plant(_kind.__name__, _test, adapters_under_test.MemoryTables, StoreConformance, kind=_kind)


class DeclaresLessThanItHas(adapters_under_test.MemoryTables):
    """Its tests of records would be skipped."""

    records = False


plant(
    "DeclaresLessThanItHas",
    "test_i20_what_is_declared_is_what_there_is",
    DeclaresLessThanItHas,
    StoreConformance,
)
