"""What SQLAlchemy does on one node of Galera: the guard, what is refused, and what is seen."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from batch_cancel import (
    StoreFailed,
    append_contacts,
    append_contacts_async,
    cancel_rows,
    settle_contact,
)
from batch_cancel.adapters.sqlalchemy import (
    AsyncSqlAlchemyUnitOfWork,
    SqlAlchemyTables,
    SqlAlchemyUnitOfWork,
    cancellations_table,
    joining,
)
from tests import data_layers
from tests.data_layers import CONTACTS, JOBS, METADATA, TABLES

if TYPE_CHECKING:
    from tests.servers import GaleraCluster, MariaDbServer

pytestmark = pytest.mark.mysql

_OTHER = sa.MetaData()
_PLAIN = sa.Table(
    "plain_jobs",
    _OTHER,
    sa.Column("id", sa.String(50), primary_key=True),
    sa.Column("status", sa.String(20)),
    sa.Column("version", sa.Integer),
)
_OF_PLAIN = sa.Table(
    "plain_contacts",
    _OTHER,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("batch_job_id", sa.String(50), index=True),
    sa.Column("status", sa.String(20)),
)
_LEAN: dict[str, Any] = {
    "jobs": _PLAIN,
    "contacts": _OF_PLAIN,
    "cancellations": cancellations_table(_OTHER, name="plain_cancellations"),
    "job_organization_id": None,
    "job_deferred_id": None,
    "job_updated_at": None,
    "contact_next_attempt_at": None,
    "contact_updated_at": None,
}
UNGUARDED = SqlAlchemyTables(**_LEAN)
"""No column of a job shows that it was written."""
VERSIONED = SqlAlchemyTables(**_LEAN, job_version="version")


@pytest.fixture
def engines(galera_cluster: GaleraCluster, galera_database: str) -> Iterator[list[sa.Engine]]:
    """Yield an engine for each node, on a running job with a live call."""
    engines = [
        data_layers.mariadb_engine(node, galera_database, isolation_level="READ COMMITTED")
        for node in galera_cluster.nodes
    ]
    with engines[0].begin() as connection:
        METADATA.create_all(connection)
        _OTHER.create_all(connection)
        connection.execute(sa.insert(JOBS).values(id="job", status="running"))
        connection.execute(sa.insert(CONTACTS).values(id=1, batch_job_id="job", status="dialing"))
        connection.execute(sa.insert(_PLAIN).values(id="job", status="running", version=7))
    for tables in (TABLES, UNGUARDED, VERSIONED):
        tables.known.clear()
    yield engines
    for engine in engines:
        engine.dispose()


def touched(engine: sa.Engine) -> datetime | None:
    """Return when the job was last written."""
    with engine.connect() as connection:
        at: datetime | None = connection.execute(sa.select(JOBS.c.updated_at)).scalar_one()
        return at


def test_a_step_that_opens_a_contact_writes_the_job(engines: list[sa.Engine]) -> None:
    """And the time that stays is the present one, not the one that the guard passed through."""
    uow = SqlAlchemyUnitOfWork(engines[0], TABLES)
    before = touched(engines[0])
    append_contacts("job", [{"label": "added"}], uow=uow)
    after = touched(engines[0])
    assert before is None
    assert after is not None
    with engines[0].connect() as connection:
        now = connection.exec_driver_sql("SELECT utc_timestamp(6)").scalar_one()
    assert 0 <= (now - after).total_seconds() < 600
    settle_contact("job", "1", "no_answer", uow=uow)  # type: ignore[arg-type]  # A str.
    assert touched(engines[0]) != after


def test_a_step_that_ends_a_contact_leaves_the_job(engines: list[sa.Engine]) -> None:
    """Its row says nothing new then."""
    uow = SqlAlchemyUnitOfWork(engines[0], TABLES)
    settle_contact("job", "1", "completed", uow=uow)  # type: ignore[arg-type]  # A str.
    assert touched(engines[0]) is None


def test_a_step_writes_the_job_with_asyncio_and_in_a_transaction_of_yours(
    engines: list[sa.Engine], galera_cluster: GaleraCluster, galera_database: str
) -> None:
    """By asyncmy, and joined."""
    node: MariaDbServer = galera_cluster.nodes[0]
    other = data_layers.mariadb_engine_async(node, galera_database)
    uow = AsyncSqlAlchemyUnitOfWork(other, TABLES)
    asyncio.run(append_contacts_async("job", [{"label": "added"}], uow=uow))
    first = touched(engines[0])
    assert first is not None
    with engines[0].begin() as connection:
        append_contacts("job", [{"label": "more"}], uow=joining(connection, TABLES))
    assert touched(engines[0]) != first


def test_a_version_is_guard_enough(engines: list[sa.Engine]) -> None:
    """It is raised, as by any write."""
    append_contacts("job", [{"id": 1}], uow=SqlAlchemyUnitOfWork(engines[0], VERSIONED))
    with engines[0].connect() as connection:
        assert connection.execute(sa.select(_PLAIN.c.version)).scalar_one() == 8


def test_without_a_column_for_the_guard_a_step_is_refused(engines: list[sa.Engine]) -> None:
    """With what to do; the examination says so beforehand, and a cancel needs none."""
    uow = SqlAlchemyUnitOfWork(engines[0], UNGUARDED)
    with pytest.raises(StoreFailed, match="map a time with job_updated_at=") as caught:
        append_contacts("job", [{"id": 1}], uow=uow)
    assert caught.value.reason in uow.examine().workers
    assert uow.check() == []
    cancel_rows("job", uow=uow)


def test_a_trigger_that_keeps_the_row_is_refused(engines: list[sa.Engine]) -> None:
    """Else the guard would be none."""
    with engines[0].begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER keeps BEFORE UPDATE ON batch_jobs FOR EACH ROW "
            "SET NEW.updated_at = '2026-01-01'"
        )
        connection.execute(sa.update(JOBS).values(status="running"))
    with pytest.raises(StoreFailed, match="unchanged after it was written as a guard"):
        append_contacts("job", [{"label": "added"}], uow=SqlAlchemyUnitOfWork(engines[0], TABLES))


def test_the_examination_names_the_cluster(engines: list[sa.Engine]) -> None:
    """What writers of your own must do, and what a joined connection may not see."""
    notes = SqlAlchemyUnitOfWork(engines[0], TABLES).examine().notes
    assert any("this is a node of Galera" in it for it in notes)
    assert not any("wsrep_sync_wait" in it for it in notes)
    with engines[0].begin() as connection:
        assert any("wsrep_sync_wait" in it for it in joining(connection, TABLES).examine().notes)
        connection.exec_driver_sql("SET SESSION wsrep_sync_wait = 1")
        notes = joining(connection, TABLES).examine().notes
        assert not any("wsrep_sync_wait" in it for it in notes)


STREAMING = "wsrep_trx_fragment_unit = 'statements', wsrep_trx_fragment_size = 1"
"""Each statement is sent to the other nodes as it is made."""


def test_nothing_is_sent_before_the_commit(
    engines: list[sa.Engine], galera_cluster: GaleraCluster, galera_database: str
) -> None:
    """Nodes came to a halt over two transactions of one row that were sent in fragments."""
    node, sent = galera_cluster.nodes[0], list[object]()
    engine = data_layers.mariadb_engine(
        node, galera_database, connect_args={"init_command": f"SET {STREAMING}"}
    )

    def about_to_commit(_: sa.Connection) -> None:
        sent.append(node.query("SELECT count(*) FROM mysql.wsrep_streaming_log"))

    event.listen(engine, "commit", about_to_commit)
    append_contacts("job", [{"label": "added"}], uow=SqlAlchemyUnitOfWork(engine, TABLES))
    assert sent == [0]
    with engines[0].begin() as connection:
        connection.exec_driver_sql(f"SET SESSION {STREAMING}")
        notes = joining(connection, TABLES).examine().notes
        connection.exec_driver_sql("SET SESSION wsrep_trx_fragment_size = 0")
    assert any("wsrep_trx_fragment_size" in it for it in notes)


def test_a_job_that_another_node_has_just_added_is_found(engines: list[sa.Engine]) -> None:
    """A node that lags behind waits until it has what was committed before."""
    with engines[1].connect() as held, engines[0].connect() as writer:
        held.exec_driver_sql("FLUSH TABLES WITH READ LOCK")  # It applies nothing meanwhile.
        writer.execute(sa.insert(JOBS).values(id="late", status="running"))
        writer.commit()

        def release() -> None:
            time.sleep(0.5)
            held.exec_driver_sql("UNLOCK TABLES")

        releasing = threading.Thread(target=release)
        releasing.start()
        try:
            cancel_rows("late", uow=SqlAlchemyUnitOfWork(engines[1], TABLES))
        finally:
            releasing.join()


def test_a_node_that_is_cut_off_changes_nothing(
    engines: list[sa.Engine], galera_cluster: GaleraCluster
) -> None:
    """It refuses statements, and the answer says that nothing was changed."""
    node = galera_cluster.nodes[2]
    node.cut_off()
    try:
        node.wait_until_refuses()
        with pytest.raises(StoreFailed) as caught:
            append_contacts(
                "job", [{"label": "added"}], uow=SqlAlchemyUnitOfWork(engines[2], TABLES)
            )
    finally:
        node.join_again()
        galera_cluster.heal()
    assert caught.value.outcome == "unchanged"
    assert caught.value.retryable
