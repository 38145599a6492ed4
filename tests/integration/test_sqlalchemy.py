"""
Cancelling in a transaction of SQLAlchemy's: sessions and connections, blocking and asyncio.

The caller's commit is the moment of cancellation, his rollback undoes it; the scheduler is not
asked before; and a stranger can neither see nor lock the job.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import attrs
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    scoped_session,
    sessionmaker,
)

from batch_cancel import (
    AlreadyTerminal,
    CancelFailed,
    ContactStatus,
    JobKey,
    JobNotFound,
    JobStatus,
    UnknownJobStatus,
    append_contacts,
    cancel_job,
    cancel_job_async,
    cancel_rows,
    cancel_rows_async,
    claim_contacts,
    finish_job,
    inspect,
    remove_deferred,
    settle_contact,
    start_job,
    still_running,
)
from batch_cancel.adapters.memory import AsyncMemoryScheduler, MemoryScheduler
from batch_cancel.adapters.sqlalchemy import (
    AsyncSqlAlchemyUnitOfWork,
    SqlAlchemyTables,
    SqlAlchemyUnitOfWork,
    cancellations_table,
    joining,
    joining_async,
)
from batch_cancel.domain.errors import Fault, StoreFailed
from tests import data_layers
from tests.data_layers import CONTACTS, JOBS, TABLES
from tests.integration.test_postgres_schemas import SHOUTED_CONTACTS, SHOUTED_JOBS
from tests.pairs import create_reference_tables

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers import PostgresServer

SQLITE, POSTGRES = "sqlite", "postgres"
COMMITS = pytest.mark.parametrize("commits", [True, False], ids=["commit", "rollback"])


@attrs.frozen
class Database:
    """One of the databases, with a scheduled job of two contacts in organization a."""

    name: str
    place: Any
    engine: sa.Engine

    def asyncio_engine(self, **options: Any) -> Any:
        """Give the asyncio engine of the same database."""
        if self.name == SQLITE:
            return data_layers.sqlite_engine_async(self.place, **options)
        return data_layers.postgres_engine_async(self.place, **options)

    def engine_with(self, **options: Any) -> sa.Engine:
        """Give another engine of the same database."""
        if self.name == SQLITE:
            return data_layers.sqlite_engine(self.place, **options)
        return data_layers.postgres_engine(self.place, **options)

    def is_cancelled(self) -> bool:
        """Tell whether all of it is cancelled; asserts that it is all or nothing."""
        with self.engine.connect() as connection:
            [job] = connection.execute(sa.select(JOBS.c.status)).scalars()
            contacts = list(connection.execute(sa.select(CONTACTS.c.status)).scalars())
            ours = sa.select(sa.func.count()).select_from(TABLES.cancellations)
            records = connection.execute(ours).scalar_one()
        assert (job, sorted(contacts), records) in (
            ("scheduled", ["completed", "pending"], 0),
            ("cancelled", ["cancelled", "completed"], 1),
        )
        return bool(job == "cancelled")


@pytest.fixture(params=[SQLITE, POSTGRES])
def database(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, tmp_path: Path
) -> Iterator[Database]:
    """Lend each database in turn."""
    with ExitStack() as stack:
        if request.param == SQLITE:
            place: Any = tmp_path / "jobs.sqlite"
            engine = data_layers.sqlite_engine(place)
            data_layers.METADATA.create_all(engine)
        else:
            place = stack.enter_context(postgres_server.schema())
            engine = data_layers.postgres_engine(place)
            with psycopg.connect(place, autocommit=True) as connection:
                create_reference_tables(connection)
        with engine.begin() as seeding:
            job = {"id": "job", "organization_id": "a", "status": "scheduled"}
            seeding.execute(sa.insert(JOBS).values(**job, scheduled_job_id="start"))
            for status in ("pending", "completed"):
                contact = {"batch_job_id": "job", "status": status}
                seeding.execute(sa.insert(CONTACTS).values(contact))
        yield Database(request.param, place, engine)
        engine.dispose()


def waiting_start() -> MemoryScheduler:
    """Give a scheduler in which the job's start waits."""
    scheduler = MemoryScheduler()
    scheduler.schedule("start", datetime.now(UTC) + timedelta(hours=1))
    return scheduler


