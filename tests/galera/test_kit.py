"""The conformance kit on one node of Galera, where steps write the job's row as well."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batch_cancel.testing.conformance import StoreConformance
from tests import adapters_under_test, data_layers
from tests.adapters_under_test.mariadb import engine_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers import GaleraCluster, MariaDbServer


@pytest.fixture(scope="class")
def galera_of_class(galera_cluster: GaleraCluster) -> Iterator[tuple[MariaDbServer, str]]:
    """Yield a node, and the name of a database for the tests of a class."""
    with galera_cluster.database() as name:
        yield galera_cluster.nodes[0], name


@pytest.mark.mysql
class TestGalera(adapters_under_test.MariaDbTables, StoreConformance):
    """It keeps the promises there."""

    @pytest.fixture(autouse=True)
    def _database(self, galera_of_class: tuple[MariaDbServer, str]) -> None:
        self.place = galera_of_class
        type(self).engine = engine_of(*self.place)
        data_layers.METADATA.create_all(self.engine)
