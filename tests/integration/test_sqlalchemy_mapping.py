"""
What a mapping of SQLAlchemy's says is honoured by every step, or refused where it is given.

Classes that share a table, versions, padded ids, names that are no plain words, statuses that are
numbers or have several spellings, and since when a call has been live.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import DOMAIN
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.orm.exc import StaleDataError

from batch_cancel import ContactStatus, JobNotFound, JobStatus, UnknownJobStatus
from batch_cancel.adapters.memory import AsyncMemoryScheduler, MemoryScheduler
from batch_cancel.adapters.sqlalchemy import SqlAlchemyTables, cancellations_table
from batch_cancel.domain.errors import StoreFailed
from tests import data_layers
from tests.data_layers import CONTACTS, DRIVERS, JOBS, METADATA, TABLES, Layer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers import PostgresServer

NOTHING_ELSE: dict[str, Any] = {
    "job_organization_id": None,
    "job_deferred_id": None,
    "job_updated_at": None,
    "contact_next_attempt_at": None,
    "contact_updated_at": None,
}
POSTGRES = pytest.mark.parametrize("layer", ["psycopg", "asyncpg"], indirect=True)
AGE = timedelta(hours=1)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture(params=DRIVERS)
def layer(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, tmp_path: Path
) -> Iterator[Layer]:
    """Lend an empty database by each driver in turn."""
    with data_layers.layer(request.param, postgres_server, tmp_path) as lent:
        yield lent


# Classes that share a table ----------------------------------------------------------------------


class Shared(DeclarativeBase):
    """An adopter whose jobs and contacts are of several kinds."""


class Work(Shared):
    """A job of any kind."""

    __tablename__ = "works"
    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    status: Mapped[str]
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "work"}  # noqa: RUF012  # As SQLAlchemy has it.


class Calling(Work):
    """A job of calls."""

    __mapper_args__ = {"polymorphic_identity": "call"}  # noqa: RUF012


class Dunning(Calling):
    """A job of calls of one kind."""

    __mapper_args__ = {"polymorphic_identity": "dun"}  # noqa: RUF012


class Mailing(Work):
    """A job of no calls."""

    __mapper_args__ = {"polymorphic_identity": "mail"}  # noqa: RUF012


class Addressee(Shared):
    """A contact of any kind."""

    __tablename__ = "addressees"
    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    status: Mapped[str]
    batch_job_id: Mapped[str]
    updated_at: Mapped[datetime | None] = mapped_column(sa.DateTime(timezone=True))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "any"}  # noqa: RUF012


class Callee(Addressee):
    """A contact that is called."""

    __mapper_args__ = {"polymorphic_identity": "callee"}  # noqa: RUF012


class Reader(Addressee):
    """A contact that is not."""

    __mapper_args__ = {"polymorphic_identity": "reader"}  # noqa: RUF012


CALLS = NOTHING_ELSE | dict[str, Any](contact_updated_at="updated_at")

SHARED = SqlAlchemyTables(
    jobs=Calling, contacts=Callee, cancellations=cancellations_table(Shared.metadata), **CALLS
)


def kinds(layer: Layer) -> dict[str, str]:
    """Return the status of every row of both shared tables."""
    rows = layer.rows("SELECT id, status FROM works UNION ALL SELECT id, status FROM addressees")
    return {row[0]: row[1] for row in rows}


@pytest.mark.parametrize("tables", [SHARED, attrs.evolve(SHARED, job_status="status")])
def test_rows_of_other_classes_are_no_jobs_and_no_contacts(
    layer: Layer, tables: SqlAlchemyTables
) -> None:
    """Though they are in the same tables, by every step; nor is that lost by `attrs.evolve`."""
    Shared.metadata.create_all(layer.engine)
    with Session(layer.engine) as session:
        session.add(Mailing(id="mail", status="running"))
        session.add(Dunning(id="dun", status="running"))
        old = {"updated_at": LONG_AGO}
        session.add(Callee(id="m1", batch_job_id="mail", status="pending", **old))
        session.add(Callee(id="c1", batch_job_id="dun", status="pending", **old))
        session.add(Reader(id="r1", batch_job_id="dun", status="pending", **old))
        session.add(Callee(id="c2", batch_job_id="dun", status="dialing", **old))
        session.add(Reader(id="r2", batch_job_id="dun", status="dialing", **old))
        session.commit()
    call = layer.call
    before = kinds(layer)
    with pytest.raises(JobNotFound):
        call("cancel_rows", "mail", tables=tables)
    assert not call("start_job", "mail", tables=tables)
    assert call("claim_contacts", "mail", limit=9, tables=tables) == []
    assert not call("settle_contact", "dun", "r2", ContactStatus.FAILED, tables=tables)
    assert kinds(layer) == before
    assert call("expire_calls", "dun", AGE, tables=tables) == 1
    assert sorted(call("claim_contacts", "dun", limit=9, tables=tables)) == ["c1", "c2"]
    assert call("settle_contact", "dun", "c2", ContactStatus.FAILED, tables=tables)
    assert call("append_contacts", "dun", [{"id": "c3"}], tables=tables) == 1
    assert call("cancel_rows", "dun", tables=tables).record.contacts_cancelled == 1
    assert kinds(layer) == before | {
        "dun": "cancelled",
        "c1": "dialing",
        "c2": "failed",
        "c3": "cancelled",
    }
    with Session(layer.engine) as session:
        assert isinstance(session.get(Addressee, "c3"), Callee)
    is_async = layer.asyncio_engine is not None
    scheduler: Any = AsyncMemoryScheduler() if is_async else MemoryScheduler()
    drift = call("inspect", scheduler=scheduler, tables=tables)
    assert not drift.contacts_open
    assert not drift.calls_overdue


def test_a_contact_of_another_class_is_not_added(layer: Layer) -> None:
    """One of a derived class would be; a reader is none."""
    Shared.metadata.create_all(layer.engine)
    with Session(layer.engine) as session:
        session.add(Calling(id="call", status="running"))
        session.commit()
    contacts = [{"id": "c1", "kind": "callee"}]
    assert layer.call("append_contacts", "call", contacts, tables=SHARED) == 1
    with pytest.raises(StoreFailed, match="'kind' must be one of its mapped class"):
        layer.call("append_contacts", "call", [{"id": "c2", "kind": "reader"}], tables=SHARED)
    assert kinds(layer) == {"call": "running", "c1": "pending"}


def test_a_contact_of_the_base_class_is_one(layer: Layer) -> None:
    """All rows are contacts then, and a new one is of the class that was given."""
    Shared.metadata.create_all(layer.engine)
    with Session(layer.engine) as session:
        session.add(Mailing(id="mail", status="running"))
        session.add(Reader(id="r1", batch_job_id="mail", status="pending"))
        session.commit()
    tables = attrs.evolve(SHARED, jobs=Work, contacts=Addressee)
    added = [{"id": "a1"}, {"id": "a2", "kind": "callee"}]
    assert layer.call("append_contacts", "mail", added, tables=tables) == 2
    assert layer.rows("SELECT id, kind FROM addressees ORDER BY 1") == [
        ("a1", "any"),
        ("a2", "callee"),
        ("r1", "reader"),
    ]
    assert layer.call("cancel_rows", "mail", tables=tables).record.contacts_cancelled == 3


def test_a_class_that_is_no_rows_is_refused() -> None:
    """Nothing would tell its rows from others."""

    class Other(DeclarativeBase):
        pass

    class Base(Other):
        __tablename__ = "based"
        id: Mapped[str] = mapped_column(primary_key=True)
        kind: Mapped[str]
        status: Mapped[str]
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_abstract": True}  # noqa: RUF012

    class Middle(Base):
        __mapper_args__ = {"polymorphic_abstract": True}  # noqa: RUF012

    with pytest.raises(ValueError, match="can't be seen from its mapping"):
        attrs.evolve(SHARED, jobs=Middle)


# Versions ----------------------------------------------------------------------------------------


class Versioned(DeclarativeBase):
    """An adopter who locks optimistically."""


class Batch(Versioned):
    """A job with versions."""

    __tablename__ = "batches"
    id: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str]
    version: Mapped[int] = mapped_column()
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012


class Person(Versioned):
    """A contact with versions."""

    __tablename__ = "people"
    id: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str]
    batch_job_id: Mapped[str]
    updated_at: Mapped[datetime | None] = mapped_column(sa.DateTime(timezone=True))
    row_version: Mapped[int] = mapped_column("version")
    __mapper_args__ = {"version_id_col": row_version}  # noqa: RUF012


VERSIONED = SqlAlchemyTables(
    jobs=Batch,
    contacts=Person,
    cancellations=cancellations_table(Versioned.metadata),
    **CALLS,
)
BY_TABLE = attrs.evolve(
    VERSIONED,
    jobs=Versioned.metadata.tables["batches"],
    contacts=Versioned.metadata.tables["people"],
    job_version="version",
    contact_version="version",
)


@pytest.mark.parametrize("tables", [VERSIONED, BY_TABLE], ids=["class", "table"])
def test_every_write_raises_the_version(layer: Layer, tables: SqlAlchemyTables) -> None:
    """Whoever has read the row before is told so by the database."""
    Versioned.metadata.create_all(layer.engine)
    with Session(layer.engine) as session:
        session.add(Batch(id="job", status="pending"))
        session.add(Person(id="c1", batch_job_id="job", status="pending"))
        old = {"status": "dialing", "updated_at": LONG_AGO}
        session.add(Person(id="c2", batch_job_id="job", **old))
        session.commit()

    def versions() -> list[int]:
        query = "SELECT id, version FROM batches UNION ALL SELECT id, version FROM people"
        return [row[1] for row in sorted(layer.rows(query))]

    def call(step: str, *arguments: Any, **more: Any) -> Any:
        return layer.call(step, "job", *arguments, tables=tables, **more)

    assert versions() == [1, 1, 1]  # Of c1, c2 and job.
    call("start_job")
    assert versions() == [1, 1, 2]
    call("expire_calls", AGE)
    assert versions() == [1, 2, 2]
    call("claim_contacts", limit=1)
    assert sorted(versions()[:2]) in ([1, 3], [2, 2])
    call("claim_contacts", limit=9)
    assert versions() == [2, 3, 2]
    call("settle_contact", "c1", ContactStatus.BUSY)
    call("append_contacts", [{"id": "c3"}])
    assert versions() == [3, 3, 1, 2]
    with Session(layer.engine, expire_on_commit=False) as stale:
        contact = stale.get_one(Person, "c1")
        stale.commit()
        call("cancel_rows")
        assert versions() == [4, 3, 2, 3]
        contact.status = "dialing"
        with pytest.raises(StaleDataError):
            stale.commit()


@pytest.mark.parametrize("layer", ["psycopg"], indirect=True)
def test_finish_raises_the_version(layer: Layer) -> None:
    """The last write of a job's life."""
    Versioned.metadata.create_all(layer.engine)
    with Session(layer.engine) as session:
        session.add(Batch(id="job", status="running"))
        session.commit()
    assert layer.call("finish_job", "job", tables=VERSIONED)
    assert layer.rows("SELECT status, version FROM batches") == [("completed", 2)]


