"""
What a mapping of SQLAlchemy's says is honoured by every step, or refused where it is given.

Classes that share a table, and versions that a worker locks optimistically by.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.orm.exc import StaleDataError

from batch_cancel import ContactStatus, JobNotFound
from batch_cancel.adapters.memory import AsyncMemoryScheduler, MemoryScheduler
from batch_cancel.adapters.sqlalchemy import SqlAlchemyTables, cancellations_table
from batch_cancel.domain.errors import StoreFailed
from tests import data_layers
from tests.data_layers import CONTACTS, DRIVERS, TABLES, Layer

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
AGE = timedelta(hours=1)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture(params=DRIVERS)
def layer(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, tmp_path: Path
) -> Iterator[Layer]:
    """Yield an empty database by each driver in turn."""
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

    with pytest.raises(
        ValueError, match=r"=False\), or name a column of numbers with job_version="
    ):
        SqlAlchemyTables(jobs=Own, **given)
    theirs: dict[str, Any] = {**given, "jobs": TABLES.jobs, "contacts": Own}
    with pytest.raises(ValueError, match=r"a column of numbers with contact_version="):
        SqlAlchemyTables(**theirs)
    with pytest.raises(ValueError, match="the versions of Child are in another table"):
        SqlAlchemyTables(jobs=Child, **given)
    assert SqlAlchemyTables(jobs=Own, **given, job_version=None).job_version is None
    assert SqlAlchemyTables(jobs=Server, **given).job_version is None
