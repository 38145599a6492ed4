"""
SQLAlchemy's store on tables whose keys are of other shapes than the reference tables' keys.

On each shape, two organizations have jobs of one id with contacts of equal ids. Every step is
right for the one and leaves the other's rows byte for byte, or is refused with nothing changed.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from batch_cancel import BatchCancelError, ContactStatus, JobKey, claim_contacts
from batch_cancel.adapters.memory import AsyncMemoryScheduler, MemoryScheduler
from batch_cancel.adapters.sqlalchemy import (
    SqlAlchemyTables,
    SqlAlchemyUnitOfWork,
    cancellations_table,
)
from batch_cancel.domain.errors import StoreFailed
from tests import data_layers
from tests.data_layers import DRIVERS, Layer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers import PostgresServer

AGE = timedelta(hours=1)
STATUSES = ("pending", "dialing", "completed", "dialing", "pending")
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
    """Yield an empty database by each driver in turn."""
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
    """Add a running job with contacts, of which two are long on the phone."""
    statuses = dict(zip(("c1", "c2", "c3", "c4", "c5"), STATUSES, strict=True))
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


def test_a_contact_is_not_added_to_a_job_that_none_can_refer_to(layer: Layer) -> None:
    """A NULL in the key's column is no key: the contact would be nobody's."""
    create(layer, *UNIQUE["by key"][1:], is_not_null=False)
    layer.execute("UPDATE jobs SET pk = NULL WHERE organization_id = 'a'")
    before = dump(layer)
    with pytest.raises(StoreFailed, match="'pk' of 'job' is NULL"):
        layer.call("append_contacts", "job", [{"id": "new"}], organization_id="a", tables=BY_KEY)
    assert dump(layer) == before


@pytest.mark.parametrize(
    ("step", "more"), [("claim_contacts", {"limit": 9}), ("expire_calls", {})]
)
def test_a_contact_without_an_id_is_refused_where_it_must_be_named(
    layer: Layer, step: str, more: dict[str, Any]
) -> None:
    """Nothing is changed, and no contact called 'None' is meant."""
    create(layer, *UNIQUE["by key"][1:], is_not_null=False)
    layer.execute("UPDATE contacts SET id = NULL WHERE organization_id = 'a' AND id <> 'c5'")
    layer.execute("UPDATE contacts SET id = 'None' WHERE organization_id = 'a' AND id = 'c5'")
    before = dump(layer)
    with pytest.raises(
        StoreFailed, match="a contact of 'job' can't be named, because its 'id' is"
    ):
        take(layer, step, BY_KEY, **more)
    assert dump(layer) == before


def statuses(layer: Layer, organization_id: str = "a") -> dict[str, str]:
    """Return the statuses of an organization's contacts by id."""
    found = layer.rows("SELECT organization_id, id, status FROM contacts")
    return {row[1]: row[2] for row in found if row[0] == organization_id}


def take(layer: Layer, step: str, kind: SqlAlchemyTables, job: str = "job", **more: Any) -> Any:
    """Do one step for a job of organization a."""
    arguments: dict[str, tuple[Any, ...]] = {
        "settle_contact": (job, "c2", ContactStatus.COMPLETED),
        "append_contacts": (job, [_new_contact(kind)]),
        "expire_calls": (job, AGE),
        "inspect": (),
    }
    named: dict[str, Any] = {"organization_id": "a"}
    if step == "claim_contacts":
        named["limit"] = 1
    if step == "inspect":
        is_async = layer.asyncio_engine is not None
        named = {"scheduler": AsyncMemoryScheduler() if is_async else MemoryScheduler()}
    return layer.call(step, *arguments.get(step, (job,)), tables=kind, **named | more)


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
    before, others = statuses(layer), dump(layer, "b")
    answer = take(layer, step, kind, joined=joined)
    assert dump(layer, "b") == others
    changed = {
        "cancel_rows": {"c1": "cancelled", "c5": "cancelled"},
        "claim_contacts": {"c1": "dialing"},
        "settle_contact": {"c2": "completed"},
        "append_contacts": {"c9": "pending"},
        "finish_job": {},
        "expire_calls": {"c2": "timeout", "c4": "timeout"},
    }
    assert statuses(layer) == before | changed[step]
    if step == "append_contacts":
        column, reference = ("job_pk", 0) if kind is BY_KEY else ("batch_job_id", "job")
        query = f"SELECT {column} FROM contacts WHERE id = 'c9'"  # Ours.
        assert layer.rows(query) == [(reference,)]
    if step == "cancel_rows":
        assert answer.record.contacts_cancelled == 2
    else:
        assert answer in (["c1"], ContactStatus.COMPLETED, 1, 2, True)