@COMMITS
@pytest.mark.parametrize("reads_first", [True, False], ids=["after a read", "first statement"])
def test_session(database: Database, *, reads_first: bool, commits: bool) -> None:
    """A session of the ORM; the start waits until after the commit."""
    scheduler = waiting_start()
    with Session(database.engine) as session:
        if reads_first:
            session.execute(sa.select(JOBS)).all()
        cancellation = cancel_rows("job", uow=joining(session, TABLES), organization_id="a")
        assert cancellation.record.contacts_cancelled == 1
        assert not database.is_cancelled()
        assert scheduler.waiting() == {"start"}
        (session.commit if commits else session.rollback)()
    assert database.is_cancelled() is commits
    assert scheduler.waiting() == {"start"}
    if commits:
        uow = SqlAlchemyUnitOfWork(database.engine, TABLES)
        assert remove_deferred(cancellation, scheduler, uow=uow).redis_job_cancelled
        assert scheduler.waiting() == set()


@COMMITS
def test_connection(database: Database, *, commits: bool) -> None:
    """Core; what the caller writes beside it shares its fate."""
    with database.engine.connect() as connection:
        cancel_rows("job", uow=joining(connection, TABLES), organization_id="a")
        connection.execute(sa.insert(CONTACTS).values(batch_job_id="job", status="failed"))
        (connection.commit if commits else connection.rollback)()
    with database.engine.connect() as connection:
        statuses = sorted(connection.execute(sa.select(CONTACTS.c.status)).scalars())
    assert statuses == (
        ["cancelled", "completed", "failed"] if commits else ["completed", "pending"]
    )


@COMMITS
@pytest.mark.parametrize("kind", ["session", "connection"])
def test_asyncio(database: Database, kind: str, *, commits: bool) -> None:
    """The same over asyncpg and aiosqlite, with the cancel as the first statement."""

    async def main() -> None:
        engine = database.asyncio_engine()
        async with AsyncSession(engine) if kind == "session" else engine.connect() as caller:
            await cancel_rows_async("job", uow=joining_async(caller, TABLES), organization_id="a")
            assert not database.is_cancelled()
            await (caller.commit() if commits else caller.rollback())
        await engine.dispose()

    asyncio.run(main())
    assert database.is_cancelled() is commits


def test_a_refused_cancel_leaves_the_callers_transaction_usable(database: Database) -> None:
    """The savepoint alone is undone; a lazily begun transaction is not committed by it."""
    with Session(database.engine) as session:
        for job_id in ("missing", "\0", "x" * 5000):
            with pytest.raises(JobNotFound):
                cancel_rows(job_id, uow=joining(session, TABLES), organization_id="a")
        session.execute(sa.insert(CONTACTS).values(batch_job_id="job", status="failed"))
        session.rollback()
    assert not database.is_cancelled()


