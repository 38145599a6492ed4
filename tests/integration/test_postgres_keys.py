"""
Keys that are not what the reference tables have: by organization, surrogate, not unique at all.

A cancel, and every step of a worker, touches the contacts of its own job alone, or refuses before
anything is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import attrs
import psycopg
import pytest

from batch_cancel import (
    BatchCancelError,
    ContactStatus,
    append_contacts,
    cancel_job,
    cancel_rows,
    claim_contacts,
    expire_calls,
    finish_job,
    inspect,
    settle_contact,
    start_job,
    still_running,
)
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.adapters.postgres import (
    PostgresSchema,
    PostgresUnitOfWork,
    guards_ddl,
    joining,
    table_ddl,
)
from batch_cancel.domain.errors import StoreFailed
from tests.servers import PostgresServer

SOON = timedelta(minutes=1)

BY_ORGANIZATION = PostgresSchema(contact_organization_id="organization_id")
SURROGATE = PostgresSchema(job_key="number")
SURROGATE_BY_ORGANIZATION = PostgresSchema(
    job_key="number", contact_organization_id="organization_id"
)

JOBS_BY_ORGANIZATION = (
    "CREATE TABLE batch_jobs (organization_id text, id text, number bigint, status text, "
    "scheduled_job_id text, updated_at timestamptz DEFAULT now(), "
    "PRIMARY KEY (organization_id, id))"
)
CONTACTS_BY_ORGANIZATION = (
    "CREATE TABLE batch_contacts (organization_id text, id bigint, batch_job_id text, "
    "status text, next_attempt_at timestamptz, updated_at timestamptz DEFAULT now(), "
    "PRIMARY KEY (organization_id, batch_job_id, id))"
)
JOBS_WITH_NUMBERS = (
    "CREATE TABLE batch_jobs (organization_id text, id text, number bigint PRIMARY KEY, "
    "status text, scheduled_job_id text, updated_at timestamptz DEFAULT now(), "
    "UNIQUE (organization_id, id))"
)
CONTACTS_WITH_NUMBERS = CONTACTS_BY_ORGANIZATION.replace(
    "batch_job_id text", "batch_job_id bigint"
)


@attrs.define
class Database:
    """Two organizations, A and B, each with a job "1", which is number 2 of A and 1 of B."""

    dsn: str
    connection: psycopg.Connection[Any]

    def make(self, *statements: str, schema: PostgresSchema, by_number: bool = False) -> None:
        """Make the tables, and fill them: contacts 1 to 6 of either job have equal ids."""
        for statement in (*statements, table_ddl(schema)):
            self.connection.execute(statement.encode())
        self.connection.execute(
            "INSERT INTO batch_jobs (organization_id, id, number, status) "
            "VALUES ('A', '1', 2, 'running'), ('B', '1', 1, 'running')"
        )
        self.connection.execute(
            "INSERT INTO batch_contacts (organization_id, id, batch_job_id, status, updated_at) "
            f"SELECT organization_id, c.id, jobs.{'number' if by_number else 'id'}, c.status, "
            "now() - interval '1 hour' FROM batch_jobs AS jobs, (VALUES (1, 'pending'), "
            "(2, 'dialing'), (3, 'dialing'), (4, 'busy'), (5, 'completed'), (6, 'paused')) "
            "AS c (id, status)"
        )

    def watch(self) -> None:
        """Add triggers that change nothing, so that what is written is looked at."""
        self.connection.execute(
            "CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RETURN NULL; END $$"
        )
        for table in ("batch_jobs", "batch_contacts"):
            self.connection.execute(
                f"CREATE CONSTRAINT TRIGGER watch AFTER INSERT OR UPDATE ON {table} "
                "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION watch()".encode()
            )

    def rows(self, organization_id: str) -> list[tuple[Any, ...]]:
        """Give all that belongs to an organization, its tables' rows whole."""
        return [
            row
            for table in ("batch_jobs", "batch_contacts", "batch_cancellations")
            for row in self.connection.execute(
                f"SELECT t::text FROM {table} AS t WHERE organization_id = %s ORDER BY 1".encode(),
                [organization_id],
            )
        ]

    def statuses(self, organization_id: str) -> dict[int, str]:
        """Give the status of each contact of an organization."""
        return dict(
            self.connection.execute(
                "SELECT id, status FROM batch_contacts WHERE organization_id = %s ORDER BY id",
                [organization_id],
            ).fetchall()
        )

    def contacts(self) -> dict[tuple[str, str, int], str]:
        """Give the status of every contact by its organization, its job and its id."""
        rows = self.connection.execute(
            "SELECT organization_id, batch_job_id::text, id, status FROM batch_contacts"
        )
        return {(organization, job, id_): status for organization, job, id_, status in rows}

    def job(self, organization_id: str) -> str:
        """Give the status of an organization's job."""
        [(status,)] = self.connection.execute(
            "SELECT status FROM batch_jobs WHERE organization_id = %s", [organization_id]
        ).fetchall()
        return str(status)

    def uow(self, schema: PostgresSchema) -> PostgresUnitOfWork:
        """Give a unit of work of its own connections."""
        return PostgresUnitOfWork(lambda: psycopg.connect(self.dsn), schema)


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[Database]:
    """Lend a schema without tables."""
    with (
        postgres_server.schema() as dsn,
        closing(psycopg.connect(dsn, autocommit=True)) as connection,
    ):
        yield Database(dsn, connection)


