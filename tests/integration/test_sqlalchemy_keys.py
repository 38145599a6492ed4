"""
SQLAlchemy's store on tables whose keys are of other shapes than the reference tables' keys.

On each shape, two organizations have jobs of one id with contacts of equal ids. Every step is
right for the one and leaves the other's rows byte for byte, or is refused with nothing changed.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError

from batch_cancel import CancelFailed, ContactStatus, JobKey
from batch_cancel.adapters.memory import AsyncMemoryScheduler, MemoryScheduler
from batch_cancel.adapters.sqlalchemy import SqlAlchemyTables, cancellations_table
from batch_cancel.domain.errors import StoreFailed
from tests import data_layers
from tests.data_layers import DRIVERS, Layer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers import PostgresServer

AGE = timedelta(hours=1)
LONG_AGO = datetime(2020, 1, 1)  # noqa: DTZ001  # The column has no zone.
WRITING = (
    "cancel_rows",
    "claim_contacts",
    "settle_contact",
    "append_contacts",
    "finish_job",
    "expire_calls",
)
STEPS = (*WRITING, "inspect")


@pytest.fixture(params=DRIVERS)
def layer(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, tmp_path: Path
) -> Iterator[Layer]:
    """Lend an empty database by each driver in turn."""
    with data_layers.layer(request.param, postgres_server, tmp_path) as lent:
        yield lent


def tables(**more: Any) -> SqlAlchemyTables:
    """Describe tables whose metadata promise nothing about keys."""
    metadata = sa.MetaData()
    jobs = sa.Table(
        "jobs",
        metadata,
        sa.Column("pk", sa.Integer),
        sa.Column("id", sa.Text),
        sa.Column("organization_id", sa.Text),
        sa.Column("status", sa.Text),
    )
    contacts = sa.Table(
        "contacts",
        metadata,
        sa.Column("id", sa.Text),
        sa.Column("organization_id", sa.Text),
        sa.Column("batch_job_id", sa.Text),
        sa.Column("job_pk", sa.Integer),
        sa.Column("status", sa.Text),
        sa.Column("updated_at", sa.DateTime),
    )
    given: dict[str, Any] = {
        "jobs": jobs,
        "contacts": contacts,
        "cancellations": cancellations_table(metadata),
        "job_deferred_id": None,
        "job_updated_at": None,
        "contact_next_attempt_at": None,
    }
    return SqlAlchemyTables(**given | more)


BY_ORGANIZATION = tables(contact_organization_id="organization_id")
BY_KEY = tables(job_key="pk", contact_job_id="job_pk")
PLAIN = tables()

UNIQUE = {
    "by organization": (
        BY_ORGANIZATION,
        "CREATE UNIQUE INDEX jobs_key ON jobs (organization_id, id)",
        "CREATE UNIQUE INDEX contacts_key ON contacts (organization_id, batch_job_id, id)",
    ),
    "by key": (
        BY_KEY,
        "CREATE UNIQUE INDEX jobs_key ON jobs (pk)",
        "CREATE UNIQUE INDEX contacts_key ON contacts (job_pk, id)",
    ),
}


def create(layer: Layer, *indexes: str, is_not_null: bool = True) -> None:
    """Make the tables with these indexes, and the same job in organizations a and b."""
    organization = "organization_id text" + " NOT NULL" * is_not_null
    layer.execute(
        f"CREATE TABLE jobs (pk integer, id text, {organization}, status text)",
        f"CREATE TABLE contacts (id text, {organization}, batch_job_id text, job_pk integer, "
        "status text, updated_at timestamp)",
        *indexes,
    )
    PLAIN.cancellations.create(layer.engine)
    for number, organization_id in enumerate("ab"):
        add_job(layer, number, organization_id)


def add_job(layer: Layer, number: int, organization_id: str, job_id: str = "job") -> None:
    """Add a running job with three contacts, of which one is long on the phone."""
    statuses = {"c1": "pending", "c2": "dialing", "c3": "completed"}
    of, its = PLAIN.jobs, PLAIN.contacts
    theirs = {"organization_id": organization_id}
    job = {"pk": number, "id": job_id, "status": "running", **theirs}
    reference = {"batch_job_id": job_id, "job_pk": number, "updated_at": LONG_AGO, **theirs}
    with layer.engine.begin() as connection:
        connection.execute(sa.insert(of).values(job))
        for contact, status in statuses.items():
            row = {"id": contact, "status": status, **reference}
            connection.execute(sa.insert(its).values(row))


def dump(layer: Layer, organization_id: str = "") -> list[list[tuple[Any, ...]]]:
    """Return every row, or those of one organization."""
    where = f"WHERE organization_id = '{organization_id}'" if organization_id else ""
    return [
        sorted(layer.rows(f"SELECT * FROM {name} {where}"), key=repr)  # Ours.
        for name in ("jobs", "contacts", "batch_cancellations")
    ]


def statuses(layer: Layer, organization_id: str = "a") -> dict[str, str]:
    """Return the statuses of an organization's contacts by id."""
    found = layer.rows("SELECT organization_id, id, status FROM contacts")
    return {row[1]: row[2] for row in found if row[0] == organization_id}