def test_a_connection_that_commits_by_itself_is_refused(database: Database) -> None:
    """There is no transaction to join: the caller could not undo the cancel."""
    engine = database.engine_with(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        with pytest.raises(CancelFailed, match="commits by itself") as failure:
            cancel_rows("job", uow=joining(connection, TABLES), organization_id="a")
        assert failure.value.outcome == "unchanged"
    assert not database.is_cancelled()

    async def main() -> None:
        engine = database.asyncio_engine(isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            with pytest.raises(CancelFailed, match="commits by itself"):
                await cancel_rows_async(
                    "job", uow=joining_async(connection, TABLES), organization_id="a"
                )
        await engine.dispose()

    asyncio.run(main())
    assert not database.is_cancelled()


def test_an_engine_that_commits_by_itself_is_refused(database: Database) -> None:
    """Nothing would be undone, and nobody kept from the job."""
    engine = database.engine_with(isolation_level="AUTOCOMMIT")
    with pytest.raises(CancelFailed, match="commits by itself"):
        cancel_rows("job", uow=SqlAlchemyUnitOfWork(engine, TABLES), organization_id="a")
    asyncio_engine = database.asyncio_engine(isolation_level="AUTOCOMMIT")
    uow = AsyncSqlAlchemyUnitOfWork(asyncio_engine, TABLES)
    with pytest.raises(CancelFailed, match="commits by itself"):
        asyncio.run(cancel_rows_async("job", uow=uow, organization_id="a"))
    assert not database.is_cancelled()


@pytest.mark.parametrize("database", [SQLITE], indirect=True)
def test_a_file_that_another_has_changed_meanwhile_is_busy(database: Database) -> None:
    """SQLite's longer names for it, such as SQLITE_BUSY_SNAPSHOT, are not taken for refusals."""
    with database.engine.connect() as reader:
        reader.exec_driver_sql("PRAGMA journal_mode = wal")
        reader.exec_driver_sql("BEGIN")
        reader.execute(sa.select(JOBS)).all()
        with database.engine.begin() as writer:
            writer.execute(sa.update(CONTACTS).values(label="seen"))
        with pytest.raises(CancelFailed, match="locked by another transaction") as failure:
            cancel_rows("job", uow=joining(reader, TABLES), organization_id="a")
        assert (failure.value.outcome, failure.value.retryable) == ("unchanged", True)


def test_a_database_that_nobody_has_tested_is_refused(database: Database) -> None:
    """By its name, before anything is asked of it."""
    with database.engine.connect() as connection, pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection.dialect, "name", "mysql")
        with pytest.raises(CancelFailed, match="mysql is neither Postgres nor SQLite"):
            cancel_rows("job", uow=joining(connection, TABLES), organization_id="a")
        uow = SqlAlchemyUnitOfWork(database.engine, TABLES)
        with pytest.raises(CancelFailed, match="mysql is neither Postgres nor SQLite"):
            cancel_rows("job", uow=uow, organization_id="a")


def test_a_session_of_several_databases_is_asked_for_that_of_the_jobs(
    database: Database, tmp_path: Path
) -> None:
    """Not for its default, where a job of the same name may be."""
    elsewhere = data_layers.sqlite_engine(tmp_path / "elsewhere.sqlite")
    binds: dict[Any, Any] = {TABLES.jobs: database.engine}
    with Session(elsewhere, binds=binds) as session:
        cancel_rows("job", uow=joining(session, TABLES), organization_id="a")
        session.commit()
    assert database.is_cancelled()
    with Session(binds=binds) as session, pytest.raises(AlreadyTerminal):
        cancel_rows("job", uow=joining(session, TABLES), organization_id="a")


def test_scoped_sessions(database: Database) -> None:
    """As web applications have them: the session of this thread, or of this task."""
    scoped = scoped_session(sessionmaker(database.engine))
    cancel_rows("job", uow=joining(scoped, TABLES), organization_id="a")
    scoped.remove()
    assert not database.is_cancelled()

    async def main() -> None:
        engine = database.asyncio_engine()
        scoped = async_scoped_session(async_sessionmaker(engine), asyncio.current_task)
        await cancel_rows_async("job", uow=joining_async(scoped, TABLES), organization_id="a")
        await scoped.commit()
        await scoped.remove()
        await engine.dispose()

    asyncio.run(main())
    assert database.is_cancelled()


@pytest.mark.parametrize("database", [POSTGRES], indirect=True)
def test_a_transaction_of_ours_is_durable(database: Database) -> None:
    """Whatever the server's default: what was answered survives its crash."""
    engine = database.engine_with()

    def hurry(connection: psycopg.Connection[Any], _: object) -> None:
        connection.execute("SET synchronous_commit = off")
        connection.commit()

    event.listen(engine, "connect", hurry)

    shown = sa.text("SHOW synchronous_commit")
    with SqlAlchemyUnitOfWork(engine, TABLES).begin() as repositories:
        assert repositories.jobs.connection.execute(shown).scalar_one() == "on"
    with engine.connect() as connection:
        assert connection.execute(shown).scalar_one() == "off"


@pytest.mark.parametrize("database", [POSTGRES], indirect=True)
@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_transaction_that_would_leave_contacts_behind_is_refused(
    database: Database, level: str
) -> None:
    """Above READ COMMITTED, contacts that came in during the wait for the job are not seen."""
    engine = database.engine_with(isolation_level=level)
    with Session(engine) as session, pytest.raises(CancelFailed, match="READ COMMITTED"):
        cancel_rows("job", uow=joining(session, TABLES), organization_id="a")
    uow = SqlAlchemyUnitOfWork(engine, TABLES)  # Ours sets its own.
    scheduler = waiting_start()
    assert cancel_job("job", uow=uow, scheduler=scheduler, organization_id="a").redis_job_cancelled


@pytest.mark.parametrize("organization_id", ["b", None, "A", "%"])
def test_a_stranger_neither_sees_nor_locks_the_job(
    database: Database, organization_id: str | None
) -> None:
    """His answer is that of a missing job, at once, while the owner holds the lock."""
    uow = SqlAlchemyUnitOfWork(database.engine, TABLES, lock_timeout=timedelta(milliseconds=1))
    with pytest.raises(JobNotFound):
        cancel_rows("job", uow=uow, organization_id=organization_id)
    assert not database.is_cancelled()
    if database.name == SQLITE:
        return  # The file has one lock for all.
    with SqlAlchemyUnitOfWork(database.engine, TABLES).begin() as repositories:
        assert repositories.jobs.lock(JobKey("job", "a"))
        with pytest.raises(JobNotFound):
            cancel_rows("job", uow=uow, organization_id=organization_id)
        with pytest.raises(CancelFailed, match="lock timeout"):
            cancel_rows("job", uow=uow, organization_id="a")


@pytest.mark.parametrize("database", [POSTGRES], indirect=True)
def test_contacts_that_come_in_while_a_cancel_waits_are_cancelled(database: Database) -> None:
    """Whoever appends holds the job's lock; the cancel sees what he committed."""
    answers: list[int] = []
    uow = SqlAlchemyUnitOfWork(database.engine, TABLES)

    def cancel() -> None:
        done = cancel_rows("job", uow=uow, organization_id="a")
        answers.append(done.record.contacts_cancelled)

    with psycopg.connect(database.place) as appender:
        appender.execute("SELECT FROM batch_jobs FOR UPDATE")
        thread = threading.Thread(target=cancel)
        thread.start()
        with psycopg.connect(database.place, autocommit=True) as looker:
            waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN (SELECT pid FROM "
            waits += "pg_locks WHERE relation = 'batch_jobs'::regclass)"
            while looker.execute(waits.encode()).fetchone() == (0,):
                pass
        appender.execute(
            "INSERT INTO batch_contacts (batch_job_id, status) VALUES ('job', 'pending')"
        )
    thread.join()
    assert answers == [2]


def terminate(dsn: str) -> None:
    """End every other connection that is at work on these tables, as a failover does."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks "
            "WHERE relation = 'batch_jobs'::regclass AND pid <> pg_backend_pid()"
        )


def check_interrupted(failure: StoreFailed) -> None:
    """Find that the transaction is gone, a new one may do, and nothing is told of the old one."""
    assert (failure.outcome, failure.fault) == ("unchanged", Fault.INTERRUPTED)
    assert "127.0.0.1" not in str(failure)


@pytest.mark.parametrize("database", [POSTGRES], indirect=True)
def test_a_connection_that_breaks_is_told_as_such(database: Database) -> None:
    """Over psycopg and over asyncpg; the next attempt is not harmed."""
    uow = SqlAlchemyUnitOfWork(database.engine, TABLES)
    with pytest.raises(StoreFailed) as failure, uow.begin() as repositories:  # noqa: PT012
        assert repositories.jobs.lock(JobKey("job", "a"))
        terminate(database.place)
        repositories.contacts.cancel(JobKey("job", "a"), {ContactStatus.PENDING})
    check_interrupted(failure.value)

    async def main() -> None:
        engine = database.asyncio_engine()
        uow = AsyncSqlAlchemyUnitOfWork(engine, TABLES)
        with pytest.raises(StoreFailed) as failure:  # noqa: PT012
            async with uow.begin() as repositories:
                assert await repositories.jobs.lock(JobKey("job", "a"))
                terminate(database.place)
                await repositories.contacts.cancel(JobKey("job", "a"), {ContactStatus.PENDING})
        check_interrupted(failure.value)
        cancellation = await cancel_rows_async("job", uow=uow, organization_id="a")
        assert cancellation.record.contacts_cancelled == 1
        await engine.dispose()

    asyncio.run(main())
    assert database.is_cancelled()


@pytest.mark.parametrize("database", [POSTGRES], indirect=True)
def test_a_server_out_of_reach_is_told_as_such(database: Database) -> None:
    """Nobody listens; psycopg and asyncpg say so in their own ways."""
    nowhere = "host=127.0.0.1 port=1 user=ann dbname=app connect_timeout=5"
    with pytest.raises(CancelFailed) as failure:
        cancel_rows("job", uow=data_layers.postgres_uow(nowhere, is_async=False))
    assert (failure.value.outcome, failure.value.retryable) == ("unchanged", True)
    assert "can't be reached" in str(failure.value)
    assert "ann" not in str(failure.value)
    with pytest.raises(CancelFailed) as failure:
        asyncio.run(cancel_rows_async("job", uow=data_layers.postgres_uow(nowhere, is_async=True)))
    assert (failure.value.outcome, failure.value.retryable) == ("unchanged", True)
    assert "can't be reached" in str(failure.value)
    assert "ann" not in str(failure.value)


class Base(DeclarativeBase):
    """The classes of an adopter."""


class Campaign(Base):
    """A job of his."""

    __tablename__ = "campaigns"
    uid: Mapped[UUID] = mapped_column(primary_key=True)
    state: Mapped[str]


class Recipient(Base):
    """A contact of his."""

    __tablename__ = "recipients"
    number: Mapped[int] = mapped_column(primary_key=True)
    campaign: Mapped[UUID]
    state: Mapped[str]


OWN = SqlAlchemyTables(
    jobs=Campaign,
    contacts=Recipient,
    cancellations=cancellations_table(Base.metadata),
    job_id="uid",
    job_organization_id=None,
    job_status="state",
    job_deferred_id=None,
    job_updated_at=None,
    contact_id="number",
    contact_job_id="campaign",
    contact_status="state",
    contact_next_attempt_at=None,
    contact_updated_at=None,
)


def test_mapped_classes_of_the_adopters_own(database: Database) -> None:
    """Uuids, no organizations, no times; what the session has not flushed yet is cancelled too."""
    TABLES.cancellations.drop(database.engine)
    Base.metadata.create_all(database.engine)
    uid = uuid4()
    scheduler = MemoryScheduler()
    scheduler.schedule(str(uid), datetime.now(UTC) + timedelta(hours=1))
    with Session(database.engine) as session:
        session.add(Campaign(uid=uid, state="scheduled"))
        session.add(Recipient(number=1, campaign=uid, state="busy"))
        for hostile in (f"{{{uid}}}", uid.hex, "1", " "):
            with pytest.raises(JobNotFound):
                cancel_rows(hostile, uow=joining(session, OWN))
        cancellation = cancel_rows(str(uid), uow=joining(session, OWN))
        session.commit()
        assert cancellation.record.contacts_cancelled == 1
        assert session.get_one(Campaign, uid).state == "cancelled"
    assert remove_deferred(cancellation, scheduler).redis_job_cancelled


class TextJob(StrEnum):
    """Statuses of jobs, by names that SQLAlchemy would store."""

    SOON = "scheduled"
    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


def _made(kind: Any, name: str, values: dict[str, str]) -> Any:
    return kind(name, values)


PlainJob: Any = _made(Enum, "PlainJob", {it.name: it.value for it in TextJob})
TextContact: Any = _made(StrEnum, "TextContact", {it.name: it.value for it in ContactStatus})
PlainContact: Any = _made(Enum, "PlainContact", {it.name: it.value for it in ContactStatus})


class Coded(sa.types.TypeDecorator[str]):
    """A type that stores something else than what Python sees."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """Write it the other way round."""
        return value and value[::-1]

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """Read it likewise."""
        return value and value[::-1]


def _values(kind: Any) -> list[str]:
    return [it.value for it in kind]


def _reversed(kind: Any) -> dict[Any, str]:
    return {it: it.value[::-1] for it in kind}


TYPES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "names of texts": (sa.Enum(TextJob), sa.Enum(TextContact), {}),
    "names": (sa.Enum(PlainJob), sa.Enum(PlainContact), {}),
    "names in text": (
        sa.Enum(PlainJob, native_enum=False),
        sa.Enum(TextContact, native_enum=False),
        {},
    ),
    "values": (
        sa.Enum(PlainJob, values_callable=_values),
        sa.Enum(TextContact, values_callable=_values, validate_strings=True),
        {},
    ),
    "labels": (
        sa.Enum(*_values(JobStatus), name="job_label"),
        sa.Enum(*_values(ContactStatus), name="contact_label"),
        {},
    ),
    "codes": (
        Coded(),
        Coded(),
        {"job_statuses": _reversed(JobStatus), "contact_statuses": _reversed(ContactStatus)},
    ),
}


def _typed(job: Any, contact: Any, **more: Any) -> SqlAlchemyTables:
    metadata = sa.MetaData()
    jobs = sa.Table(
        "typed_jobs",
        metadata,
        sa.Column("id", sa.Uuid(as_uuid=False), primary_key=True),
        sa.Column("status", job),
    )
    contacts = sa.Table(
        "typed_contacts",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("batch_job_id", sa.Uuid(as_uuid=False)),
        sa.Column("status", contact),
    )
    missing = "job_organization_id job_deferred_id job_updated_at contact_updated_at"
    names: dict[str, Any] = dict.fromkeys([*missing.split(), "contact_next_attempt_at"])
    return SqlAlchemyTables(
        jobs=jobs,
        contacts=contacts,
        cancellations=cancellations_table(metadata, "typed_cancellations"),
        **names,
        **more,
    )


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("types", TYPES)
def test_statuses_of_any_type(database: Database, types: str, *, is_async: bool) -> None:
    """What the database holds counts, whatever a column's type makes of it."""
    job, contact, more = TYPES[types]
    tables = _typed(job, contact, **more)
    tables.jobs.metadata.create_all(database.engine)
    job_id = str(uuid4())
    of_job, of_contact = (getattr(it, "enum_class", None) or str for it in (job, contact))
    with database.engine.begin() as connection:
        connection.execute(sa.insert(tables.jobs).values(id=job_id, status=of_job("running")))
        for status in ContactStatus:
            row = {"batch_job_id": job_id, "status": of_contact(status.value)}
            connection.execute(sa.insert(tables.contacts).values(row))
    blocking = SqlAlchemyUnitOfWork(database.engine, tables)
    assert append_contacts(job_id, [{}], uow=blocking) == 1
    assert not finish_job(job_id, uow=blocking)
    for hostile in ("nope", job_id.replace("-", ""), f"{{{job_id}}}"):
        with pytest.raises(JobNotFound):
            cancel_rows(hostile, uow=blocking)
    if is_async:
        uow = AsyncSqlAlchemyUnitOfWork(database.asyncio_engine(), tables)
        done = asyncio.run(cancel_rows_async(job_id, uow=uow))
    else:
        done = cancel_rows(job_id, uow=blocking)
    assert done.record.contacts_cancelled == 6
    with database.engine.connect() as connection:
        [status] = connection.execute(sa.select(tables.jobs.c.status)).scalars()
        statuses = list(connection.execute(sa.select(tables.contacts.c.status)).scalars())
    assert status == of_job("cancelled")
    assert statuses.count(of_contact("cancelled")) == 7
    assert statuses.count(of_contact("dialing")) == 1


@pytest.mark.parametrize(
    "types", [(sa.Text(), Coded()), (Coded(), sa.Text()), (sa.Text(), sa.Enum("NEW", "GONE"))]
)
def test_a_type_that_stores_nobody_knows_what_is_refused(types: tuple[Any, Any]) -> None:
    """Else a cancel would find no contact, and say so: it says which spellings it needs."""
    with pytest.raises(ValueError, match=r"say it by (job|contact)_statuses"):
        _typed(*types)


SPELLED = attrs.evolve(
    TABLES,
    job_statuses=SHOUTED_JOBS,
    contact_statuses=SHOUTED_CONTACTS,
    job_where={"scheduled_job_id": "start"},
    contact_where={"label": None},
)
"""The reference tables as somebody might fill them; a contact with a label is none."""


def fill(database: Database, status: str, contacts: dict[str, str | None]) -> None:
    """Set the job's status, and give it contacts of these, each with its label."""
    with database.engine.begin() as connection:
        connection.execute(sa.delete(CONTACTS))
        connection.execute(sa.update(JOBS).values(status=status))
        for spelling, label in contacts.items():
            row = {"batch_job_id": "job", "status": spelling, "label": label}
            connection.execute(sa.insert(CONTACTS).values(row))


def rows(database: Database) -> tuple[str, list[str]]:
    """Give the status of the job, and those of its contacts."""
    with database.engine.connect() as connection:
        [job] = connection.execute(sa.select(JOBS.c.status)).scalars()
        return job, sorted(connection.execute(sa.select(CONTACTS.c.status)).scalars())


@pytest.fixture
def spelled(database: Database) -> Database:
    """Lend each database with contacts that have labels, which some do not count for."""
    if database.name == POSTGRES:
        with database.engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE batch_contacts ADD label text"))
    return database


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_statuses_are_read_and_written_as_the_table_spells_them(
    spelled: Database, *, is_async: bool
) -> None:
    """The five become cancelled, those of rows that count; the contract's words mean nothing."""
    contacts: dict[str, str | None] = dict.fromkeys(SHOUTED_CONTACTS.values())
    fill(spelled, "LIVE 100%", contacts | {"pending": None})
    fill_more = {"batch_job_id": "job", "status": "NEW", "label": "deleted"}
    with spelled.engine.begin() as connection:
        connection.execute(sa.insert(CONTACTS).values(fill_more))
    key: dict[str, Any] = {"organization_id": "a", "operation_id": "op"}
    for replayed in (False, True):
        if is_async:
            uow = AsyncSqlAlchemyUnitOfWork(spelled.asyncio_engine(), SPELLED)
            done = asyncio.run(
                cancel_job_async("job", uow=uow, scheduler=AsyncMemoryScheduler(), **key)
            )
        else:
            blocking = SqlAlchemyUnitOfWork(spelled.engine, SPELLED)
            done = cancel_job("job", uow=blocking, scheduler=MemoryScheduler(), **key)
        assert (done.contacts_cancelled, done.replayed) == (5, replayed)
    assert rows(spelled) == (
        "CANCELED",
        sorted(
            [
                *["CANCELED"] * 6,
                *("ON CALL", "OK", "KO", "BARRED", "WRONG {}", "CARRIER"),
                *("NEW", "pending"),
            ]
        ),
    )


@pytest.mark.parametrize("status", ["running", "cancelled", "canceled"])
def test_the_contracts_spelling_means_nothing_where_another_is_given(
    spelled: Database, status: str
) -> None:
    """Such a job is in a status that nobody has mapped."""
    fill(spelled, status, {"NEW": None})
    uow = SqlAlchemyUnitOfWork(spelled.engine, SPELLED)
    with pytest.raises(UnknownJobStatus):
        cancel_job("job", uow=uow, scheduler=MemoryScheduler(), organization_id="a")
    assert rows(spelled) == (status, ["NEW"])


def test_rows_that_do_not_count_are_not_there(spelled: Database) -> None:
    """Neither to a cancel nor to a worker nor to inspect; nothing is changed."""
    fill(spelled, "PLANNED", {"NEW": None})
    drafts = attrs.evolve(SPELLED, job_where={"scheduled_job_id": None})
    uow = SqlAlchemyUnitOfWork(spelled.engine, drafts)
    scheduler = MemoryScheduler()
    with pytest.raises(JobNotFound):
        cancel_job("job", uow=uow, scheduler=scheduler, organization_id="a")
    assert not start_job("job", uow=uow, organization_id="a")
    assert not still_running("job", uow=uow, organization_id="a")
    assert not inspect(uow=uow, scheduler=scheduler).is_found
    assert inspect(uow=SqlAlchemyUnitOfWork(spelled.engine, SPELLED), scheduler=scheduler).is_found
    assert rows(spelled) == ("PLANNED", ["NEW"])


def test_workers_keep_to_the_tables_spellings(spelled: Database) -> None:
    """A whole life of a job, each step in the adopter's words."""
    fill(spelled, "PLANNED", {"NEW": None, "BUSY": "deleted"})
    uow = SqlAlchemyUnitOfWork(spelled.engine, SPELLED)
    its: dict[str, Any] = {"uow": uow, "organization_id": "a"}
    assert start_job("job", **its)
    assert still_running("job", **its)
    assert append_contacts("job", [{}], **its) == 1
    first, second = claim_contacts("job", limit=9, **its)
    assert rows(spelled) == ("LIVE 100%", ["BUSY", "ON CALL", "ON CALL"])
    assert settle_contact("job", first, ContactStatus.COMPLETED, **its) == "completed"
    assert not finish_job("job", **its)
    assert settle_contact("job", second, ContactStatus.FAILED, **its) == "failed"
    assert finish_job("job", **its)
    assert rows(spelled) == ("it's done", ["BUSY", "KO", "OK"])


def test_a_column_that_is_not_there_is_told_at_once() -> None:
    """Where the tables are named, not at the first cancel."""
    with pytest.raises(ValueError, match="job_where: batch_jobs has no column 'gone'"):
        attrs.evolve(TABLES, job_where={"gone": None})
    with pytest.raises(ValueError, match="no spelling is given for scheduled"):
        attrs.evolve(TABLES, job_statuses={JobStatus.CANCELLED: "canceled"})
    with pytest.raises(ValueError, match="job_status: batch_jobs has no column 'state'"):
        attrs.evolve(TABLES, job_status="state")
    with pytest.raises(
        ValueError, match="contact_job_id: batch_contacts has no column 'scheduled"
    ):
        attrs.evolve(TABLES, contact_job_id="scheduled_job_id")  # A column of the other table.
    with pytest.raises(TypeError, match="a Table or a mapped class is needed, got 'jobs'"):
        attrs.evolve(TABLES, jobs="jobs")  # type: ignore[arg-type]


@pytest.fixture
def far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Move this process, and its sessions on Postgres, to where clocks are nine hours ahead."""
    with monkeypatch.context() as moved:
        moved.setenv("TZ", "Asia/Tokyo")
        moved.setenv("PGTZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("far_from_utc")
def test_moments_are_the_same_wherever_the_process_runs(database: Database) -> None:
    """A database that keeps no time zone is not taken to keep the process's."""
    uow, scheduler = SqlAlchemyUnitOfWork(database.engine, TABLES), waiting_start()
    operation: dict[str, Any] = {"organization_id": "a", "operation_id": "op"}
    slack = timedelta(minutes=5)
    before = datetime.now(UTC)
    told = cancel_job("job", uow=uow, scheduler=scheduler, **operation)
    again = cancel_job("job", uow=uow, scheduler=scheduler, **operation)
    assert before - slack < told.cancelled_at < datetime.now(UTC) + slack
    assert again.cancelled_at == told.cancelled_at
    assert again.cancelled_at.tzinfo is UTC