MADE: dict[str, tuple[tuple[str, str], PostgresSchema]] = {
    "organization and id": ((JOBS_BY_ORGANIZATION, CONTACTS_BY_ORGANIZATION), BY_ORGANIZATION),
    # A contact's id is unique within its job there.
    "surrogate": (
        (
            JOBS_WITH_NUMBERS,
            CONTACTS_WITH_NUMBERS.replace(
                "(organization_id, batch_job_id, id)", "(batch_job_id, id)"
            ),
        ),
        SURROGATE,
    ),
    "surrogate and organization": (
        (JOBS_WITH_NUMBERS, CONTACTS_WITH_NUMBERS),
        SURROGATE_BY_ORGANIZATION,
    ),
}


@pytest.fixture(params=MADE)
def made(request: pytest.FixtureRequest, database: Database) -> tuple[Database, PostgresSchema]:
    """Lend tables whose keys are other than the reference's, filled."""
    statements, schema = MADE[request.param]
    database.make(*statements, schema=schema, by_number=schema.job_key is not None)
    return database, schema


# Right -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_joined", [False, True], ids=["own", "joined"])
@pytest.mark.parametrize("is_watched", [False, True], ids=["bare", "watched"])
def test_each_step_touches_one_organizations_job_alone(
    made: tuple[Database, PostgresSchema], *, is_joined: bool, is_watched: bool
) -> None:
    """B's rows stay byte for byte what they were, through all that is done to A's."""
    database, schema = made
    if is_watched:
        database.watch()
    theirs = database.rows("B")
    with closing(psycopg.connect(database.dsn)) as connection:
        uow: Any = joining(connection, schema) if is_joined else database.uow(schema)
        named: dict[str, Any] = {"uow": uow, "organization_id": "A"}

        def then(expected: dict[int, str]) -> None:
            connection.commit()
            assert database.statuses("A") == expected
            assert database.rows("B") == theirs

        assert claim_contacts("1", limit=1, **named) == ["1"]
        then({1: "dialing", 2: "dialing", 3: "dialing", 4: "busy", 5: "completed", 6: "paused"})
        assert settle_contact("1", "1", ContactStatus.FAILED, **named) == "failed"
        then({1: "failed", 2: "dialing", 3: "dialing", 4: "busy", 5: "completed", 6: "paused"})
        assert settle_contact("1", "2", ContactStatus.NO_ANSWER, **named) == "no_answer"
        then({1: "failed", 2: "no_answer", 3: "dialing", 4: "busy", 5: "completed", 6: "paused"})
        assert expire_calls("1", SOON, **named) == 1
        then({1: "failed", 2: "no_answer", 3: "timeout", 4: "busy", 5: "completed", 6: "paused"})
        is_mapped = schema.contact_organization_id is not None
        added = {"id": 7} if is_mapped else {"id": 7, "organization_id": "A"}
        assert append_contacts("1", [added], **named) == 1
        assert finish_job("1", **named) is False
        assert start_job("1", **named) is False
        cancellation = cancel_rows("1", **named)
        assert cancellation.record.contacts_cancelled == 4
        then(
            {
                **dict.fromkeys((2, 3, 4, 7), "cancelled"),
                1: "failed",
                5: "completed",
                6: "paused",
            }
        )
        assert database.job("A") == "cancelled"
        assert append_contacts_refused("1", named)
    drift = inspect(uow=database.uow(schema), scheduler=MemoryScheduler(), calls_older_than=SOON)
    assert drift.contacts_open == ()
    assert [(it.key.organization_id, it.contacts) for it in drift.calls_overdue or ()] == [
        ("B", 2)
    ]


