"""Contacts that may be several: a step that names one refuses before anything is changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import closing
from typing import Any

import attrs
import psycopg
import pytest

from batch_cancel import (
    BatchCancelError,
    ContactStatus,
    append_contacts,
    cancel_rows,
    claim_contacts,
    claim_contacts_async,
    expire_calls,
    inspect,
    settle_contact_async,
)
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.adapters.postgres import (
    AsyncPostgresUnitOfWork,
    PostgresSchema,
    PostgresUnitOfWork,
    joining,
)
from batch_cancel.domain.errors import StoreFailed
from tests.integration.postgres_keys import (
    ABOUT_CONTACTS,
    BY_ORGANIZATION,
    CONTACTS_BY_ORGANIZATION,
    CONTACTS_WITH_NUMBERS,
    JOBS_BY_ORGANIZATION,
    JOBS_WITH_NUMBERS,
    SOON,
    SURROGATE_BY_ORGANIZATION,
    Database,
    database,
)

__all__ = ["database"]

UNSAFE_CONTACTS = {
    "id and a time": ("(id, updated_at)", "map a column that is unique within a job"),
    "no index": (None, "map a column that is unique within a job"),
    "a partial index": (
        "; CREATE UNIQUE INDEX ON batch_contacts (id) WHERE status = 'pending'",
        "map a column that is unique within a job",
    ),
}


@pytest.mark.parametrize("is_joined", [False, True], ids=["own", "joined"])
@pytest.mark.parametrize("kind", UNSAFE_CONTACTS)
def test_a_contact_that_may_be_several_is_refused(
    database: Database, kind: str, *, is_joined: bool
) -> None:
    """By the steps that name a contact; a cancel takes them all and need not."""
    key, told = UNSAFE_CONTACTS[kind]
    primary = ", PRIMARY KEY (organization_id, batch_job_id, id))"
    end = ")" if key is None or key.startswith(";") else f", PRIMARY KEY {key})"
    contacts = CONTACTS_BY_ORGANIZATION.replace(primary, end)
    if key is not None and key.startswith(";"):
        contacts += key.replace("(id)", "(organization_id, batch_job_id, id)")
    if key == "(id, updated_at)":
        contacts = contacts.replace("DEFAULT now()", "DEFAULT clock_timestamp()").replace(
            "(id, updated_at)", "(organization_id, id, updated_at)"
        )
    database.make(JOBS_BY_ORGANIZATION, contacts, schema=BY_ORGANIZATION)
    before = database.rows("A"), database.rows("B")
    with closing(psycopg.connect(database.dsn)) as connection:
        uow: Any = (
            joining(connection, BY_ORGANIZATION) if is_joined else database.uow(BY_ORGANIZATION)
        )
        for name, step in ABOUT_CONTACTS:
            with pytest.raises(BatchCancelError) as failure:
                step(uow=uow, organization_id="A")
            connection.commit()
            assert told in str(failure.value), name
            assert (database.rows("A"), database.rows("B")) == before, name
    cancelled = cancel_rows("1", uow=database.uow(BY_ORGANIZATION), organization_id="A")
    assert cancelled.record.contacts_cancelled == 2
    assert database.rows("B") == before[1]


STEPS_OF_ASYNCIO: list[Callable[..., Coroutine[Any, Any, object]]] = [
    lambda uow: claim_contacts_async("1", limit=3, uow=uow, organization_id="A"),
    lambda uow: settle_contact_async(
        "1", "2", ContactStatus.COMPLETED, uow=uow, organization_id="A"
    ),
]


@pytest.mark.parametrize("step", STEPS_OF_ASYNCIO, ids=["claim", "settle"])
def test_a_contact_that_may_be_several_is_refused_to_asyncio_as_well(
    database: Database, step: Callable[..., Coroutine[Any, Any, object]]
) -> None:
    """Nothing is changed."""
    contacts = CONTACTS_BY_ORGANIZATION.replace(
        ", PRIMARY KEY (organization_id, batch_job_id, id))", ")"
    )
    database.make(JOBS_BY_ORGANIZATION, contacts, schema=BY_ORGANIZATION)
    before = database.contacts()
    uow = AsyncPostgresUnitOfWork(
        lambda: psycopg.AsyncConnection.connect(database.dsn), BY_ORGANIZATION
    )
    with pytest.raises(BatchCancelError, match="map a column that is unique within a job"):
        asyncio.run(step(uow))
    assert database.contacts() == before


def test_a_job_that_no_contact_can_refer_to_gets_none(database: Database) -> None:
    """The column that contacts refer to is NULL there."""
    jobs = JOBS_WITH_NUMBERS.replace("bigint PRIMARY KEY", "bigint UNIQUE")
    database.make(jobs, CONTACTS_WITH_NUMBERS, schema=SURROGATE_BY_ORGANIZATION, by_number=True)
    database.connection.execute("UPDATE batch_jobs SET number = NULL WHERE organization_id = 'A'")
    uow = database.uow(SURROGATE_BY_ORGANIZATION)
    with pytest.raises(StoreFailed) as refused:
        append_contacts("1", [{"id": 7}], uow=uow, organization_id="A")
    assert str(refused.value.__cause__ or refused.value) == (
        "the 'number' of '1' is NULL, so no contact can refer to this job: set it first"
    )
    assert 7 not in database.statuses("A")


NAMELESS: dict[str, Callable[[PostgresUnitOfWork], object]] = {
    "claim": lambda uow: claim_contacts("1", uow=uow, organization_id="A", limit=9),
    "expire, watched": lambda uow: expire_calls("1", SOON, uow=uow, organization_id="A"),
    "append, watched": lambda uow: append_contacts("1", [{}], uow=uow, organization_id="A"),
    "cancel, watched": lambda uow: cancel_rows("1", uow=uow, organization_id="A"),
}


@pytest.mark.parametrize("name", NAMELESS)
def test_a_contact_without_an_id_is_refused_where_it_must_be_named(
    database: Database, name: str
) -> None:
    """Nothing is changed, and the sentence says which column is NULL."""
    contacts = CONTACTS_BY_ORGANIZATION.replace("PRIMARY KEY (", "UNIQUE (")
    database.make(JOBS_BY_ORGANIZATION, contacts, schema=BY_ORGANIZATION)
    for status in ("pending", "dialing"):
        database.connection.execute(
            "UPDATE batch_contacts SET id = NULL WHERE status = %s", [status]
        )
    if "watched" in name:
        database.watch()
    before = database.rows("A")
    for _ in range(2):
        with pytest.raises(BatchCancelError) as refused:
            NAMELESS[name](database.uow(BY_ORGANIZATION))
        assert str(refused.value.__cause__ or refused.value) == (
            "a contact of '1' can't be named, because its 'id' is NULL: set it first, or map "
            "another column with contact_id=..."
        )
    assert database.rows("A") == before


def test_a_table_that_is_mended_works_at_once(database: Database) -> None:
    """A refusal is not remembered."""
    jobs = JOBS_BY_ORGANIZATION.replace(", PRIMARY KEY (organization_id, id)", "")
    database.make(jobs, CONTACTS_BY_ORGANIZATION, schema=BY_ORGANIZATION)
    uow = database.uow(BY_ORGANIZATION)
    with pytest.raises(BatchCancelError):
        cancel_rows("1", uow=uow, organization_id="A")
    database.connection.execute("ALTER TABLE batch_jobs ADD PRIMARY KEY (organization_id, id)")
    assert cancel_rows("1", uow=uow, organization_id="A").record.contacts_cancelled == 2


def test_an_index_that_is_rolled_back_is_not_believed_in(database: Database) -> None:
    """What a transaction sees of its own changes holds in that transaction alone."""
    database.make(JOBS_BY_ORGANIZATION, CONTACTS_BY_ORGANIZATION, schema=PostgresSchema())
    with closing(psycopg.connect(database.dsn)) as connection:
        connection.execute("DELETE FROM batch_jobs WHERE organization_id = 'B'")
        connection.execute("CREATE UNIQUE INDEX ON batch_jobs (id)")
        cancel_rows("1", uow=joining(connection), organization_id="A")
        connection.rollback()
    before = database.contacts()
    with pytest.raises(BatchCancelError, match="contact_organization_id"):
        cancel_rows("1", uow=database.uow(PostgresSchema()), organization_id="A")
    assert database.contacts() == before


def test_a_contact_that_is_added_counts(database: Database) -> None:
    """It has what rows that count hold; one that says otherwise is refused."""
    contacts = CONTACTS_BY_ORGANIZATION.replace("status text", "kind text, status text")
    schema = attrs.evolve(BY_ORGANIZATION, contact_where={"kind": "voice"})
    database.make(JOBS_BY_ORGANIZATION, contacts, schema=schema)
    uow = database.uow(schema)
    with pytest.raises(StoreFailed, match="its 'kind' must be 'voice'"):
        append_contacts("1", [{"id": 7, "kind": "sms"}], uow=uow, organization_id="A")
    more: list[dict[str, object]] = [{"id": 7}, {"id": 8, "kind": "voice"}]
    assert append_contacts("1", more, uow=uow, organization_id="A") == 2
    assert claim_contacts("1", limit=5, uow=uow, organization_id="A") == ["7", "8"]


def test_a_call_without_a_time_of_its_claim_goes_by_its_last_change(database: Database) -> None:
    """It was live before the column came; nothing else would ever end it."""
    contacts = CONTACTS_BY_ORGANIZATION.replace("status text", "since timestamptz, status text")
    schema = attrs.evolve(BY_ORGANIZATION, contact_dialing_since="since")
    database.make(JOBS_BY_ORGANIZATION, contacts, schema=schema)
    uow = database.uow(schema)
    drift = inspect(uow=uow, scheduler=MemoryScheduler(), calls_older_than=SOON)
    assert [it.contacts for it in drift.calls_overdue or ()] == [2, 2]
    assert expire_calls("1", SOON, uow=uow, organization_id="A") == 2
