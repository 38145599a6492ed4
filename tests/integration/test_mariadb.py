"""What SQLAlchemy on MariaDB does that the conformance kit does not ask for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import mysql

from batch_cancel import (
    CancelFailed,
    JobKey,
    JobNotFound,
    UnknownJobStatus,
    cancel_rows,
    claim_contacts,
)
from batch_cancel.adapters.sqlalchemy import (
    SqlAlchemyTables,
    SqlAlchemyUnitOfWork,
    cancellations_table,
    joining,
)
from tests import data_layers
from tests.data_layers import CONTACTS, JOBS, TABLES

if TYPE_CHECKING:
    from tests.servers import MariaDbServer

pytestmark = pytest.mark.mysql

_IS_JOB = JOBS.c.id == "job"
_OTHER = sa.MetaData()
_TEXT = mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_general_ci")
LOOSE_JOBS = sa.Table(
    "jobs",
    _OTHER,
    sa.Column("id", _TEXT, primary_key=True),
    sa.Column("organization_id", _TEXT),
    sa.Column("status", _TEXT),
    sa.Column("updated_at", mysql.TIMESTAMP(fsp=6), nullable=True),
)
LOOSE_CONTACTS = sa.Table(
    "contacts",
    _OTHER,
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("batch_job_id", _TEXT, index=True),
    sa.Column("status", _TEXT),
)
LOOSE = SqlAlchemyTables(
    jobs=LOOSE_JOBS,
    contacts=LOOSE_CONTACTS,
    cancellations=cancellations_table(_OTHER),
    job_deferred_id=None,
    contact_next_attempt_at=None,
    contact_updated_at=None,
)
"""Tables whose columns find texts equal that differ in case, or in trailing blanks."""


@pytest.fixture
def engine(mariadb_server: MariaDbServer, mariadb_database: str) -> Iterator[sa.Engine]:
    """Yield an engine with one pooled connection and one to spare, on a job of two contacts."""
    options: dict[str, Any] = {"poolclass": sa.QueuePool, "pool_size": 1, "max_overflow": 5}
    engine = data_layers.mariadb_engine(mariadb_server, mariadb_database, **options)
    data_layers.METADATA.create_all(engine)
    TABLES.known.clear()
    LOOSE.known.clear()
    with engine.begin() as connection:
        connection.execute(
            sa.insert(JOBS).values(id="job", organization_id="acme", status="pending")
        )
        for label in ("one", "two"):
            connection.execute(
                sa.insert(CONTACTS).values(batch_job_id="job", label=label, status="pending")
            )
    yield engine
    engine.dispose()


@pytest.fixture
def loose(engine: sa.Engine) -> sa.Engine:
    """Return the engine, with such tables."""
    _OTHER.create_all(engine)
    return engine


def statuses(engine: sa.Engine) -> list[str]:
    """Return the statuses of the job and of its contacts."""
    with engine.connect() as connection:
        job = connection.execute(sa.select(JOBS.c.status).where(_IS_JOB)).scalars()
        contacts = connection.execute(sa.select(CONTACTS.c.status)).scalars()
        return [*job, *contacts]


def uow(engine: sa.Engine, seconds: float = 5) -> SqlAlchemyUnitOfWork:
    """Return a unit of work that waits so long for a lock."""
    return SqlAlchemyUnitOfWork(engine, TABLES, lock_timeout=timedelta(seconds=seconds))


# Ids and statuses --------------------------------------------------------------------------------


@pytest.mark.parametrize("job_id", ["JOB", "job ", "j\u00f6b", "x" * 400])
def test_an_id_is_compared_byte_by_byte(loose: sa.Engine, job_id: str) -> None:
    """Whatever the collation finds equal; an id that no column can hold is no job's."""
    with loose.begin() as connection:
        connection.execute(sa.insert(LOOSE_JOBS).values(id="job", status="pending"))
    with pytest.raises(JobNotFound):
        cancel_rows(job_id, uow=SqlAlchemyUnitOfWork(loose, LOOSE))


def test_an_organization_is_compared_byte_by_byte(loose: sa.Engine) -> None:
    """Whoever is called nearly the same has no part in its jobs."""
    values = {"id": "job", "organization_id": "acme", "status": "pending"}
    with loose.begin() as connection:
        connection.execute(sa.insert(LOOSE_JOBS).values(**values))
    with pytest.raises(JobNotFound):
        cancel_rows("job", uow=SqlAlchemyUnitOfWork(loose, LOOSE), organization_id="ACME")


