"""
Columns of other types and names than the reference tables', lived through in every step.

Padded ids, names that are no plain words, statuses that are numbers or have several spellings,
and since when a call has been live.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import sqlalchemy as sa
from packaging.version import Version
from sqlalchemy.dialects.postgresql import CITEXT, DOMAIN

from batch_cancel import (
    ContactStatus,
    JobNotFound,
    JobStatus,
    UnknownJobStatus,
)
from batch_cancel.adapters.memory import AsyncMemoryScheduler, MemoryScheduler
from batch_cancel.adapters.sqlalchemy import (
    SqlAlchemyTables,
    cancellations_table,
)
from batch_cancel.domain.errors import BatchCancelError, StoreFailed
from tests import data_layers
from tests.data_layers import CONTACTS, DRIVERS, JOBS, METADATA, TABLES, Layer
from tests.integration.test_sqlalchemy_mapping import AGE, LONG_AGO, NOTHING_ELSE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers import PostgresServer

POSTGRES = pytest.mark.parametrize("layer", ["psycopg", "asyncpg"], indirect=True)


@pytest.fixture(params=DRIVERS)
def layer(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, tmp_path: Path
) -> Iterator[Layer]:
    """Yield an empty database by each driver in turn."""
    with data_layers.layer(request.param, postgres_server, tmp_path) as lent:
        yield lent


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
        for contact_id, status_name in contacts.items():
            contact = {
                tables.contact_id: contact_id,
                tables.contact_job_id: "j1",
                tables.contact_status: status_name,
            }
            connection.execute(sa.insert(tables.contacts).values(contact))


def live(layer: Layer, tables: SqlAlchemyTables) -> None:
    """Live through a job's life in every step, from a pending job of contacts c1 and c2."""

    def call(step: str, *arguments: Any, **more: Any) -> Any:
        return layer.call(step, "j1", *arguments, tables=tables, **more)

    def check_time() -> None:
        """Look at a column without a time zone, which holds UTC."""
        changed = sa.select(tables.jobs.c[tables.job_updated_at or "job_updated_at"])
        with layer.engine.connect() as connection:
            age = datetime.now(UTC).replace(tzinfo=None) - connection.execute(changed).scalar_one()
        assert abs(age) < timedelta(minutes=10)

    assert call("start_job")
    check_time()
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
    check_time()
    with layer.engine.connect() as connection:
        assert [row[1] for row in connection.execute(query)] == [3]


@pytest.mark.parametrize(
    "columns",
    [
        {"contact_id": sa.CHAR(9)},
        {"contact_job_id": sa.CHAR(20)},
        {"job_id": sa.CHAR(20), "contact_job_id": sa.CHAR(30), "contact_id": sa.CHAR(9)},
        {"job_id": sa.String(20), "contact_job_id": sa.Text, "contact_id": sa.Unicode(9)},
    ],
    ids=["contact's own", "contacts", "both", "varchar"],
)
def test_ids_that_a_database_pads(layer: Layer, columns: dict[str, Any]) -> None:
    """The blanks of CHAR(n) are no part of an id."""
    tables = made(layer, columns, {})
    fill(layer, tables, {"c1": "pending", "c2": "queued"}, "pending")
    with pytest.raises(JobNotFound):
        layer.call("cancel_rows", "j1 ", tables=tables)
    live(layer, tables)


@pytest.mark.parametrize("stored_id", ["J1", "j1 "])
def test_a_job_whose_contacts_may_hold_another_form_of_its_key_is_refused(
    layer: Layer, stored_id: str
) -> None:
    """The job's column finds texts equal that theirs tells apart: a contact would be left open."""
    is_sqlite = layer.engine.dialect.name == "sqlite"
    if stored_id == "j1 ":
        kind = sa.String(collation="RTRIM") if is_sqlite else sa.CHAR(20)
    else:
        kind = sa.String(collation="NOCASE") if is_sqlite else CITEXT()
    if not is_sqlite:
        layer.execute("CREATE EXTENSION IF NOT EXISTS citext SCHEMA pg_catalog")
    tables = made(layer, {"job_id": kind}, {})
    fill(layer, tables, {"c1": "pending", "c2": "pending"}, "running")
    column = tables.contacts.c[tables.contact_job_id]
    with layer.engine.begin() as connection:
        connection.execute(
            sa.update(tables.contacts)
            .where(tables.contacts.c[tables.contact_id] == "c2")
            .values({column: stored_id})
        )
    for step, arguments in (
        ("cancel_rows", ()),
        ("append_contacts", ([{tables.contact_id: "c3"}],)),
        ("finish_job", ()),
    ):
        with pytest.raises(BatchCancelError, match="by such a value would be left open"):
            layer.call(step, "j1", *arguments, tables=tables)


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
    # SQLAlchemy 2.0 takes it for a parameter.
    "j%(k)s" if Version(sa.__version__) >= Version("2.1") else "j%k",
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
    with pytest.raises(ValueError, match="pass job_statuses"):
        SqlAlchemyTables(jobs=jobs, **given)


def test_a_status_with_several_names(layer: Layer) -> None:
    """A campaign that is paused counts as running; what nobody has mapped is left alone."""
    METADATA.create_all(layer.engine)
    status_names: dict[str, Any] = {
        "job_statuses": {it: it.value for it in JobStatus} | {JobStatus.RUNNING: ("on", "PAUSED")},
        "contact_statuses": {it: it.value for it in ContactStatus}
        | {ContactStatus.PENDING: ["new", "NEW"], ContactStatus.CANCELLED: ["gone", "GONE"]},
    }
    tables = attrs.evolve(TABLES, **status_names)
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
    with pytest.raises(StoreFailed, match="map contact_dialing_since"):
        layer.call("expire_calls", "j1", AGE, tables=tables)
    is_async = layer.asyncio_engine is not None
    scheduler: Any = AsyncMemoryScheduler() if is_async else MemoryScheduler()
    drift = layer.call("inspect", scheduler=scheduler, tables=tables)
    assert drift.calls_overdue is None


def test_a_contacts_organization_needs_that_of_its_job() -> None:
    """A contact is told apart by it only if jobs are."""
    with pytest.raises(ValueError, match="contact_organization_id needs job_organization_id"):
        attrs.evolve(TABLES, job_organization_id=None, contact_organization_id="label")