def test_versions_that_sql_cannot_make_are_refused() -> None:
    """A generator of the adopter's own; where the database makes them, nothing is to be done."""

    class Other(DeclarativeBase):
        pass

    class Own(Other):
        __tablename__ = "own"
        id: Mapped[str] = mapped_column(primary_key=True)
        status: Mapped[str]
        version: Mapped[str] = mapped_column()
        __mapper_args__ = {  # noqa: RUF012
            "version_id_col": version,
            "version_id_generator": lambda version: f"{version}+",
        }

    class Server(Other):
        __tablename__ = "server"
        id: Mapped[str] = mapped_column(primary_key=True)
        status: Mapped[str]
        version: Mapped[int] = mapped_column(server_default="1")
        __mapper_args__ = {"version_id_col": version, "version_id_generator": False}  # noqa: RUF012

    given: dict[str, Any] = {
        **NOTHING_ELSE,
        "contacts": CONTACTS,
        "cancellations": TABLES.cancellations,
    }

    class Counted(Other):
        __tablename__ = "counted"
        id: Mapped[str] = mapped_column(primary_key=True)
        version: Mapped[int] = mapped_column()
        __mapper_args__ = {"version_id_col": version}  # noqa: RUF012

    class Child(Counted):
        __tablename__ = "child"
        id: Mapped[str] = mapped_column(sa.ForeignKey("counted.id"), primary_key=True)
        status: Mapped[str]

    with pytest.raises(ValueError, match=r"version_id_generator=False\), or name a column"):
        SqlAlchemyTables(jobs=Own, **given)
    with pytest.raises(ValueError, match="the versions of Child are in another table"):
        SqlAlchemyTables(jobs=Child, **given)
    assert SqlAlchemyTables(jobs=Own, **given, job_version=None).job_version is None
    assert SqlAlchemyTables(jobs=Server, **given).job_version is None