def take(layer: Layer, step: str, kind: SqlAlchemyTables, **more: Any) -> Any:
    """Do one step for organization a's job."""
    arguments: dict[str, tuple[Any, ...]] = {
        "settle_contact": ("job", "c2", ContactStatus.COMPLETED),
        "append_contacts": ("job", [_new_contact(kind)]),
        "expire_calls": ("job", AGE),
        "inspect": (),
    }
    named: dict[str, Any] = {"organization_id": "a"}
    if step == "claim_contacts":
        named["limit"] = 9
    if step == "inspect":
        is_async = layer.asyncio_engine is not None
        named = {"scheduler": AsyncMemoryScheduler() if is_async else MemoryScheduler()}
    return layer.call(step, *arguments.get(step, ("job",)), tables=kind, **named | more)


def _new_contact(kind: SqlAlchemyTables) -> dict[str, object]:
    # Where no column is mapped for it, the organization is the caller's to set.
    is_theirs = kind.contact_organization_id is None
    return {"id": "c9", "organization_id": "a"} if is_theirs else {"id": "c9"}


@pytest.mark.parametrize("joined", [False, True], ids=["own", "joined"])
@pytest.mark.parametrize("shape", UNIQUE)
@pytest.mark.parametrize("step", WRITING)
def test_a_step_is_right_for_one_organization_and_leaves_the_other(
    layer: Layer, shape: str, step: str, *, joined: bool
) -> None:
    """Whatever has equal ids there."""
    kind, *indexes = UNIQUE[shape]
    create(layer, *indexes)
    if step == "finish_job":
        layer.execute("UPDATE contacts SET status = 'failed' WHERE organization_id = 'a'")
    others = dump(layer, "b")
    answer = take(layer, step, kind, joined=joined)
    assert dump(layer, "b") == others
    expected = {
        "cancel_rows": {"c1": "cancelled", "c2": "dialing", "c3": "completed"},
        "claim_contacts": {"c1": "dialing", "c2": "dialing", "c3": "completed"},
        "settle_contact": {"c1": "pending", "c2": "completed", "c3": "completed"},
        "append_contacts": {"c1": "pending", "c2": "dialing", "c3": "completed", "c9": "pending"},
        "finish_job": {"c1": "failed", "c2": "failed", "c3": "failed"},
        "expire_calls": {"c1": "pending", "c2": "timeout", "c3": "completed"},
    }
    assert statuses(layer) == expected[step]
    if step == "append_contacts":
        column, reference = ("job_pk", 0) if kind is BY_KEY else ("batch_job_id", "job")
        query = f"SELECT {column} FROM contacts WHERE id = 'c9'"  # Ours.
        assert layer.rows(query) == [(reference,)]
    if step == "cancel_rows":
        assert answer.record.contacts_cancelled == 1
    else:
        assert answer in (["c1"], ContactStatus.COMPLETED, 1, True)