def append_contacts_refused(job: str, named: dict[str, Any]) -> bool:
    """Tell whether no contact may be added any more."""
    with pytest.raises(BatchCancelError, match="already cancelled"):
        append_contacts(job, [{"id": 8}], **named)
    return True


@pytest.mark.parametrize("is_watched", [False, True], ids=["bare", "watched"])
@pytest.mark.parametrize("has_times", [False, True], ids=["untimed", "timed"])
def test_a_claim_takes_contacts_of_its_own_job_alone(
    made: tuple[Database, PostgresSchema], *, has_times: bool, is_watched: bool
) -> None:
    """Whatever waits under equal ids in other jobs, of A and of B; one job's state is its own."""
    database, schema = made
    if is_watched:
        database.watch()
    if not has_times:
        schema = attrs.evolve(schema, contact_next_attempt_at=None)
    job = "2" if schema.job_key is None else "3"
    database.connection.execute(
        "INSERT INTO batch_jobs (organization_id, id, number, status) "
        "VALUES ('A', '2', 3, 'scheduled');"
        "INSERT INTO batch_contacts (organization_id, id, batch_job_id, status) "
        f"VALUES ('A', 5, '{job}', 'pending'), ('A', 6, '{job}', 'pending');"
        "UPDATE batch_contacts SET status = 'pending' WHERE organization_id = 'B';"
        "UPDATE batch_contacts SET next_attempt_at = '2020-01-01' WHERE id % 2 = 0".encode()
    )
    before = database.contacts()
    uow = database.uow(schema)
    assert claim_contacts("2", limit=9, uow=uow, organization_id="A") == []
    claimed = claim_contacts("1", limit=9, uow=uow, organization_id="A")
    assert sorted(claimed) == ["1", "4"]
    job = "1" if schema.job_key is None else "2"
    assert database.contacts() == before | {
        ("A", job, 1): "dialing",
        ("A", job, 4): "dialing",
    }


def test_a_job_is_told_from_others_of_its_id_and_of_its_organization(
    made: tuple[Database, PostgresSchema],
) -> None:
    """It is read, started and finished; no other job is, or is waited for."""
    database, schema = made
    uow = database.uow(schema)
    database.connection.execute(
        "DELETE FROM batch_contacts;"
        "UPDATE batch_jobs SET status = 'scheduled' WHERE organization_id = 'B';"
        "INSERT INTO batch_jobs (organization_id, id, number, status) "
        "VALUES ('A', '2', 3, 'scheduled'), ('B', '2', 4, 'running')"
    )
    before = database.rows("A"), database.rows("B")
    for organization, job, is_running in (
        ("A", "1", True),
        ("A", "2", False),
        ("B", "1", False),
        ("B", "2", True),
    ):
        named: dict[str, Any] = {"uow": uow, "organization_id": organization}
        assert still_running(job, **named) is is_running
    assert start_job("1", uow=uow, organization_id="A") is False
    with psycopg.connect(database.dsn) as holder:
        holder.execute(
            "SELECT FROM batch_jobs WHERE (organization_id, id) <> ('A', '2') FOR UPDATE"
        )
        assert finish_job("2", uow=uow, organization_id="A") is False
    assert (database.rows("A"), database.rows("B")) == before
    database.connection.execute("UPDATE batch_jobs SET status = 'running'")
    assert finish_job("1", uow=uow, organization_id="A") is True
    found = database.connection.execute(
        "SELECT organization_id, id FROM batch_jobs WHERE status <> 'running'"
    )
    assert found.fetchall() == [("A", "1")]


