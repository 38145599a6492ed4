"""A node is killed, frozen or cut off in the middle of cancels: nothing lost, nothing half."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from batch_cancel import CancelFailed, cancel_rows
from batch_cancel.adapters.sqlalchemy import SqlAlchemyUnitOfWork
from tests import data_layers
from tests.data_layers import CONTACTS, JOBS, METADATA, TABLES
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


@pytest.mark.parametrize("is_committed", [True, False], ids=["committed", "not committed"])
def test_a_commit_lost_with_its_node_is_resolved_at_another(
    galera_cluster: GaleraCluster, galera_database: str, *, is_committed: bool
) -> None:
    """The same operation is a replay there if it was committed, and the cancellation if not."""
    node = galera_cluster.nodes[-1]
    engine, other = (
        data_layers.mariadb_engine(it, galera_database) for it in (node, galera_cluster.nodes[0])
    )
    METADATA.create_all(other)
    TABLES.known.clear()
    with other.begin() as connection:
        connection.execute(sa.insert(JOBS).values(id="job", status="running"))
        connection.execute(sa.insert(CONTACTS).values(batch_job_id="job", status="busy"))
    commit = engine.dialect.do_commit

    def lost(dbapi_connection: Any) -> None:
        if is_committed:
            commit(dbapi_connection)
        node.kill()
        commit(dbapi_connection)  # Its answer never comes.

    engine.dialect.do_commit = lost  # type: ignore[method-assign]
    try:
        with pytest.raises(CancelFailed) as caught:
            cancel_rows("job", uow=SqlAlchemyUnitOfWork(engine, TABLES), operation_id="op")
        answer = cancel_rows("job", uow=SqlAlchemyUnitOfWork(other, TABLES), operation_id="op")
    finally:
        galera_cluster.heal()
    assert caught.value.outcome == "unknown"
    assert (answer.replayed, answer.record.contacts_cancelled) == (is_committed, 1)
