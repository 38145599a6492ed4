"""Bugs of transactions in a file of SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, ClassVar

from batch_cancel.testing.conformance import StoreConformance
from examples import own_adapter, own_adapter_test
from tests.proof.broken_adapters.planting import plant


class OnFile(own_adapter_test.TestOwnStore):
    """The example adapter, with a bug in its transactions."""

    begin: ClassVar[Any]

    def uow(self) -> Any:
        """Return a unit of work that begins by the bug."""
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
    plant(_name, _test, OnFile, StoreConformance, begin=staticmethod(_begin))