def test_a_job_is_finished_whatever_anothers_contacts_are(
    made: tuple[Database, PostgresSchema],
) -> None:
    """A's job has nothing left to do; B's, of the same id, has."""
    database, schema = made
    database.connection.execute(
        "UPDATE batch_contacts SET status = 'completed' WHERE organization_id = 'A'"
    )
    theirs = database.rows("B")
    uow = database.uow(schema)
    assert finish_job("1", uow=uow, organization_id="B") is False
    assert finish_job("1", uow=uow, organization_id="A") is True
    assert (database.job("A"), database.rows("B")) == ("completed", theirs)


def test_an_inspection_counts_a_jobs_own_contacts(made: tuple[Database, PostgresSchema]) -> None:
    """A cancelled job whose contacts are open is a finding; another's open contacts are none."""
    database, schema = made
    database.connection.execute("UPDATE batch_jobs SET status = 'cancelled'")
    database.connection.execute(
        "UPDATE batch_contacts SET status = 'cancelled' WHERE organization_id = 'A'"
    )
    drift = inspect(uow=database.uow(schema), scheduler=MemoryScheduler())
    assert [(it.key.organization_id, it.contacts_open) for it in drift.contacts_open] == [("B", 2)]


def test_the_guards_look_at_the_contacts_own_job(made: tuple[Database, PostgresSchema]) -> None:
    """A naive writer's contact becomes cancelled under A's cancelled job, and not under B's."""
    database, schema = made
    database.connection.execute(guards_ddl(schema).encode())
    cancel_job("1", uow=database.uow(schema), scheduler=MemoryScheduler(), organization_id="A")
    database.connection.execute("UPDATE batch_contacts SET status = 'queued' WHERE id = 5")
    assert (database.statuses("A")[5], database.statuses("B")[5]) == ("completed", "queued")
    database.connection.execute("UPDATE batch_contacts SET status = 'queued' WHERE id = 6")
    assert (database.statuses("A")[6], database.statuses("B")[6]) == ("cancelled", "queued")


def test_the_guards_look_at_a_contact_that_changes_its_organization(database: Database) -> None:
    """So it comes to a job of the same id that is cancelled."""
    statements, schema = MADE["organization and id"]
    database.make(*statements, schema=schema)
    database.connection.execute(guards_ddl(schema).encode())
    database.connection.execute(
        "UPDATE batch_contacts SET id = id + 10 WHERE organization_id = 'B'"
    )
    cancel_rows("1", uow=database.uow(schema), organization_id="A")
    database.connection.execute("UPDATE batch_contacts SET organization_id = 'A' WHERE id = 11")
    assert database.statuses("A")[11] == "cancelled"


# Refused -----------------------------------------------------------------------------------------

Step = Callable[..., object]

ABOUT_JOBS: list[tuple[str, Step]] = [
    ("cancel", lambda **named: cancel_rows("1", **named)),
    ("claim", lambda **named: claim_contacts("1", limit=3, **named)),
    ("settle", lambda **named: settle_contact("1", "2", ContactStatus.COMPLETED, **named)),
    ("settle for a retry", lambda **named: settle_contact("1", "2", ContactStatus.BUSY, **named)),
    ("append", lambda **named: append_contacts("1", [{"id": 9}], **named)),
    ("expire", lambda **named: expire_calls("1", SOON, **named)),
    ("finish", lambda **named: finish_job("1", **named)),
]
ABOUT_CONTACTS = [it for it in ABOUT_JOBS if it[0] in {"claim", "settle", "settle for a retry"}]

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
        "declare that with keys_are_unique=True",
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
    told = f"what '{of_jobs}' of batch_jobs, of the type text, tells apart"
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
def test_a_job_whose_contacts_may_spell_its_key_otherwise_is_refused(
    database: Database, kind: str, *, is_joined: bool
) -> None:
    """Their column tells apart what the job's finds equal: one of them would be left open."""
    type_, spelled = FOLDING[kind]
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
            f"VALUES ('job', 'pending'), ('{spelled}', 'pending')"
        ),
        table_ddl(PostgresSchema()),
    ):
        database.connection.execute(statement.encode())
    told = "could refer to its job in another spelling"
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
    with pytest.raises(StoreFailed, match="'kind' holds 'voice' in those that do"):
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
def test_jobs_of_no_organization_are_told_apart_or_refused(database: Database, nulls: str) -> None:
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
    with pytest.raises(BatchCancelError, match="has several jobs of the id '1'"):
        inspect(uow=uow, scheduler=MemoryScheduler())
    assert database.rows("A") == before
