"""Mapped classes of the adopter's own, and statuses stored in any type."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
)

from batch_cancel import (
    ContactStatus,
    JobNotFound,
    JobStatus,
    append_contacts,
    cancel_rows,
    cancel_rows_async,
    finish_job,
    remove_deferred,
)
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.adapters.sqlalchemy import (
    AsyncSqlAlchemyUnitOfWork,
    SqlAlchemyTables,
    SqlAlchemyUnitOfWork,
    cancellations_table,
    joining,
)
from tests.data_layers import TABLES
from tests.integration.sqlalchemy_databases import Database, database

__all__ = ["database"]


class Base(DeclarativeBase):
    """The classes of an adopter."""


class Campaign(Base):
    """A job of the adopter's."""

    __tablename__ = "campaigns"
    uid: Mapped[UUID] = mapped_column(primary_key=True)
    state: Mapped[str]


class Recipient(Base):
    """A contact of the adopter's."""

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
    with pytest.raises(ValueError, match=r"pass (job|contact)_statuses"):
        _typed(*types)