# Ids, names, statuses ----------------------------------------------------------------------------


def made(
    layer: Layer, columns: dict[str, Any], names: dict[str, str], **more: Any
) -> SqlAlchemyTables:
    """Make tables of these types of columns under these names."""
    metadata = sa.MetaData()

    def column(name: str, default: Any, **options: Any) -> sa.Column[Any]:
        return sa.Column(names.get(name, name), columns.get(name, default), **options)

    jobs = sa.Table(
        "made_jobs",
        metadata,
        column("job_id", sa.Text, primary_key=True),
        column("job_status", sa.Text),
        column("job_updated_at", sa.DateTime),
        column("job_version", sa.Integer),
    )
    contacts = sa.Table(
        "made_contacts",
        metadata,
        column("contact_id", sa.Text, primary_key=True),
        column("contact_job_id", sa.Text),
        column("contact_status", sa.Text),
        column("contact_next_attempt_at", sa.DateTime(timezone=True)),
        column("contact_updated_at", sa.DateTime(timezone=True)),
        column("contact_dialing_since", sa.DateTime),
        column("contact_version", sa.Integer),
    )
    kept = cancellations_table(metadata, "made_cancellations")
    metadata.create_all(layer.engine)
    given: dict[str, Any] = {"jobs": jobs, "contacts": contacts, "cancellations": kept}
    given |= {it: names.get(it, it) for it in _ROLES}
    given |= {"job_organization_id": None, "job_deferred_id": None}
    return SqlAlchemyTables(**given | more)