@pytest.mark.parametrize("shape", UNIQUE)
def test_inspect_counts_the_contacts_of_each_job_alone(layer: Layer, shape: str) -> None:
    """A job of another organization's equal id has contacts of its own."""
    kind, *indexes = UNIQUE[shape]
    create(layer, *indexes)
    layer.execute("UPDATE jobs SET status = 'cancelled'")
    layer.execute(
        "UPDATE contacts SET status = 'queued' WHERE organization_id = 'b' AND id = 'c2'"
    )
    drift = take(layer, "inspect", kind)
    numbers = {it.key: it.contacts_open for it in drift.contacts_open}
    assert numbers == {JobKey("job", "a"): 1, JobKey("job", "b"): 2}
    assert [(it.key, it.contacts) for it in drift.calls_overdue] == [(JobKey("job", "a"), 1)]


@pytest.mark.parametrize("step", ["claim_contacts", "settle_contact", "expire_calls"])
def test_contacts_of_two_jobs_may_have_one_id(layer: Layer, step: str) -> None:
    """Where an id is unique within a job, the job is named with it."""
    create_distinct(layer)
    others = dump(layer, "b")
    take(layer, step, PLAIN)
    assert dump(layer, "b") == others


def create_distinct(layer: Layer) -> None:
    """Make jobs of ids of their own, with contacts of equal ids."""
    layer.execute(
        "CREATE TABLE jobs (pk integer, id text UNIQUE, organization_id text, status text)",
        "CREATE TABLE contacts (id text, organization_id text, batch_job_id text, job_pk integer, "
        "status text, updated_at timestamp, UNIQUE (batch_job_id, id))",
    )
    PLAIN.cancellations.create(layer.engine)
    add_job(layer, 0, "a")
    add_job(layer, 1, "b", "other")


# Refused -----------------------------------------------------------------------------------------

NO_INDEX: tuple[str, ...] = ()
WRONG: dict[str, tuple[SqlAlchemyTables, tuple[str, ...], str]] = {
    "nothing is unique": (BY_ORGANIZATION, NO_INDEX, "nothing says that 'id' names one job"),
    "contacts have no organization": (
        PLAIN,
        ("CREATE UNIQUE INDEX jobs_key ON jobs (organization_id, id)",),
        "map their column with contact_organization_id",
    ),
    "a partial index": (
        BY_KEY,
        ("CREATE UNIQUE INDEX jobs_key ON jobs (pk) WHERE status <> 'completed'",),
        "nothing says that 'pk' names one job",
    ),
    "an index of an expression": (
        BY_KEY,
        ("CREATE UNIQUE INDEX jobs_key ON jobs ((pk + 0))",),
        "nothing says that 'pk' names one job",
    ),
    "an index that is not unique": (
        BY_KEY,
        ("CREATE INDEX jobs_key ON jobs (pk)",),
        "nothing says that 'pk' names one job",
    ),
    "an index of more": (
        BY_KEY,
        ("CREATE UNIQUE INDEX jobs_key ON jobs (pk, status)",),
        "nothing says that 'pk' names one job",
    ),
}


REFUSED = [
    *(("nothing is unique", step, joined) for step in STEPS for joined in (False, True)),
    *((wrong, step, False) for wrong in list(WRONG)[1:] for step in ("cancel_rows", "inspect")),
]


@pytest.mark.parametrize(("wrong", "step", "joined"), REFUSED)
def test_a_key_that_may_be_that_of_several_jobs_is_refused(
    layer: Layer, wrong: str, step: str, *, joined: bool
) -> None:
    """By every step that touches contacts, in whatever transaction, with nothing changed."""
    kind, indexes, message = WRONG[wrong]
    create(layer, *indexes, "CREATE UNIQUE INDEX c ON contacts (organization_id, job_pk, id)")
    before = dump(layer)
    with pytest.raises((CancelFailed, StoreFailed), match=message) as failure:
        take(layer, step, kind, joined=joined)
    assert isinstance(failure.value, CancelFailed | StoreFailed)
    assert (failure.value.outcome, failure.value.retryable) == ("unchanged", False)
    assert dump(layer) == before