@pytest.mark.parametrize("shape", UNIQUE)
def test_inspect_counts_the_contacts_of_each_job_alone(layer: Layer, shape: str) -> None:
    """A job of another organization's equal id has contacts of its own."""
    kind, *indexes = UNIQUE[shape]
    create(layer, *indexes)
    layer.execute("UPDATE jobs SET status = 'cancelled'")
    add_job(layer, 2, "a", "running one")
    layer.execute("UPDATE contacts SET updated_at = NULL WHERE batch_job_id = 'running one'")
    layer.execute(
        "UPDATE contacts SET status = 'queued' WHERE organization_id = 'b' AND id = 'c2'"
    )
    drift = take(layer, "inspect", kind)
    numbers = {it.key: it.contacts_open for it in drift.contacts_open}
    assert numbers == {JobKey("job", "a"): 2, JobKey("job", "b"): 3}
    overdue = {it.key: it.contacts for it in drift.calls_overdue}
    assert overdue == {JobKey("job", "a"): 2, JobKey("job", "b"): 1}


def test_inspect_looks_at_jobs_of_organizations(layer: Layer) -> None:
    """Those of none could be several, where the column may be NULL; there need not be any."""
    kind, *indexes = UNIQUE["by organization"]
    create(layer, *indexes, is_not_null=False)
    overdue = take(layer, "inspect", kind).calls_overdue
    assert {it.key.organization_id for it in overdue} == {"a", "b"}


@pytest.mark.parametrize("step", ["claim_contacts", "settle_contact", "expire_calls"])
def test_contacts_of_two_jobs_may_have_one_id(layer: Layer, step: str) -> None:
    """Where an id is unique within a job, the job is named with it."""
    create_distinct(layer)
    others = dump(layer, "b")
    take(layer, step, PLAIN)
    assert dump(layer, "b") == others


@pytest.mark.parametrize("joined", [False, True], ids=["own", "joined"])
@pytest.mark.parametrize("step", WRITING)
def test_contacts_that_refer_to_several_jobs_by_one_value_are_refused(
    layer: Layer, step: str, *, joined: bool
) -> None:
    """A number is '1' and '01' at once, so a cancel of one would be that of the other."""
    layer.execute(
        "CREATE TABLE jobs (pk integer, id text UNIQUE, organization_id text, status text)",
        "CREATE TABLE contacts (id text, organization_id text, batch_job_id numeric, "
        "job_pk integer, status text, updated_at timestamp, UNIQUE (batch_job_id, id))",
        "INSERT INTO jobs VALUES (0, '1', 'a', 'running'), (1, '01', 'b', 'running')",
        "INSERT INTO contacts VALUES ('c1', 'b', 1, 0, 'pending', NULL)",
    )
    PLAIN.cancellations.create(layer.engine)
    before = dump(layer)
    with pytest.raises(BatchCancelError, match="of the type text, distinguishes"):
        take(layer, step, PLAIN, job="1", joined=joined)
    assert dump(layer) == before


def test_a_contact_that_is_added_counts(layer: Layer) -> None:
    """It has what rows that count hold; one that says otherwise is refused."""
    create_distinct(layer)
    kind = tables(contact_where={"job_pk": 7})
    assert take(layer, "append_contacts", kind) == 1
    assert layer.rows("SELECT job_pk FROM contacts WHERE id = 'c9'") == [(7,)]
    more = [{"id": "c8", "job_pk": 8}]
    with pytest.raises(BatchCancelError, match="its 'job_pk' must be 7"):
        layer.call("append_contacts", "job", more, tables=kind, organization_id="a")


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


def test_sqlite_tells_no_cases_of_a_name_apart(tmp_path: Path) -> None:
    """Nor does the look for its keys, whatever the mapping spells."""
    engine = data_layers.sqlite_engine(tmp_path / "jobs.db")
    with engine.begin() as connection:
        for statement in (
            (
                "CREATE TABLE batch_jobs (ID text UNIQUE NOT NULL, Organization_Id text, "
                "Status text, scheduled_job_id text, updated_at timestamp)"
            ),
            (
                "CREATE TABLE batch_contacts (Id integer UNIQUE NOT NULL, BATCH_JOB_ID text, "
                "status text, next_attempt_at timestamp, updated_at timestamp)"
            ),
            "INSERT INTO batch_jobs (id, status) VALUES ('j1', 'running')",
            "INSERT INTO batch_contacts (id, batch_job_id, status) VALUES (1, 'j1', 'pending')",
        ):
            connection.exec_driver_sql(statement)
    data_layers.TABLES.cancellations.create(engine)
    uow = SqlAlchemyUnitOfWork(engine, data_layers.TABLES)
    assert claim_contacts("j1", limit=1, uow=uow) == ["1"]
