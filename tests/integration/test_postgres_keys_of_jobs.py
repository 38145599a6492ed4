"""
Jobs that may be several: whose key is not unique, or is spelled in several ways.

A cancel, and every step of a worker, refuses before anything is changed.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

import attrs
import psycopg
import pytest

from batch_cancel import (
    BatchCancelError,
    append_contacts,
    cancel_rows,
    claim_contacts,
    finish_job,
    inspect,
    job_progress,
    preview_job,
    start_job,
    still_running,
)
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.adapters.postgres import (
    PostgresSchema,
    joining,
    table_ddl,
)
from batch_cancel.domain.errors import StoreFailed
from tests.integration.postgres_keys import (
    ABOUT_JOBS,
    BY_ORGANIZATION,
    CONTACTS_BY_ORGANIZATION,
    CONTACTS_WITH_NUMBERS,
    JOBS_BY_ORGANIZATION,
    JOBS_WITH_NUMBERS,
    SURROGATE,
    SURROGATE_BY_ORGANIZATION,
    Database,
    database,
)

__all__ = ["database"]

UNSAFE_JOBS = {
    "one in each organization": (
        JOBS_BY_ORGANIZATION,
        PostgresSchema(),
        "contact_organization_id",
    ),
    "no index": (
        JOBS_BY_ORGANIZATION.replace(", PRIMARY KEY (organization_id, id)", ""),
        BY_ORGANIZATION,
        "add a unique index",
    ),
    "a partial index": (
        JOBS_BY_ORGANIZATION.replace(", PRIMARY KEY (organization_id, id)", "")
        + "; CREATE UNIQUE INDEX ON batch_jobs (organization_id, id) WHERE number > 0",
        BY_ORGANIZATION,
        "add a unique index that is valid and covers every row",
    ),
    "an index that is not valid": (
        JOBS_BY_ORGANIZATION.replace(", PRIMARY KEY (organization_id, id)", "")
        + "; CREATE UNIQUE INDEX lame ON batch_jobs (organization_id, id);"
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'lame'::regclass",
        BY_ORGANIZATION,
        "add a unique index that is valid and covers every row",
    ),
    "an index that is not unique": (
        JOBS_BY_ORGANIZATION.replace(", PRIMARY KEY (organization_id, id)", "")
        + "; CREATE INDEX ON batch_jobs (organization_id, id)",
        BY_ORGANIZATION,
        "add a unique index",
    ),
    "an index with case, on a column without": (
        "CREATE EXTENSION IF NOT EXISTS citext SCHEMA pg_catalog; "
        + JOBS_BY_ORGANIZATION.replace("id text, number", "id citext, number").replace(
            ", PRIMARY KEY (organization_id, id)", ""
        )
        + "; CREATE UNIQUE INDEX ON batch_jobs (organization_id, id text_ops)",
        BY_ORGANIZATION,
        "add a unique index",
    ),
    "an index on an expression": (
        JOBS_BY_ORGANIZATION.replace(", PRIMARY KEY (organization_id, id)", "")
        + "; CREATE UNIQUE INDEX ON batch_jobs (organization_id, (id || number::text))",
        BY_ORGANIZATION,
        "add a unique index",
    ),
    "an index on more": (
        JOBS_BY_ORGANIZATION.replace("(organization_id, id)", "(organization_id, id, number)"),
        BY_ORGANIZATION,
        "add a unique index",
    ),
    "children, of which an index knows nothing": (
        JOBS_BY_ORGANIZATION + "; CREATE TABLE more_jobs () INHERITS (batch_jobs)",
        BY_ORGANIZATION,
        "add a unique index",
    ),
    "a view": (
        JOBS_BY_ORGANIZATION.replace("TABLE batch_jobs", "TABLE all_jobs")
        + "; CREATE VIEW batch_jobs AS SELECT * FROM all_jobs",
        BY_ORGANIZATION,
        "declare that it is unique with keys_are_unique=True",
    ),
}


@pytest.mark.parametrize("is_joined", [False, True], ids=["own", "joined"])
@pytest.mark.parametrize("kind", UNSAFE_JOBS)
def test_a_job_that_may_be_several_is_refused(
    database: Database, kind: str, *, is_joined: bool
) -> None:
    """By each step that touches contacts, with a sentence, and before anything is changed."""
    jobs, schema, told = UNSAFE_JOBS[kind]
    database.make(jobs, CONTACTS_BY_ORGANIZATION, schema=schema)
    before = database.rows("A"), database.rows("B")
    with closing(psycopg.connect(database.dsn)) as connection:
        uow: Any = joining(connection, schema) if is_joined else database.uow(schema)
        for name, step in ABOUT_JOBS:
            with pytest.raises(BatchCancelError) as failure:
                step(uow=uow, organization_id="A")
            connection.commit()
            assert told in str(failure.value), name
            assert (database.rows("A"), database.rows("B")) == before, name


COARSE = {
    "an integer is '1' and '01'": ("id", "batch_job_id", "bigint"),
    "citext is 'a' and 'A'": ("organization_id", "organization_id", "citext"),
    "a domain over a domain": ("id", "batch_job_id", "outer_number"),
}
"""A column of jobs that is text, and one of contacts that finds several of its values equal."""


@pytest.mark.parametrize("is_joined", [False, True], ids=["own", "joined"])
@pytest.mark.parametrize("kind", COARSE)
def test_contacts_that_refer_to_several_jobs_by_one_value_are_refused(
    database: Database, kind: str, *, is_joined: bool
) -> None:
    """By each step that touches contacts, and by a check, before anything is changed."""
    of_jobs, of_contacts, type_ = COARSE[kind]
    for statement in (
        "CREATE EXTENSION IF NOT EXISTS citext SCHEMA pg_catalog",
        "CREATE DOMAIN inner_number AS bigint",
        "CREATE DOMAIN outer_number AS inner_number",
    ):
        database.connection.execute(statement.encode())
    schema = BY_ORGANIZATION
    database.make(JOBS_BY_ORGANIZATION, CONTACTS_BY_ORGANIZATION, schema=schema)
    database.connection.execute(
        f"ALTER TABLE batch_contacts ALTER {of_contacts} TYPE {type_} "
        f"USING {of_contacts}::{type_}".encode()
    )
    before = database.rows("A"), database.rows("B")
    told = f"that '{of_jobs}' of batch_jobs, of the type text, distinguishes"
    assert any(told in it for it in database.uow(schema).examine().missing)
    with closing(psycopg.connect(database.dsn)) as connection:
        uow: Any = joining(connection, schema) if is_joined else database.uow(schema)
        for name, step in ABOUT_JOBS:
            with pytest.raises(BatchCancelError) as failure:
                step(uow=uow, organization_id="A")
            connection.commit()
            assert told in str(failure.value), name
            assert (database.rows("A"), database.rows("B")) == before, name


FOLDING = {
    "citext": ("citext", "JOB"),
    "a domain over citext": ("folded", "JOB"),
    "char": ("char(10)", "job       "),
}
"""A type of the jobs' key that finds texts equal, and another spelling of 'job' that is."""


