"""What a server, a connection or a table of MariaDB may be set to, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import mysql

from batch_cancel import (
    CancelFailed,
    JobNotFound,
    StoreFailed,
    cancel_rows,
    claim_contacts,
    settle_contact,
)
from batch_cancel.adapters.sqlalchemy import (
    SqlAlchemyTables,
    SqlAlchemyUnitOfWork,
    SqlStartGate,
    cancellations_table,
    joining,
    start_gates_table,
)
from tests.servers import MariaDbServer

pytestmark = pytest.mark.mysql

Engines = Callable[..., sa.Engine]


@pytest.fixture
def engines(mariadb_server: MariaDbServer, mariadb_database: str) -> Iterator[Engines]:
    """Yield what makes engines of one database."""
    made: list[sa.Engine] = []

    def make(**options: Any) -> sa.Engine:
        url = mariadb_server.url(mariadb_database)
        made.append(sa.create_engine(url, poolclass=sa.NullPool, **options))
        return made[-1]

    yield make
    for engine in made:
        engine.dispose()


def in_mode(mode: str) -> dict[str, Any]:
    """Return the options of an engine whose connections have this sql_mode."""
    return {"connect_args": {"init_command": f"SET sql_mode = '{mode}'"}}


def tables_of(key: Any, status: Any, charset: str = "utf8mb4") -> SqlAlchemyTables:
    """Return tables with keys of this type, and contacts with statuses of that one."""
    metadata = sa.MetaData()
    jobs = sa.Table(
        "jobs",
        metadata,
        sa.Column("id", key, primary_key=True),
        sa.Column("status", sa.String(20)),
        mysql_charset=charset,
    )
    contacts = sa.Table(
        "contacts",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("batch_job_id", key, index=True),
        sa.Column("status", status),
        mysql_charset=charset,
    )
    return SqlAlchemyTables(
        jobs=jobs,
        contacts=contacts,
        cancellations=cancellations_table(metadata),
        job_organization_id=None,
        job_deferred_id=None,
        job_updated_at=None,
        contact_next_attempt_at=None,
        contact_updated_at=None,
        contact_statuses={it: (it,) for it in _STATUSES},
    )


_STATUSES = (
    *("pending", "queued", "no_answer", "busy", "timeout", "dialing", "completed", "failed"),
    *("blocked", "invalid_number", "carrier_error", "cancelled"),
)


def seeded(engine: sa.Engine, tables: SqlAlchemyTables, job: Any, *statuses: str) -> None:
    """Create the tables, with a running job whose contacts have these statuses."""
    tables.jobs.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(sa.insert(tables.jobs).values(id=job, status="running"))
        for status in statuses:
            values = {"batch_job_id": job, "status": status}
            connection.execute(sa.insert(tables.contacts).values(**values))


def statuses(engine: sa.Engine, tables: SqlAlchemyTables) -> list[str]:
    """Return the statuses of the job and of its contacts."""
    with engine.connect() as connection:
        job = connection.execute(sa.select(tables.jobs.c.status)).scalars().all()
        of = tables.contacts.c
        contacts = connection.execute(sa.select(of.status).order_by(of.id)).scalars().all()
    return [*job, *contacts]


# sql_mode ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [sa.String(8), mysql.ENUM("pending", "dialing", "failed")])
def test_a_status_that_is_cut_is_no_success(engines: Engines, status: Any) -> None:
    """Without strict mode the database writes less than was meant, and says nothing."""
    tables = tables_of(sa.String(50), status)
    seeded(engines(), tables, "job", "pending", "dialing", "failed")
    loose = engines(**in_mode(""))
    uow = SqlAlchemyUnitOfWork(loose, tables)
    with pytest.raises(CancelFailed, match="0 rows instead of 1 have the status") as failure:
        cancel_rows("job", uow=uow)
    assert failure.value.outcome == "unchanged"
    with pytest.raises(StoreFailed, match="0 rows instead of 1 have the status"):
        settle_contact("job", "2", "no_answer", uow=uow)  # type: ignore[arg-type]  # A str.
    assert statuses(loose, tables) == ["running", "pending", "dialing", "failed"]


def test_without_strict_mode_what_fits_is_written(engines: Engines) -> None:
    """Nothing is cut there."""
    tables = tables_of(sa.String(50), sa.String(20))
    seeded(engines(), tables, "job", "pending", "dialing", "failed")
    loose = engines(**in_mode(""))
    uow = SqlAlchemyUnitOfWork(loose, tables)
    assert cancel_rows("job", uow=uow).record.contacts_cancelled == 1
    assert statuses(loose, tables) == ["cancelled", "cancelled", "dialing", "failed"]


@pytest.mark.parametrize("mode", ["PAD_CHAR_TO_FULL_LENGTH", "EMPTY_STRING_IS_NULL"])
def test_a_mode_that_changes_texts_is_refused(engines: Engines, mode: str) -> None:
    """A CHAR column would equal no status: its contacts would stay open under a 200."""
    tables = tables_of(sa.String(50), mysql.CHAR(20))
    seeded(engines(), tables, "job", "pending")
    uow = SqlAlchemyUnitOfWork(engines(**in_mode(f"STRICT_TRANS_TABLES,{mode}")), tables)
    [problem] = uow.check()
    assert mode in problem
    with pytest.raises(CancelFailed, match=mode):
        cancel_rows("job", uow=uow)
    assert statuses(engines(), tables) == ["running", "pending"]


@pytest.mark.parametrize("mode", ["ANSI", "ORACLE", "NO_BACKSLASH_ESCAPES", "TRADITIONAL"])
def test_other_modes_change_nothing(engines: Engines, mode: str) -> None:
    """An id keeps its quotes and backslashes."""
    tables = tables_of(sa.String(50), sa.String(20))
    job = "a\\b'\"%s"
    seeded(engines(), tables, job, "pending", "failed")
    uow = SqlAlchemyUnitOfWork(engines(**in_mode(f"{mode},STRICT_TRANS_TABLES")), tables)
    assert cancel_rows(job, uow=uow).record.contacts_cancelled == 1


def test_the_statement_for_an_index_is_one_of_the_database(engines: Engines) -> None:
    """Which wants a name for it."""
    tables = tables_of(sa.String(50), sa.String(20))
    seeded(engines(), tables, "job")
    uow = SqlAlchemyUnitOfWork(engines(), tables)
    with engines().begin() as connection:
        connection.exec_driver_sql("DROP INDEX ix_contacts_batch_job_id ON contacts")
        [problem] = uow.check()
        connection.exec_driver_sql(problem.partition(": ")[2])
    assert uow.check() == []


# Lock timeouts -----------------------------------------------------------------------------------


def test_a_lock_timeout_that_ends_a_transaction_of_yours_is_named() -> None:
    """Where the server is set so, all that the caller wrote is gone: nothing must be committed."""
    tables = tables_of(sa.String(50), sa.String(20))
    with MariaDbServer.own({"innodb-rollback-on-timeout": "1"}) as server:
        engine = sa.create_engine(
            server.url("mysql"), poolclass=sa.NullPool, isolation_level="READ COMMITTED"
        )
        seeded(engine, tables, "job", "pending")
        with engine.connect() as other, engine.connect() as mine:
            other.execute(sa.select(tables.contacts).with_for_update())
            mine.exec_driver_sql("SET innodb_lock_wait_timeout = 1")
            mine.execute(sa.insert(tables.jobs).values(id="mine", status="pending"))
            with pytest.raises(
                CancelFailed, match="rolled back your whole transaction"
            ) as failure:
                cancel_rows("job", uow=joining(mine, tables))
            assert failure.value.outcome == "unknown"
            with pytest.raises(exc.PendingRollbackError):
                mine.commit()
            other.rollback()
        assert statuses(engine, tables) == ["running", "pending"]


# Keys --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("charset", ["latin1", "utf8mb3", "ascii"])
def test_an_id_that_a_table_cannot_hold_is_no_jobs(engines: Engines, charset: str) -> None:
    """The server cannot even compare the two, and says so by an error."""
    tables = tables_of(sa.String(50), sa.String(20), charset)
    seeded(engines(), tables, "job", "pending")
    uow = SqlAlchemyUnitOfWork(engines(), tables)
    with pytest.raises(JobNotFound):
        cancel_rows("\U0001f4de", uow=uow)
    assert cancel_rows("job", uow=uow, operation_id="\U0001f4de").record.contacts_cancelled == 1


@pytest.mark.parametrize("charset", ["utf8", "latin1", "utf8mb4"])
def test_a_connection_that_cannot_send_every_text_is_named(engines: Engines, charset: str) -> None:
    """Its server would read other texts than were sent."""
    engine = engines(connect_args={"charset": charset})
    tables = tables_of(sa.String(50), sa.String(20))
    seeded(engine, tables, "job")
    notes = SqlAlchemyUnitOfWork(engine, tables).examine().notes
    assert any("can't send every text" in it for it in notes) is (charset != "utf8mb4")


class Bytes16(sa.types.TypeDecorator[str]):
    """A uuid as sixteen bytes, as many keep it in MySQL."""

    impl = mysql.BINARY(16)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> bytes | None:
        """Return its bytes."""
        return None if value is None else UUID(value).bytes

    def process_result_value(self, value: bytes | None, dialect: sa.Dialect) -> str | None:
        """Return its text."""
        return None if value is None else str(UUID(bytes=value))


def test_keys_of_bytes_are_compared_as_they_are(engines: Engines) -> None:
    """They are no text in any character set."""
    tables = tables_of(Bytes16(), sa.String(20))
    job, other = (str(uuid4()) for _ in range(2))
    seeded(engines(), tables, job, "pending", "pending", "failed")
    seeded(engines(), tables, other, "pending")
    uow = SqlAlchemyUnitOfWork(engines(), tables)
    assert uow.check() == []
    assert claim_contacts(job, uow=uow, limit=1) == ["1"]
    assert cancel_rows(job, uow=uow).record.contacts_cancelled == 1
    assert statuses(engines(), tables)[2:] == ["dialing", "cancelled", "failed", "pending"]


# The start gate ----------------------------------------------------------------------------------


def gate_on(engine: sa.Engine) -> SqlStartGate:
    """Return a gate, whose table is created."""
    metadata = sa.MetaData()
    gates = start_gates_table(metadata)
    metadata.create_all(engine)
    tables = tables_of(sa.String(50), sa.String(20))
    return SqlStartGate(SqlAlchemyUnitOfWork(engine, tables), gates)


def test_a_start_passes_again_where_only_changed_rows_are_counted(engines: Engines) -> None:
    """A connection of the adopter's own making does not count those that are as they were."""
    gate = gate_on(engines(connect_args={"client_flag": 0}))  # SQLAlchemy's is FOUND_ROWS.
    due = datetime.now(UTC) + timedelta(hours=1)
    for start in ("passes", "is cancelled"):
        assert [gate.arm(start, due) for _ in range(2)] == [True, True]
    assert [gate.may_start("passes") for _ in range(2)] == [True, True]
    assert gate.arm("passes", due) is False
    assert [gate.cancel("is cancelled", it) for it in ("a", "a", "b")] == [True, True, False]
    assert gate.may_start("is cancelled") is False