def test_a_status_is_compared_byte_by_byte(loose: sa.Engine) -> None:
    """A word of other case, or with a blank, is none that the library knows."""
    with loose.begin() as connection:
        for job_id, status in (("job", "pending"), ("odd", "Pending ")):
            connection.execute(sa.insert(LOOSE_JOBS).values(id=job_id, status=status))
        for number, status in enumerate(("pending", "Pending", "pending ", "PENDING")):
            values = {"id": number + 1, "batch_job_id": "job", "status": status}
            connection.execute(sa.insert(LOOSE_CONTACTS).values(**values))
    of_loose = SqlAlchemyUnitOfWork(loose, LOOSE)
    with pytest.raises(UnknownJobStatus):
        cancel_rows("odd", uow=of_loose)
    assert cancel_rows("job", uow=of_loose).record.contacts_cancelled == 1
    with loose.connect() as connection:
        found = connection.execute(
            sa.select(LOOSE_CONTACTS.c.status).order_by(LOOSE_CONTACTS.c.id)
        )
        assert list(found.scalars()) == ["cancelled", "Pending", "pending ", "PENDING"]


def test_a_timestamp_is_written_in_utc(loose: sa.Engine) -> None:
    """Also on a connection whose time zone is another."""
    with loose.begin() as connection:
        connection.execute(sa.insert(LOOSE_JOBS).values(id="job", status="pending"))
        connection.exec_driver_sql("SET time_zone = '+05:00'")
        connection.commit()
    cancel_rows("job", uow=SqlAlchemyUnitOfWork(loose, LOOSE))
    with loose.connect() as connection:
        connection.exec_driver_sql("SET time_zone = '+00:00'")
        at = connection.execute(sa.select(LOOSE_JOBS.c.updated_at)).scalar_one()
    assert abs(datetime.now(UTC) - at.replace(tzinfo=UTC)) < timedelta(minutes=5)


def test_a_time_of_zeros_is_due_once(engine: sa.Engine) -> None:
    """MariaDB finds it NULL and past, where its column takes no NULL."""
    with engine.begin() as connection:
        connection.execute(sa.delete(CONTACTS))
        connection.execute(
            sa.text(
                "ALTER TABLE batch_contacts MODIFY next_attempt_at datetime(6) "
                "NOT NULL DEFAULT '0000-00-00'"
            )
        )
        connection.execute(sa.insert(JOBS).values(id="job-of-zeros", status="running"))
        connection.execute(
            sa.text(
                "INSERT INTO batch_contacts (batch_job_id, status) "
                "VALUES ('job-of-zeros', 'pending'), ('job-of-zeros', 'pending')"
            )
        )
    assert len(set(claim_contacts("job-of-zeros", uow=uow(engine), limit=10))) == 2
    assert claim_contacts("job-of-zeros", uow=uow(engine), limit=10) == []


# Transactions ------------------------------------------------------------------------------------


def test_nothing_stays_on_a_pooled_connection(engine: sa.Engine) -> None:
    """Neither the level nor a timeout."""
    asked = "SELECT @@tx_isolation, @@innodb_lock_wait_timeout, @@max_statement_time"
    cancel_rows("job", uow=uow(engine), organization_id="acme")
    with engine.connect() as connection:
        found = tuple(connection.exec_driver_sql(asked).one())
    assert found == ("REPEATABLE-READ", 50, 0)


def test_a_contact_that_is_added_during_the_wait_is_cancelled(engine: sa.Engine) -> None:
    """Although the connection's own transactions are REPEATABLE READ."""
    done: list[int] = []

    def cancel() -> None:
        done.append(
            cancel_rows("job", uow=uow(engine), organization_id="acme").record.contacts_cancelled
        )

    with engine.begin() as connection:
        connection.execute(sa.select(JOBS).where(_IS_JOB).with_for_update())
        waiting = threading.Thread(target=cancel)
        waiting.start()
        waiting.join(0.5)
        connection.execute(
            sa.insert(CONTACTS).values(batch_job_id="job", label="three", status="pending")
        )
    waiting.join(20)
    assert done == [3]


def test_a_stranger_locks_nothing(engine: sa.Engine) -> None:
    """A job of another organization is looked at before it is locked."""
    with uow(engine).begin() as repositories:
        assert repositories.jobs.lock(JobKey("job", "evil")) is None
        with engine.begin() as owner:
            asked = sa.select(JOBS.c.id).where(_IS_JOB).with_for_update(nowait=True)
            assert owner.execute(asked).scalar_one() == "job"


def test_a_lock_timeout_leaves_everything_unchanged(engine: sa.Engine) -> None:
    """What the transaction did before the statement that timed out is rolled back."""
    with engine.begin() as connection:
        label = CONTACTS.c.label == "two"
        connection.execute(sa.select(CONTACTS).where(label).with_for_update())
        with pytest.raises(CancelFailed, match="lock wait timeout") as failure:
            cancel_rows("job", uow=uow(engine, 1), organization_id="acme")
    assert (failure.value.outcome, failure.value.retryable) == ("unchanged", True)
    assert statuses(engine) == ["pending", "pending", "pending"]