@pytest.mark.parametrize("step", ["claim_contacts", "settle_contact", "expire_calls"])
def test_an_id_that_may_be_that_of_several_contacts_is_refused(layer: Layer, step: str) -> None:
    """By the steps that name contacts by their ids; a cancel does not."""
    create(layer, UNIQUE["by organization"][1])
    before = dump(layer)
    with pytest.raises(StoreFailed, match="nothing says that 'id' names one contact of a job"):
        take(layer, step, BY_ORGANIZATION)
    assert dump(layer) == before
    assert take(layer, "cancel_rows", BY_ORGANIZATION).record.contacts_cancelled == 1


@pytest.mark.parametrize("layer", ["psycopg", "asyncpg"], indirect=True)
def test_an_index_that_was_not_built_to_its_end_is_refused(layer: Layer) -> None:
    """CREATE INDEX CONCURRENTLY leaves one that is not valid."""
    create(layer, "INSERT INTO jobs VALUES (0, 'twin', 'a', 'pending')")
    with layer.engine.connect() as connection, suppress(IntegrityError):
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql("CREATE UNIQUE INDEX CONCURRENTLY jobs_key ON jobs (pk)")
    layer.execute("DELETE FROM jobs WHERE id = 'twin'")
    with pytest.raises(CancelFailed, match="nothing says that 'pk' names one job"):
        take(layer, "cancel_rows", BY_KEY)
    layer.execute("REINDEX INDEX jobs_key")
    # A repaired table works at once.
    assert take(layer, "cancel_rows", BY_KEY).record.contacts_cancelled == 1


@pytest.mark.parametrize("layer", ["pysqlite", "aiosqlite"], indirect=True)
def test_an_index_that_tells_more_apart_than_the_column_is_refused(layer: Layer) -> None:
    """'JOB' and 'job' are one to a column without case, two to an index with case."""
    layer.execute(
        "CREATE TABLE jobs (pk, id text COLLATE nocase, organization_id text, status text)",
        "CREATE UNIQUE INDEX jobs_key ON jobs (id COLLATE binary)",
        "CREATE TABLE contacts (id text PRIMARY KEY, organization_id, batch_job_id text, "
        "job_pk, status text, updated_at timestamp)",
    )
    PLAIN.cancellations.create(layer.engine)
    add_job(layer, 0, "a")
    with pytest.raises(CancelFailed, match="nothing says that 'id' names one job"):
        take(layer, "cancel_rows", PLAIN)
    layer.execute("DROP INDEX jobs_key", "CREATE UNIQUE INDEX jobs_key ON jobs (id)")
    assert take(layer, "cancel_rows", PLAIN).record.contacts_cancelled == 1


@pytest.mark.parametrize("layer", ["pysqlite", "aiosqlite"], indirect=True)
def test_a_rowid_is_a_key(layer: Layer) -> None:
    """INTEGER PRIMARY KEY has no index that could be found."""
    layer.execute(
        "CREATE TABLE jobs (pk INTEGER PRIMARY KEY, id text, organization_id text, status text)",
        "CREATE TABLE contacts (id text, organization_id text, batch_job_id text, job_pk integer, "
        "status text, updated_at timestamp, PRIMARY KEY (job_pk, id)) WITHOUT ROWID",
    )
    PLAIN.cancellations.create(layer.engine)
    add_job(layer, 7, "a")
    assert take(layer, "claim_contacts", BY_KEY) == ["c1"]