_ROLES: tuple[str, ...] = (
    "job_id",
    "job_status",
    "job_updated_at",
    "job_version",
    "contact_id",
    "contact_job_id",
    "contact_status",
    "contact_next_attempt_at",
    "contact_updated_at",
    "contact_dialing_since",
    "contact_version",
)


def fill(layer: Layer, tables: SqlAlchemyTables, contacts: dict[str, Any], status: Any) -> None:
    """Add job j1 and its contacts."""
    with layer.engine.begin() as connection:
        job = {tables.job_id: "j1", tables.job_status: status}
        connection.execute(sa.insert(tables.jobs).values(job))
        for contact_id, spelling in contacts.items():
            contact = {
                tables.contact_id: contact_id,
                tables.contact_job_id: "j1",
                tables.contact_status: spelling,
            }
            connection.execute(sa.insert(tables.contacts).values(contact))


def live(layer: Layer, tables: SqlAlchemyTables) -> None:
    """Live through a job's life in every step, from a pending job of contacts c1 and c2."""

    def call(step: str, *arguments: Any, **more: Any) -> Any:
        return layer.call(step, "j1", *arguments, tables=tables, **more)

    assert call("start_job")
    assert sorted(call("claim_contacts", limit=9)) == ["c1", "c2"]
    assert call("settle_contact", "c1", ContactStatus.BUSY) == "busy"
    assert call("append_contacts", [{tables.contact_id: "c3"}]) == 1
    assert call("expire_calls", AGE) == 0
    assert not call("finish_job")
    is_async = layer.asyncio_engine is not None
    scheduler: Any = AsyncMemoryScheduler() if is_async else MemoryScheduler()
    operation = {"scheduler": scheduler, "operation_id": "op"}
    done = call("cancel_job", **operation)
    assert (done.batch_job_id, done.contacts_cancelled) == ("j1", 2)
    assert call("cancel_job", **operation).replayed
    assert call("settle_contact", "c2", ContactStatus.TIMEOUT) == "cancelled"
    assert not layer.call("inspect", scheduler=scheduler, tables=tables).is_found
    query = sa.select(tables.contacts.c[tables.contact_status], sa.func.count()).group_by(
        tables.contacts.c[tables.contact_status]
    )
    with layer.engine.connect() as connection:
        assert [row[1] for row in connection.execute(query)] == [3]