@pytest.mark.parametrize("is_joined", [False, True], ids=["own", "joined"])
@pytest.mark.parametrize("kind", FOLDING)
def test_a_job_whose_contacts_may_hold_another_form_of_its_key_is_refused(
    database: Database, kind: str, *, is_joined: bool
) -> None:
    """Their column tells apart what the job's finds equal: one of them would be left open."""
    type_, other_form = FOLDING[kind]
    for statement in (
        "CREATE EXTENSION IF NOT EXISTS citext SCHEMA pg_catalog",
        "CREATE DOMAIN folded AS citext",
        (
            f"CREATE TABLE batch_jobs (id {type_} PRIMARY KEY, organization_id text, "
            "status text, scheduled_job_id text, updated_at timestamptz)"
        ),
        (
            "CREATE TABLE batch_contacts (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
            "batch_job_id text NOT NULL, status text NOT NULL, next_attempt_at timestamptz, "
            "updated_at timestamptz)"
        ),
        "INSERT INTO batch_jobs (id, status) VALUES ('job', 'running')",
        (
            "INSERT INTO batch_contacts (batch_job_id, status) "
            f"VALUES ('job', 'pending'), ('{other_form}', 'pending')"
        ),
        table_ddl(PostgresSchema()),
    ):
        database.connection.execute(statement.encode())
    told = "a contact that refers to its job by such a value would be left open"
    with closing(psycopg.connect(database.dsn)) as connection:
        uow: Any = joining(connection) if is_joined else database.uow(PostgresSchema())
        for step in (
            lambda: cancel_rows("job", uow=uow),
            lambda: claim_contacts("job", uow=uow, limit=3),
            lambda: append_contacts("job", [{}], uow=uow),
            lambda: finish_job("job", uow=uow),
        ):
            with pytest.raises(BatchCancelError, match=told):
                step()
            connection.commit()
    assert any(told in it for it in database.uow(PostgresSchema()).check())
    rows = database.connection.execute("SELECT DISTINCT status FROM batch_contacts").fetchall()
    assert rows == [("pending",)]


def test_a_contact_is_not_added_to_a_job_that_none_can_refer_to(database: Database) -> None:
    """A NULL in the key's column is no key: the contact would be nobody's."""
    jobs = JOBS_WITH_NUMBERS.replace("bigint PRIMARY KEY", "bigint UNIQUE")
    database.make(jobs, CONTACTS_WITH_NUMBERS, schema=SURROGATE, by_number=True)
    database.connection.execute("ALTER TABLE batch_contacts DROP CONSTRAINT batch_contacts_pkey")
    database.connection.execute("ALTER TABLE batch_contacts ALTER batch_job_id DROP NOT NULL")
    database.connection.execute("UPDATE batch_jobs SET number = NULL WHERE organization_id = 'A'")
    before = database.contacts()
    with pytest.raises(StoreFailed, match="'number' of '1' is NULL"):
        append_contacts("1", [{"id": 7}], uow=database.uow(SURROGATE), organization_id="A")
    assert database.contacts() == before