def test_a_job_of_no_organization_needs_an_index_that_sees_nulls(layer: Layer) -> None:
    """To most unique indexes, two NULLs are different."""
    kind, *indexes = UNIQUE["by organization"]
    create(layer, *indexes, is_not_null=False)
    layer.execute("UPDATE jobs SET organization_id = NULL WHERE organization_id = 'a'")
    with pytest.raises(CancelFailed, match="takes NULLs for different values"):
        take(layer, "cancel_rows", kind, organization_id=None)
    assert take(layer, "cancel_rows", kind, organization_id="b").record.contacts_cancelled == 1


@pytest.mark.parametrize("layer", ["psycopg", "asyncpg"], indirect=True)
@pytest.mark.parametrize("joined", [False, True], ids=["own", "joined"])
def test_a_view_needs_a_word_of_the_adopters(layer: Layer, *, joined: bool) -> None:
    """Nobody can see what is unique in it."""
    create_distinct(layer)
    layer.execute("ALTER TABLE jobs RENAME TO all_jobs", "CREATE VIEW jobs AS TABLE all_jobs")
    with pytest.raises(CancelFailed, match="vouch for it with keys_are_unique=True"):
        take(layer, "cancel_rows", PLAIN, joined=joined)
    vouched = attrs.evolve(PLAIN, keys_are_unique=True)
    assert take(layer, "cancel_rows", vouched, joined=joined).record.contacts_cancelled == 1


@pytest.mark.parametrize("layer", ["pysqlite", "aiosqlite"], indirect=True)
@pytest.mark.parametrize("step", WRITING)
def test_an_id_of_several_jobs_of_one_organization_is_refused(layer: Layer, step: str) -> None:
    """SQLite would take the first; their keys differ, so each has contacts of its own."""
    create(layer, *UNIQUE["by key"][1:])
    layer.execute("INSERT INTO jobs VALUES (5, 'job', 'a', 'running')")
    before = dump(layer)
    with pytest.raises((CancelFailed, StoreFailed), match="has several jobs of this id"):
        take(layer, step, BY_KEY)
    assert dump(layer) == before


@pytest.mark.parametrize("step", ["start_job", *WRITING])
def test_an_id_of_several_jobs_is_refused_by_every_driver(layer: Layer, step: str) -> None:
    """A subquery of two rows, or a second row that was changed."""
    create(layer, *UNIQUE["by key"][1:])
    layer.execute("INSERT INTO jobs VALUES (5, 'job', 'a', 'running')")
    if step == "start_job":
        layer.execute("UPDATE jobs SET status = 'pending'")
    before = dump(layer)
    with pytest.raises((CancelFailed, StoreFailed)):
        take(layer, step, BY_KEY)
    assert dump(layer) == before


def test_what_is_right_is_asked_once(layer: Layer) -> None:
    """A process that cancels all day does not read the catalog all day."""
    kind = attrs.evolve(BY_KEY)  # Nobody has asked for this one.
    create(layer, *UNIQUE["by key"][1:])
    asked: list[str] = []
    engine = layer.engine if layer.asyncio_engine is None else layer.asyncio_engine.sync_engine
    event.listen(engine, "before_cursor_execute", lambda *it: asked.append(it[2]))
    for joined in (False, True, False):
        take(layer, "finish_job", kind, joined=joined)
    questions = [it for it in asked if "pg_index" in it or "index_list" in it]
    assert len(questions) == (1 if layer.is_postgres else 2)  # There, one for each table.


@pytest.mark.parametrize("status", ["scheduled", "cancelled", "running"])
def test_inspect_names_no_job_that_is_not_one(layer: Layer, status: str) -> None:
    """Of two jobs of one name, none can be meant by it."""
    create(layer, *UNIQUE["by key"][1:])
    layer.execute(
        "INSERT INTO jobs VALUES (5, 'job', 'a', 'running')",
        "INSERT INTO contacts VALUES ('c1', 'a', 'job', 5, 'dialing', '2020-01-01')",
    )
    with layer.engine.begin() as connection:
        connection.execute(sa.update(PLAIN.jobs).values(status=status))
    with pytest.raises(StoreFailed, match="has several jobs of this id"):
        take(layer, "inspect", BY_KEY)