@pytest.mark.parametrize(
    "columns",
    [
        {"job_id": sa.CHAR(20), "contact_id": sa.CHAR(9)},
        {"contact_job_id": sa.CHAR(20)},
        {"job_id": sa.CHAR(20), "contact_job_id": sa.CHAR(30), "contact_id": sa.CHAR(9)},
        {"job_id": sa.String(20), "contact_job_id": sa.Text, "contact_id": sa.Unicode(9)},
    ],
    ids=["jobs", "contacts", "both", "varchar"],
)
def test_ids_that_a_database_pads(layer: Layer, columns: dict[str, Any]) -> None:
    """The blanks of CHAR(n) are no part of an id."""
    tables = made(layer, columns, {})
    fill(layer, tables, {"c1": "pending", "c2": "queued"}, "pending")
    with pytest.raises(JobNotFound):
        layer.call("cancel_rows", "j1 ", tables=tables)
    live(layer, tables)


@POSTGRES
@pytest.mark.filterwarnings("ignore:Type object:sqlalchemy.exc.SADeprecationWarning")
def test_ids_in_a_domain(layer: Layer) -> None:
    """Over text, and over numbers."""
    layer.execute("CREATE DOMAIN job_ref AS text", "CREATE DOMAIN contact_ref AS varchar(9)")
    job_ref = DOMAIN("job_ref", sa.Text, create_type=False)
    columns = {
        "job_id": job_ref,
        "contact_job_id": job_ref,
        "contact_id": DOMAIN("contact_ref", sa.String(9), create_type=False),
    }
    tables = made(layer, columns, {})
    fill(layer, tables, {"c1": "pending", "c2": "queued"}, "pending")
    live(layer, tables)


HOSTILE: tuple[str, ...] = (
    "sta tus",
    "a.b",
    "c:d",
    "e%f",
    "g(h)",
    "i[0]",
    "j%(k)s",
    "l%s",
    'm"n',
    "o'p",
    "q{r}",
    "s,t",
)


def test_names_that_are_no_plain_words(layer: Layer) -> None:
    """Of every column, each with something else in it."""
    names = dict(zip(_ROLES, HOSTILE, strict=False))
    tables = made(layer, {}, names)
    fill(layer, tables, {"c1": "pending", "c2": "queued"}, "pending")
    live(layer, tables)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("layer", ["psycopg", "pysqlite"], indirect=True)
def test_a_status_column_of_any_name(layer: Layer, name: str) -> None:
    """SQLAlchemy names what is written after its column."""
    tables = made(layer, {}, {"job_status": name, "contact_status": name})
    fill(layer, tables, {"c1": "pending", "c2": "queued"}, "pending")
    live(layer, tables)


NUMBERED_JOBS = {status: (number, number + 100) for number, status in enumerate(JobStatus)}
NUMBERED_CONTACTS = {status: (number, number + 100) for number, status in enumerate(ContactStatus)}


@pytest.mark.parametrize("kind", [sa.SmallInteger, sa.Integer, sa.BigInteger])
def test_statuses_that_are_numbers(layer: Layer, kind: Any) -> None:
    """Of two numbers for a status both are read, and the first is written."""
    columns = {"job_status": kind, "contact_status": kind}
    numbers: dict[str, Any] = {
        "job_statuses": NUMBERED_JOBS,
        "contact_statuses": NUMBERED_CONTACTS,
    }
    tables = made(layer, columns, {}, **numbers)
    pending, queued = (NUMBERED_CONTACTS[ContactStatus(it)] for it in ("pending", "queued"))
    fill(layer, tables, {"c1": pending[0], "c2": queued[1]}, NUMBERED_JOBS[JobStatus.PENDING][1])
    live(layer, tables)
    assert layer.rows("SELECT job_status FROM made_jobs") == [
        (NUMBERED_JOBS[JobStatus.CANCELLED][0],)
    ]


def test_numbers_have_to_be_given() -> None:
    """A number says nothing of what it means."""
    jobs = sa.Table(
        "numbered", sa.MetaData(), sa.Column("id", sa.Text), sa.Column("status", sa.Integer)
    )
    given: dict[str, Any] = {
        **NOTHING_ELSE,
        "contacts": CONTACTS,
        "cancellations": TABLES.cancellations,
    }
    with pytest.raises(ValueError, match="say it by job_statuses"):
        SqlAlchemyTables(jobs=jobs, **given)


