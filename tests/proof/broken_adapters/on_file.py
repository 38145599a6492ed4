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


@contextmanager
def _commits_on_an_operational_error(store: Any) -> Generator[Any]:
    connection = sqlite3.connect(store.path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield own_adapter.Transaction(connection)
    except sqlite3.OperationalError:
        connection.execute("COMMIT")
        raise
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    else:
        connection.execute("COMMIT")
    finally:
        connection.close()


for _begin, _test in (
    (_commits_on_an_operational_error, "test_i17_an_error_of_the_driver_undoes_everything"),
    (_autocommits, "test_i17_nothing_is_seen_before_the_commit"),
    (_begins_without_the_lock, "test_i5_of_two_cancels_at_once_one_succeeds"),
    (_leaves_the_lock, "test_i18_a_transaction_given_up_leaves_no_lock"),
):
    _name = "".join(it.title() for it in _begin.__name__.split("_"))
    plant(_name, _test, OnFile, StoreConformance, begin=staticmethod(_begin))


class HasKeysPerOrganization(OnFile):
    """Two organizations may have a campaign of one id, and it is declared that they may not."""

    begin: ClassVar[Any] = own_adapter.OwnStore.begin

    def fresh(self) -> None:
        """Make the key that of both columns together."""
        super().fresh()
        with sqlite3.connect(self.path) as connection:
            connection.executescript(
                "DROP TABLE campaign; CREATE TABLE campaign (id TEXT, tenant TEXT, state TEXT, "
                "alarm TEXT, touched REAL, UNIQUE (id, tenant));"
            )
        connection.close()


plant(
    "HasKeysPerOrganization",
    "test_i22_ids_are_as_unique_as_declared",
    HasKeysPerOrganization,
    StoreConformance,
)
plant(
    "FindsContactsByTheIdAlone",
    "test_i22_a_job_of_the_same_id_is_left_alone",
    HasKeysPerOrganization,
    StoreConformance,
    ids_per_organization=True,
)
