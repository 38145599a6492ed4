"""A node is killed, frozen or cut off in the middle of cancels: nothing lost, nothing half."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from tests.galera.outage import JOBS_IN_ALL, Outage
from tests.servers import GaleraNode

if TYPE_CHECKING:
    from tests.servers import GaleraCluster

pytestmark = pytest.mark.mysql


@pytest.fixture
def outage(galera_cluster: GaleraCluster, galera_database: str) -> Iterator[Outage]:
    """Yield the jobs, and leave a cluster that is whole."""
    yield Outage(galera_cluster, galera_database)
    galera_cluster.heal()


def cut_off(node: GaleraNode) -> None:
    """Cut a node off."""
    node.cut_off()


@pytest.mark.parametrize(
    ("strike", "mend"),
    [
        (GaleraNode.kill, GaleraNode.start),
        (GaleraNode.pause, GaleraNode.resume),
        (cut_off, GaleraNode.join_again),
    ],
    ids=["killed", "frozen", "cut off"],
)
def test_nothing_is_lost_and_nothing_is_half(
    outage: Outage,
    strike: Callable[[GaleraNode], None],
    mend: Callable[[GaleraNode], None],
) -> None:
    """Clients go on with the same operation at another node, whatever became of the first try."""
    outage.run(strike)
    mend(outage.cluster.nodes[-1])
    outage.cluster.heal()
    assert outage.wrong() == []
    assert len(outage.results) == JOBS_IN_ALL
    assert outage.failures, "nobody met the node that was struck"
    assert outage.appended