def test_joining_refuses_a_level_that_misses_contacts(engine: sa.Engine) -> None:
    """REPEATABLE READ is the default there."""
    with (
        engine.begin() as connection,
        pytest.raises(CancelFailed, match=r"needs a READ COMMITTED transaction, .*REPEATABLE"),
    ):
        cancel_rows("job", uow=joining(connection, TABLES), organization_id="acme")


def test_a_deadlock_in_the_callers_transaction_is_named(engine: sa.Engine) -> None:
    """All that the caller wrote is gone, so the rest must not be committed."""
    committed = engine.execution_options(isolation_level="READ COMMITTED")
    with committed.begin() as other, committed.connect() as mine:
        job = sa.select(JOBS).where(_IS_JOB).with_for_update()
        contact = sa.update(CONTACTS).where(CONTACTS.c.label == "one").values(label="mine")
        other.execute(job)
        # The transaction that wrote more is not the one that InnoDB rolls back.
        for number in range(50):
            other.execute(sa.insert(CONTACTS).values(batch_job_id="x", label=f"{number}"))
        mine.execute(contact)
        locking = threading.Thread(target=other.execute, args=[contact])
        locking.start()
        locking.join(0.5)
        with pytest.raises(CancelFailed, match="rolled back your whole transaction") as failure:
            cancel_rows("job", uow=joining(mine, TABLES), organization_id="acme")
        assert failure.value.outcome == "unknown"
        locking.join(20)
        with pytest.raises(exc.PendingRollbackError):
            mine.execute(sa.select(JOBS))
        mine.rollback()
        other.rollback()
    assert statuses(engine) == ["pending", "pending", "pending"]


# check() -----------------------------------------------------------------------------------------


def test_a_database_that_fits_has_no_problem(engine: sa.Engine) -> None:
    """Its notes name what joining needs."""
    diagnosis = uow(engine).examine()
    assert diagnosis.problems == []
    assert any("joining() needs READ COMMITTED" in it for it in diagnosis.notes)


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        (
            # The index is too long for that engine.
            "ALTER TABLE batch_contacts DROP INDEX ix_batch_contacts_batch_job_id, ENGINE=MyISAM",
            "batch_contacts has the engine MyISAM",
        ),
        (
            (
                "ALTER TABLE batch_cancellations MODIFY batch_job_id VARCHAR(255) "
                "COLLATE utf8mb4_general_ci NOT NULL"
            ),
            "batch_job_id of batch_cancellations has the collation utf8mb4_general_ci",
        ),
        (
            (
                "ALTER TABLE batch_contacts MODIFY batch_job_id VARCHAR(255) "
                "COLLATE utf8mb4_general_ci"
            ),
            "one type and one collation",
        ),
        ("DROP TABLE batch_cancellations", "batch_cancellations is missing"),
        ("ALTER TABLE batch_contacts DROP COLUMN next_attempt_at", ""),
    ],
)
def test_what_is_wrong_with_the_tables_is_named(
    engine: sa.Engine, statement: str, problem: str
) -> None:
    """And nothing is cancelled on such tables."""
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)
    problems = uow(engine).check()
    if not problem:
        assert problems == []  # Only the workers need it.
        return
    assert any(problem in it for it in problems), problems
    with pytest.raises(CancelFailed):
        cancel_rows("job", uow=uow(engine), organization_id="acme")
    assert statuses(engine)[0] == "pending"


def test_lost_privileges_are_named(
    engine: sa.Engine, mariadb_server: MariaDbServer, mariadb_database: str
) -> None:
    """By what is to be granted; a cancel then fails without a change."""
    name = mariadb_database[-20:]
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE USER {name}@'127.0.0.1'")
        for grant in (
            "SELECT ON batch_jobs",
            "SELECT, UPDATE (status) ON batch_contacts",
            "SELECT, INSERT, UPDATE ON batch_cancellations",
            "SELECT, INSERT ON batch_cancellations_earlier",
        ):
            connection.exec_driver_sql(f"GRANT {grant} TO {name}@'127.0.0.1'")
    url = mariadb_server.url(mariadb_database, user=name)
    theirs = uow(sa.create_engine(url, poolclass=sa.NullPool))
    problems = theirs.check()
    assert any("UPDATE status, updated_at of batch_jobs" in it for it in problems), problems
    assert any("UPDATE updated_at of batch_contacts" in it for it in problems), problems
    with pytest.raises(CancelFailed, match="lacks a privilege"):
        cancel_rows("job", uow=theirs, organization_id="acme")
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP USER {name}@'127.0.0.1'")


def test_a_long_wait_of_the_callers_connection_is_named(engine: sa.Engine) -> None:
    """A joined cancel waits as long as the connection's other statements."""
    committed = engine.execution_options(isolation_level="READ COMMITTED")
    with committed.begin() as connection:
        problems = joining(connection, TABLES).check()
    assert any("innodb_lock_wait_timeout is 50 s" in it for it in problems)