def test_an_inspection_of_jobs_that_may_be_several_is_refused(database: Database) -> None:
    """It would count the contacts of others."""
    database.make(JOBS_BY_ORGANIZATION, CONTACTS_BY_ORGANIZATION, schema=PostgresSchema())
    with pytest.raises(BatchCancelError, match="contact_organization_id"):
        inspect(uow=database.uow(PostgresSchema()), scheduler=MemoryScheduler())


def test_what_an_index_includes_is_no_part_of_its_key(database: Database) -> None:
    """Rows are told apart by the rest."""
    database.make(
        JOBS_BY_ORGANIZATION.replace(", PRIMARY KEY (organization_id, id)", "")
        + "; CREATE UNIQUE INDEX ON batch_jobs (organization_id, id) INCLUDE (number)",
        CONTACTS_BY_ORGANIZATION,
        schema=BY_ORGANIZATION,
    )
    theirs = database.rows("B")
    uow = database.uow(BY_ORGANIZATION)
    assert cancel_rows("1", uow=uow, organization_id="A").record.contacts_cancelled == 2
    assert database.rows("B") == theirs


def test_the_word_counts_for_views_alone(database: Database) -> None:
    """Of a table Postgres itself tells."""
    vouched = attrs.evolve(BY_ORGANIZATION, keys_are_unique=True)
    database.make(
        JOBS_BY_ORGANIZATION.replace(", PRIMARY KEY (organization_id, id)", ""),
        CONTACTS_BY_ORGANIZATION,
        schema=vouched,
    )
    with pytest.raises(BatchCancelError, match="add a unique index"):
        cancel_rows("1", uow=database.uow(vouched), organization_id="A")
    database.connection.execute("ALTER TABLE batch_jobs ADD PRIMARY KEY (organization_id, id)")
    database.connection.execute("ALTER TABLE batch_jobs RENAME TO all_jobs")
    database.connection.execute("CREATE VIEW batch_jobs AS SELECT * FROM all_jobs")
    theirs = database.rows("B")
    uow = database.uow(vouched)
    assert cancel_rows("1", uow=uow, organization_id="A").record.contacts_cancelled == 2
    assert (database.job("A"), database.rows("B")) == ("cancelled", theirs)


@pytest.mark.parametrize("nulls", ["", "NULLS NOT DISTINCT"])
def test_jobs_of_no_organization_are_distinguished_or_refused(
    database: Database, nulls: str
) -> None:
    """NULLs are different values to most unique indexes, so two such jobs may have one id."""
    jobs = JOBS_BY_ORGANIZATION.replace(
        "PRIMARY KEY (organization_id, id)", f"UNIQUE {nulls} (organization_id, id)"
    )
    contacts = CONTACTS_BY_ORGANIZATION.replace("PRIMARY KEY", "UNIQUE NULLS NOT DISTINCT")
    database.make(jobs, contacts, schema=BY_ORGANIZATION)
    database.connection.execute("UPDATE batch_jobs SET organization_id = NULL WHERE number = 2")
    database.connection.execute(
        "UPDATE batch_contacts SET organization_id = NULL WHERE organization_id = 'A'"
    )
    uow, theirs = database.uow(BY_ORGANIZATION), database.rows("B")
    if not nulls:
        with pytest.raises(BatchCancelError, match="NULLS NOT DISTINCT"):
            cancel_rows("1", uow=uow)
    else:
        assert cancel_rows("1", uow=uow).record.contacts_cancelled == 2
    assert database.rows("B") == theirs
    assert cancel_rows("1", uow=uow, organization_id="B").record.contacts_cancelled == 2


def test_several_jobs_of_one_name_are_refused(database: Database) -> None:
    """The key that contacts refer to is unique, but the id that callers know is not."""
    database.make(
        JOBS_WITH_NUMBERS.replace(", UNIQUE (organization_id, id)", ""),
        CONTACTS_WITH_NUMBERS,
        schema=SURROGATE_BY_ORGANIZATION,
        by_number=True,
    )
    database.connection.execute("UPDATE batch_jobs SET organization_id = 'A'")
    before = database.rows("A")
    uow = database.uow(SURROGATE_BY_ORGANIZATION)
    for _, step in ABOUT_JOBS:
        with pytest.raises(BatchCancelError):
            step(uow=uow, organization_id="A")
        assert database.rows("A") == before
    database.connection.execute("UPDATE batch_jobs SET status = 'scheduled'")
    before = database.rows("A")
    with pytest.raises(BatchCancelError, match="has several jobs of the id '1'"):
        start_job("1", uow=uow, organization_id="A")
    with pytest.raises(BatchCancelError, match="has several jobs of the id '1'"):
        still_running("1", uow=uow, organization_id="A")
    for look in (preview_job, job_progress):
        with pytest.raises(BatchCancelError, match="a job's id names several jobs"):
            look("1", uow=uow, organization_id="A")
    with pytest.raises(BatchCancelError, match="has several jobs of the id '1'"):
        inspect(uow=uow, scheduler=MemoryScheduler())
    assert database.rows("A") == before