def test_a_status_of_several_spellings(layer: Layer) -> None:
    """A campaign that is paused counts as running; what nobody has mapped is left alone."""
    METADATA.create_all(layer.engine)
    spellings: dict[str, Any] = {
        "job_statuses": {it: it.value for it in JobStatus} | {JobStatus.RUNNING: ("on", "PAUSED")},
        "contact_statuses": {it: it.value for it in ContactStatus}
        | {ContactStatus.PENDING: ["new", "NEW"], ContactStatus.CANCELLED: ["gone", "GONE"]},
    }
    tables = attrs.evolve(TABLES, **spellings)
    with layer.engine.begin() as connection:
        for job_id, status in {"job": "PAUSED", "odd": "running"}.items():
            connection.execute(sa.insert(JOBS).values(id=job_id, status=status))
        for number, status in enumerate(["new", "NEW", "GONE", "pending", "busy"]):
            contact = {"id": number, "batch_job_id": "job", "status": status}
            connection.execute(sa.insert(CONTACTS).values(contact))
    with pytest.raises(UnknownJobStatus):
        layer.call("cancel_rows", "odd", tables=tables)
    assert layer.call("claim_contacts", "job", limit=1, tables=tables) == ["0"]
    assert layer.call("cancel_rows", "job", tables=tables).record.contacts_cancelled == 2
    assert layer.rows("SELECT status FROM batch_contacts ORDER BY id") == [
        ("dialing",),
        ("gone",),
        ("GONE",),
        ("pending",),
        ("gone",),
    ]


# Calls of dead workers ---------------------------------------------------------------------------


def test_calls_are_overdue_since_their_claim(layer: Layer) -> None:
    """Not since their last change; where that is not known, since that."""
    tables = made(layer, {}, {})
    fill(layer, tables, dict.fromkeys(["c1", "c2", "c3", "c4"], "dialing"), "running")
    now = datetime.now(UTC)
    ages: dict[str, tuple[datetime | None, datetime | None]] = {
        "c1": (LONG_AGO, now),
        "c2": (now, LONG_AGO),
        "c3": (None, LONG_AGO),
        "c4": (None, None),
    }
    with layer.engine.begin() as connection:
        for contact_id, (since, updated_at) in ages.items():
            values = {
                "contact_dialing_since": since and since.replace(tzinfo=None),
                "contact_updated_at": updated_at,
            }
            its = tables.contacts.c.contact_id == contact_id
            connection.execute(sa.update(tables.contacts).where(its).values(values))
    is_async = layer.asyncio_engine is not None
    scheduler: Any = AsyncMemoryScheduler() if is_async else MemoryScheduler()
    drift = layer.call("inspect", scheduler=scheduler, tables=tables, calls_older_than=AGE)
    assert [it.contacts for it in drift.calls_overdue] == [2]
    assert layer.call("expire_calls", "j1", AGE, tables=tables) == 2
    query = "SELECT contact_id, contact_status FROM made_contacts ORDER BY 1"
    assert layer.rows(query) == [
        ("c1", "timeout"),
        ("c2", "dialing"),
        ("c3", "timeout"),
        ("c4", "dialing"),
    ]


def test_a_claim_notes_since_when_it_is(layer: Layer) -> None:
    """So that another change of the row, a heartbeat, does not make it young again."""
    tables = made(layer, {}, {})
    fill(layer, tables, {"c1": "pending"}, "running")
    before = datetime.now(UTC).replace(tzinfo=None) - timedelta(minutes=5)
    assert layer.call("claim_contacts", "j1", limit=1, tables=tables) == ["c1"]
    with layer.engine.connect() as connection:
        since = connection.execute(sa.select(tables.contacts.c.contact_dialing_since)).scalar_one()
    assert before < since < before + timedelta(minutes=10)


def test_without_a_time_no_call_is_ended(layer: Layer) -> None:
    """It is refused, and inspect says that it does not know."""
    tables = made(layer, {}, {}, contact_dialing_since=None, contact_updated_at=None)
    fill(layer, tables, {"c1": "dialing"}, "running")
    with pytest.raises(StoreFailed, match="map one with contact_dialing_since"):
        layer.call("expire_calls", "j1", AGE, tables=tables)
    is_async = layer.asyncio_engine is not None
    scheduler: Any = AsyncMemoryScheduler() if is_async else MemoryScheduler()
    drift = layer.call("inspect", scheduler=scheduler, tables=tables)
    assert drift.calls_overdue is None


def test_a_contacts_organization_needs_that_of_its_job() -> None:
    """A contact is told apart by it only if jobs are."""
    with pytest.raises(ValueError, match="contact_organization_id needs job_organization_id"):
        attrs.evolve(TABLES, job_organization_id=None, contact_organization_id="label")
