"""
`check()` at start-up: each sentence, by breaking the thing that it is about on the real server.

A server that is too old is a real one behind a line that changes its version's first digit.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import sqlite3
import threading
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import psycopg
import pytest
import redis
import redis.asyncio
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row

from batch_cancel import ContactStatus
from batch_cancel.adapters.postgres import (
    AsyncPostgresUnitOfWork,
    PostgresSchema,
    PostgresUnitOfWork,
)
from batch_cancel.adapters.redis import (
    AsyncRedisScheduler,
    AsyncStartGate,
    RedisScheduler,
    StartGate,
)
from batch_cancel.adapters.sqlite import SqliteScheduler, SqliteStore
from tests.pairs import create_reference_tables
from tests.processes import free_port, unprivileged

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from tests.redis_topologies import RedisCluster
    from tests.servers import PostgresServer, RedisServer

# Postgres ----------------------------------------------------------------------------------------


def checked(dsn: str, **names: Any) -> list[str]:
    """Ask both halves, which say the same, whatever rows their connections make."""
    schema = PostgresSchema(**names)
    rows: Any = dict_row  # Else pyright asks a lambda for rows of tuples.

    async def ask() -> list[str]:
        return await AsyncPostgresUnitOfWork(
            lambda: psycopg.AsyncConnection.connect(dsn, row_factory=rows), schema
        ).check()

    blocking = PostgresUnitOfWork(lambda: psycopg.connect(dsn, row_factory=rows), schema)
    found = blocking.check()
    assert asyncio.run(ask()) == found
    return found


@pytest.fixture
def dsn(postgres_schema: str) -> str:
    """Lend a schema with the reference tables and ours."""
    with psycopg.connect(postgres_schema, autocommit=True) as connection:
        create_reference_tables(connection)
    return postgres_schema


@pytest.fixture
def execute(dsn: str) -> Generator[Callable[[str], object]]:
    """Lend a way to break it."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield lambda statement: connection.execute(statement.encode())


def catalog(dsn: str) -> list[Any]:
    """Give what a check could have changed: every row of the catalogs, by its last writer."""
    with psycopg.connect(dsn) as connection:
        return [
            connection.execute(
                b"SELECT xmin::text, ctid::text FROM %s ORDER BY 2" % table
            ).fetchall()
            for table in (b"pg_class", b"pg_attribute", b"pg_index", b"batch_jobs")
        ]


def test_the_reference_tables_are_fit(dsn: str) -> None:
    """And looking at them changes nothing."""
    with psycopg.connect(dsn) as connection:
        connection.execute("INSERT INTO batch_jobs (id, status) VALUES ('j', 'scheduled')")
        connection.execute("ANALYZE")  # A row is read soonest by reading all of its table.
    before = catalog(dsn)
    assert checked(dsn) == []
    assert catalog(dsn) == before


MISSING = {
    "no jobs": (
        ["DROP TABLE batch_jobs CASCADE"],
        ["table batch_jobs is missing: map its name with PostgresSchema(jobs=...)"],
    ),
    "no contacts": (
        ["DROP TABLE batch_contacts"],
        ["table batch_contacts is missing: map its name with PostgresSchema(contacts=...)"],
    ),
    "no table of ours": (
        ["DROP TABLE batch_cancellations"],
        [("table batch_cancellations is missing: run the SQL that `batch-cancel schema` prints")],
    ),
}

BREAKS = {
    "no job id": (
        ["ALTER TABLE batch_jobs RENAME id TO uid"],
        ["column id is missing from batch_jobs: map its name with PostgresSchema(job_id=...)"],
    ),
    "no job status": (
        ["ALTER TABLE batch_jobs DROP status"],
        [
            (
                "column status is missing from batch_jobs: map its name with "
                "PostgresSchema(job_status=...)"
            )
        ],
    ),
    "no organization": (
        ["ALTER TABLE batch_jobs DROP organization_id"],
        [
            (
                "column organization_id is missing from batch_jobs: map its name with "
                "PostgresSchema(job_organization_id=...), or None if there is none"
            )
        ],
    ),
    "no deferred id": (
        ["ALTER TABLE batch_jobs DROP scheduled_job_id"],
        [
            (
                "column scheduled_job_id is missing from batch_jobs: map its name with "
                "PostgresSchema(job_deferred_id=...), or None if there is none"
            )
        ],
    ),
    "no times": (
        ["ALTER TABLE batch_jobs DROP updated_at", "ALTER TABLE batch_contacts DROP updated_at"],
        [
            (
                "column updated_at is missing from batch_jobs: map its name with "
                "PostgresSchema(job_updated_at=...), or None if there is none"
            ),
            (
                "column updated_at is missing from batch_contacts: map its name with "
                "PostgresSchema(contact_updated_at=...), or None if there is none"
            ),
        ],
    ),
    "no contact's job": (
        ["ALTER TABLE batch_contacts DROP batch_job_id"],
        [
            (
                "column batch_job_id is missing from batch_contacts: map its name with "
                "PostgresSchema(contact_job_id=...)"
            )
        ],
    ),
    "no contact status": (
        ["ALTER TABLE batch_contacts DROP status"],
        [
            (
                "column status is missing from batch_contacts: map its name with "
                "PostgresSchema(contact_status=...)"
            )
        ],
    ),
    "a table of ours from before": (
        ["ALTER TABLE batch_cancellations DROP is_announced, DROP taken_at"],
        [
            (
                "column is_announced is missing from batch_cancellations, which another version "
                "has made: add it as `batch-cancel schema` prints it"
            ),
            (
                "column taken_at is missing from batch_cancellations, which another version has "
                "made: add it as `batch-cancel schema` prints it"
            ),
            (
                "no index finds what is still owed, so each reconcile reads all of "
                "batch_cancellations: make batch_cancellations_owing as `batch-cancel schema` "
                "prints it"
            ),
        ],
    ),
    "no primary key of ours": (
        ["ALTER TABLE batch_cancellations DROP CONSTRAINT batch_cancellations_pkey"],
        [
            (
                "batch_cancellations has no primary key (organization_id, batch_job_id), without "
                "which no cancel can keep its record: add it as `batch-cancel schema` prints it"
            )
        ],
    ),
    "no index of what is owed": (
        ["DROP INDEX batch_cancellations_owing"],
        [
            (
                "no index finds what is still owed, so each reconcile reads all of "
                "batch_cancellations: make batch_cancellations_owing as `batch-cancel schema` "
                "prints it"
            )
        ],
    ),
    "no index of the contacts": (
        ["DROP INDEX batch_contacts_open"],
        [
            (
                "no index serves the cancel, so each one reads all of batch_contacts: CREATE "
                "INDEX ON batch_contacts (batch_job_id) WHERE status IN "
                "('busy', 'no_answer', 'pending', 'queued', 'timeout')"
            )
        ],
    ),
    "a time that is none": (
        ["ALTER TABLE batch_contacts DROP updated_at, ADD updated_at bigint"],
        [
            (
                "Postgres does not take the statement that cancels contacts of batch_contacts: "
                'column "updated_at" is of type bigint but expression is of type timestamp with '
                "time zone"
            )
        ],
    ),
    "an index of the contacts by their status": (
        [
            "DROP INDEX batch_contacts_open",
            "CREATE INDEX ON batch_contacts (status, batch_job_id)",
        ],
        [],
    ),
    "an index of some contacts only": (
        [
            "ALTER TABLE batch_contacts ADD label text",
            "DROP INDEX batch_contacts_open",
            "CREATE INDEX ON batch_contacts (batch_job_id) WHERE status IN ('pending', 'queued')",
            "CREATE INDEX ON batch_contacts (batch_job_id) WHERE next_attempt_at IS NULL",
            "CREATE INDEX ON batch_contacts (label, batch_job_id)",
            "CREATE INDEX ON batch_contacts (status, label, batch_job_id)",
        ],
        [
            (
                "no index serves the cancel, so each one reads all of batch_contacts: CREATE "
                "INDEX ON batch_contacts (batch_job_id) WHERE status IN "
                "('busy', 'no_answer', 'pending', 'queued', 'timeout')"
            )
        ],
    ),
    "no index of the jobs": (
        ["ALTER TABLE batch_jobs DROP CONSTRAINT batch_jobs_pkey CASCADE"],
        [
            (
                "nothing says that 'id' names one job of batch_jobs: add a unique index that is "
                "valid and covers every row, or map the columns that have one (job_key=..., or "
                "job_organization_id=... and contact_organization_id=...)"
            )
        ],
    ),
    "a job status that may not be": (
        [
            (
                "ALTER TABLE batch_jobs ADD CONSTRAINT known "
                "CHECK (status IN ('scheduled', 'pending', 'running', 'completed', '100%'))"
            )
        ],
        [
            (
                "the check constraint known of batch_jobs does not allow status to be "
                "'cancelled': let it"
            )
        ],
    ),
    "a contact status that may not be": (
        ["ALTER TABLE batch_contacts ADD CHECK (status <> 'cancelled')"],
        [
            (
                "the check constraint batch_contacts_status_check of batch_contacts does not "
                "allow status to be 'cancelled': let it"
            )
        ],
    ),
}


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_table_is_named(postgres_database: str, name: str) -> None:
    """In a database where no other schema has one of its name."""
    statements, sentences = MISSING[name]
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        create_reference_tables(connection)
        for statement in statements:
            connection.execute(statement.encode())
    assert checked(postgres_database) == sentences


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_missing_is_named(postgres_database: str, name: str) -> None:
    """One sentence each, and how to mend it; nothing else is complained of."""
    statements, sentences = BREAKS[name]
    # A database of its own: elsewhere the tables of another test may be found.
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        create_reference_tables(connection)
        for statement in statements:
            connection.execute(statement.encode())
    assert checked(postgres_database) == sentences


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE INDEX ON batch_contacts (batch_job_id)",
        "CREATE INDEX ON batch_contacts (batch_job_id, status)",
        "CREATE INDEX ON batch_contacts (batch_job_id) WHERE status NOT IN ('completed', '')",
        "CREATE INDEX ON batch_contacts (batch_job_id) WHERE status <> '100%'",
        (
            "CREATE INDEX ON batch_contacts (batch_job_id, id) INCLUDE (status) WHERE "
            "status = ANY ('{pending,queued,no_answer,busy,timeout,dialing}')"
        ),
    ],
)
def test_any_index_that_serves_will_do(
    dsn: str, execute: Callable[[str], object], statement: str
) -> None:
    """Postgres itself uses it for the cancel, so nobody is told to make another."""
    execute("DROP INDEX batch_contacts_open")
    assert len(checked(dsn)) == 1
    execute(statement)
    assert checked(dsn) == []
    with psycopg.connect(dsn) as connection:
        connection.execute("SET enable_seqscan = off")
        plan = connection.execute(
            "EXPLAIN UPDATE batch_contacts SET status = 'cancelled' WHERE batch_job_id = 'j' "
            "AND status IN ('busy', 'no_answer', 'pending', 'queued', 'timeout')"
        ).fetchall()
    assert any(re.search(r"Index Cond: \(+batch_job_id = ", line) for (line,) in plan)


@pytest.mark.parametrize(
    "statement",
    [
        # A condition that is true of the five, and that Postgres does not prove of them.
        "CREATE INDEX ON batch_contacts (batch_job_id) WHERE length(status) > 3",
        # Statements compare by the column's collation; an index of another one is of no use.
        'CREATE INDEX ON batch_contacts (batch_job_id COLLATE "POSIX")',
        "CREATE INDEX ON batch_contacts (next_attempt_at, batch_job_id)",
    ],
)
def test_an_index_that_postgres_cannot_use_does_not_serve(
    dsn: str, execute: Callable[[str], object], statement: str
) -> None:
    """However much it looks like one that could."""
    execute("DROP INDEX batch_contacts_open")
    execute(statement)
    [found] = checked(dsn)
    assert found.startswith("no index serves the cancel, so each one reads all of batch_contacts")


@pytest.mark.parametrize("kind", ["uuid", "bigint", "integer", "varchar(40)"])
def test_ids_of_any_kind_are_planned_with(
    dsn: str, execute: Callable[[str], object], kind: str
) -> None:
    """An index that can't be used is found out whatever the ids are."""
    execute("DROP TABLE batch_contacts")
    execute("DROP TABLE batch_jobs")
    execute(
        f"CREATE TABLE batch_jobs (id {kind} PRIMARY KEY, organization_id text, status text, "
        "scheduled_job_id text, updated_at timestamptz)"
    )
    execute(
        f"CREATE TABLE batch_contacts (id {kind} PRIMARY KEY, batch_job_id {kind}, status text, "
        "updated_at timestamptz)"
    )
    execute("CREATE INDEX ON batch_contacts (batch_job_id) WHERE length(status) > 3")
    [found] = checked(dsn)
    assert found.startswith("no index serves the cancel")
    execute("CREATE INDEX ON batch_contacts (batch_job_id) WHERE status <> 'completed'")
    assert checked(dsn) == []


def test_an_index_that_is_not_valid_does_not_serve(
    dsn: str, execute: Callable[[str], object]
) -> None:
    """As one is whose CREATE INDEX CONCURRENTLY failed."""
    execute("DROP INDEX batch_contacts_open")
    execute("INSERT INTO batch_jobs (id, status) VALUES ('j', 'running')")
    execute("INSERT INTO batch_contacts (batch_job_id) VALUES ('j'), ('j')")
    with contextlib.suppress(psycopg.errors.UniqueViolation):
        execute("CREATE UNIQUE INDEX CONCURRENTLY ON batch_contacts (batch_job_id)")
    assert "no index serves the cancel" in checked(dsn)[0]


def test_statuses_in_a_domain_over_an_enum_are_told_of(
    dsn: str, execute: Callable[[str], object]
) -> None:
    """And so is the way out."""
    labels = ", ".join(f"'{status.value}'" for status in ContactStatus)
    execute("DROP INDEX batch_contacts_open, batch_contacts_dialing")
    execute("CREATE INDEX ON batch_contacts (batch_job_id)")
    execute(f"CREATE TYPE contact AS ENUM ({labels})")
    execute("CREATE DOMAIN checked AS contact")
    execute("ALTER TABLE batch_contacts ALTER status DROP DEFAULT")
    execute("ALTER TABLE batch_contacts ALTER status TYPE checked USING status::checked")

    way_out = "ALTER TABLE batch_contacts ALTER status TYPE contact"
    assert checked(dsn) == [
        (
            "column status of batch_contacts is a domain over an enum, which Postgres does not "
            f"compare with a list of statuses: {way_out}"
        )
    ]

    execute(way_out)
    assert checked(dsn) == []


def test_statuses_that_are_enums_need_their_labels(
    dsn: str, execute: Callable[[str], object]
) -> None:
    """Those that our statements name, no others."""
    execute("DROP INDEX batch_contacts_open, batch_contacts_dialing")
    execute("CREATE INDEX ON batch_contacts (batch_job_id)")
    execute("CREATE TYPE job AS ENUM ('pending', 'running', 'completed', 'failed')")
    execute("CREATE TYPE contact AS ENUM ('pending', 'queued', 'no_answer', 'busy', 'completed')")
    execute("ALTER TABLE batch_contacts ALTER status DROP DEFAULT")
    execute("ALTER TABLE batch_jobs ALTER status TYPE job USING status::job")
    execute("ALTER TABLE batch_contacts ALTER status TYPE contact USING status::contact")

    assert checked(dsn) == [
        (
            "column status of batch_jobs is an enum without 'scheduled': "
            "ALTER TYPE job ADD VALUE 'scheduled'"
        ),
        (
            "column status of batch_jobs is an enum without 'cancelled': "
            "ALTER TYPE job ADD VALUE 'cancelled'"
        ),
        (
            "column status of batch_contacts is an enum without 'timeout': "
            "ALTER TYPE contact ADD VALUE 'timeout'"
        ),
        (
            "column status of batch_contacts is an enum without 'cancelled': "
            "ALTER TYPE contact ADD VALUE 'cancelled'"
        ),
    ]

    for statement in (
        "ALTER TYPE job ADD VALUE 'scheduled'",
        "ALTER TYPE job ADD VALUE 'cancelled'",
        "ALTER TYPE contact ADD VALUE 'timeout'",
        "ALTER TYPE contact ADD VALUE 'cancelled'",
        "DROP INDEX batch_contacts_batch_job_id_idx",
        "CREATE INDEX ON batch_contacts (batch_job_id) WHERE status <> 'completed'",
    ):
        execute(statement)
    assert checked(dsn) == []


def test_names_of_the_adopter_s_own_are_looked_for(
    postgres_schema: str, execute: Callable[[str], object]
) -> None:
    """However they are spelled; what is mapped to None is not missed."""
    [(namespace,)] = _rows(postgres_schema, "SELECT current_schema()")
    execute('CREATE TABLE "My %Jobs" ("Id""%s" int PRIMARY KEY, "State" text)')
    execute('CREATE TABLE "my.contacts" ("{job}" int, "%(status)s" text)')
    execute('CREATE INDEX ON "my.contacts" ("{job}") WHERE "%(status)s" <> \'100%\'')
    names: dict[str, Any] = {
        "jobs": (namespace, "My %Jobs"),
        "job_id": 'Id"%s',
        "job_status": "State",
        "job_organization_id": None,
        "job_deferred_id": None,
        "job_updated_at": None,
        "contacts": (namespace, "my.contacts"),
        "contact_job_id": "{job}",
        "contact_status": "%(status)s",
        "contact_updated_at": None,
        "cancellations": (namespace, "batch_cancellations"),
    }
    assert checked(postgres_schema, **names) == []

    execute('ALTER TABLE "My %Jobs" RENAME "State" TO state')

    assert checked(postgres_schema, **names) == [
        (
            f'column "State" is missing from {namespace}."My %Jobs": map its name with '
            "PostgresSchema(job_status=...)"
        )
    ]


def test_a_table_that_is_elsewhere_is_found(
    dsn: str, execute: Callable[[str], object], postgres_server: PostgresServer
) -> None:
    """The sentence says where; a schema that is not there is a table that is missing."""
    with postgres_server.schema() as other:
        [(namespace,)] = _rows(other, "SELECT current_schema()")
        execute("ALTER TABLE batch_cancellations RENAME TO batch_cancellations_old")
        execute("ALTER TABLE batch_contacts RENAME TO contacts_elsewhere")
        execute(f"ALTER TABLE contacts_elsewhere SET SCHEMA {namespace}")
        assert checked(dsn, contacts="contacts_elsewhere", cancellations=("nowhere", "ours")) == [
            (
                "table contacts_elsewhere is missing where it is looked for, but there is one in "
                f"{namespace}: map it with PostgresSchema(contacts=(schema, table)), or set the "
                "search_path"
            ),
            "table nowhere.ours is missing: run the SQL that `batch-cancel schema` prints",
        ]
        names = {"contacts": (namespace, "contacts_elsewhere")}
        execute("ALTER TABLE batch_cancellations_old RENAME TO batch_cancellations")
        assert checked(dsn, **names) == []


def _rows(dsn: str, statement: str) -> list[Any]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(statement.encode()).fetchall()


@pytest.fixture
def stranger(dsn: str, execute: Callable[[str], object]) -> Generator[str]:
    """Lend a connection string for a user that may do nothing yet."""
    [(namespace,)] = _rows(dsn, "SELECT current_schema()")
    name = f"user_{namespace}"
    execute(f"CREATE ROLE {name} LOGIN")
    yield make_conninfo(dsn, user=name)
    execute(f"DROP OWNED BY {name}")
    execute(f"DROP ROLE {name}")


def test_what_the_user_may_not_do_is_named(
    dsn: str, stranger: str, execute: Callable[[str], object]
) -> None:
    """Privilege by privilege, until nothing is missing; and then the cancel works."""
    user = conninfo_to_dict(stranger)["user"]
    [(namespace,)] = _rows(dsn, "SELECT current_schema()")
    # A schema that may not be used is not searched, so the tables are not there at all.
    assert len(checked(stranger)) == 3
    names: dict[str, Any] = {
        "jobs": (namespace, "batch_jobs"),
        "contacts": (namespace, "batch_contacts"),
        "cancellations": (namespace, "batch_cancellations"),
    }
    no_entry = (
        f"the user that connects may not use the schema {namespace}: "
        f"GRANT USAGE ON SCHEMA {namespace} to it"
    )
    assert checked(stranger, **names).count(no_entry) == 1

    execute(f"GRANT USAGE ON SCHEMA {namespace} TO {user}")

    assert checked(stranger) == [
        (
            "the user that connects may not SELECT id, organization_id, status, scheduled_job_id "
            "of batch_jobs: GRANT SELECT ON batch_jobs to it"
        ),
        (
            "the user that connects may not UPDATE status, updated_at of batch_jobs: "
            "GRANT UPDATE ON batch_jobs to it"
        ),
        (
            "the user that connects may not SELECT batch_job_id, status of batch_contacts: "
            "GRANT SELECT ON batch_contacts to it"
        ),
        (
            "the user that connects may not UPDATE status, updated_at of batch_contacts: "
            "GRANT UPDATE ON batch_contacts to it"
        ),
        (
            "the user that connects may not SELECT organization_id, batch_job_id, operation_id, "
            "previous_status, contacts_cancelled, actor, reason, cancelled_at, deferred_id, "
            "removal, is_announced, taken_at of batch_cancellations: "
            "GRANT SELECT ON batch_cancellations to it"
        ),
        (
            "the user that connects may not INSERT organization_id, batch_job_id, operation_id, "
            "previous_status, contacts_cancelled, actor, reason, cancelled_at, deferred_id, "
            "removal, is_announced, taken_at of batch_cancellations: "
            "GRANT INSERT ON batch_cancellations to it"
        ),
        (
            "the user that connects may not UPDATE operation_id, previous_status, "
            "contacts_cancelled, actor, reason, cancelled_at, deferred_id, removal, is_announced, "
            "taken_at of batch_cancellations: GRANT UPDATE ON batch_cancellations to it"
        ),
    ]

    # The least that will do, column by column.
    execute(
        f"GRANT SELECT (id, organization_id, status, scheduled_job_id, updated_at), "
        f"UPDATE (status, updated_at) ON batch_jobs TO {user}"
    )
    execute(
        f"GRANT SELECT (batch_job_id, status, updated_at), UPDATE (status, updated_at) "
        f"ON batch_contacts TO {user}"
    )
    execute(f"GRANT SELECT, INSERT, UPDATE ON batch_cancellations TO {user}")
    assert checked(stranger) == []
    _cancel_and_reconcile(stranger, execute)


def _cancel_and_reconcile(dsn: str, execute: Callable[[str], object]) -> None:
    from batch_cancel import cancel_job, inspect, reconcile
    from batch_cancel.adapters.memory import MemoryScheduler

    execute("INSERT INTO batch_jobs (id, status) VALUES ('j', 'scheduled')")
    execute("INSERT INTO batch_contacts (batch_job_id) VALUES ('j')")
    uow, scheduler = PostgresUnitOfWork(lambda: psycopg.connect(dsn)), MemoryScheduler()
    assert cancel_job("j", uow=uow, scheduler=scheduler).contacts_cancelled == 1
    assert reconcile(uow=uow, scheduler=scheduler) == []
    assert not inspect(uow=uow, scheduler=scheduler).is_found


def test_one_privilege_of_one_column_is_enough_to_be_missed(
    stranger: str, execute: Callable[[str], object]
) -> None:
    """The sentence names that column."""
    user = conninfo_to_dict(stranger)["user"]
    [(namespace,)] = _rows(
        stranger,
        "SELECT nspname FROM pg_namespace WHERE oid = 'pg_class'::"
        "regclass::oid OR nspname = substr(current_user, 6)",
    )
    execute(f"GRANT USAGE ON SCHEMA {namespace} TO {user}")
    for table in ("batch_jobs", "batch_contacts", "batch_cancellations"):
        execute(f"GRANT SELECT, INSERT, UPDATE ON {table} TO {user}")
    execute(f"REVOKE UPDATE ON batch_contacts FROM {user}")
    execute(f"GRANT UPDATE (status) ON batch_contacts TO {user}")
    assert checked(stranger) == [
        (
            "the user that connects may not UPDATE updated_at of batch_contacts: "
            "GRANT UPDATE ON batch_contacts to it"
        )
    ]


def test_a_server_that_takes_no_writes_is_named(dsn: str) -> None:
    """As a user's default, and on a replica."""
    options = f"{conninfo_to_dict(dsn)['options']} -cdefault_transaction_read_only=on"
    assert checked(make_conninfo(dsn, options=options)) == [
        "Postgres is read-only here: connect to the primary, as a user that may write"
    ]


def test_a_replica_is_named(postgres_server: PostgresServer, dsn: str) -> None:
    """It has all the tables, and takes no writes."""
    with postgres_server.replica() as replica:
        replica.wait_for(postgres_server)
        options = str(conninfo_to_dict(dsn)["options"])
        assert checked(make_conninfo(replica.dsn(), options=options)) == [
            "Postgres is read-only here: connect to the primary, as a user that may write"
        ]


def test_a_postgres_that_is_too_old_is_named(postgres_server: PostgresServer, dsn: str) -> None:
    """The version is the server's own, whatever the connection was told."""
    version = str(_rows(dsn, "SELECT current_setting('server_version_num')")[0][0])
    port = int(str(conninfo_to_dict(dsn)["port"]))
    with replacing(port, version.encode(), b"14" + version[2:].encode()) as line:
        sentences = checked(make_conninfo(dsn, port=line))
    assert sentences == ["Postgres is version 14: 15 or later is needed"]


def test_a_postgres_out_of_reach_is_a_sentence() -> None:
    """And no exception; nothing of the address is told."""
    dsn = make_conninfo(host="127.0.0.1", port=free_port(), user="ann", password="hunter2")
    [sentence] = checked(dsn)
    assert sentence.startswith("Postgres can't be reached: check that it runs")
    assert "hunter2" not in sentence


def test_a_view_is_not_asked_for_indexes(dsn: str, execute: Callable[[str], object]) -> None:
    """They are on the tables that it shows. That its ids are unique is the adopter's word."""
    execute("ALTER TABLE batch_jobs RENAME TO jobs")
    execute("CREATE VIEW batch_jobs AS SELECT * FROM jobs")
    assert checked(dsn) == [
        (
            "batch_jobs is a view, in which no index shows that 'id' is unique: map the table "
            "behind it, or, if it is unique, declare that with keys_are_unique=True"
        )
    ]
    assert checked(dsn, keys_are_unique=True) == []


def test_a_table_in_partitions_is_as_good_as_any(
    dsn: str, execute: Callable[[str], object]
) -> None:
    """Its index is on all of them."""
    execute("DROP TABLE batch_contacts")
    execute(
        "CREATE TABLE batch_contacts (batch_job_id text, status text, updated_at timestamptz) "
        "PARTITION BY HASH (batch_job_id)"
    )
    execute(
        "CREATE TABLE only_one PARTITION OF batch_contacts FOR VALUES WITH (modulus 1, remainder "
        "0)"
    )
    assert "no index serves the cancel" in checked(dsn)[0]
    execute("CREATE INDEX ON batch_contacts (batch_job_id)")
    assert checked(dsn) == []


@contextlib.contextmanager
def replacing(port: int, old: bytes, new: bytes) -> Generator[int]:
    """Lend a port that leads to a server's, with some bytes of what it says replaced."""
    assert len(old) == len(new)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def pipe(source: socket.socket, target: socket.socket, *, change: bool) -> None:
            with contextlib.suppress(OSError):
                while piece := source.recv(65_536):
                    target.sendall(piece.replace(old, new) if change else piece)
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_WR)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    server = socket.create_connection(("127.0.0.1", port))
                    ways = [
                        threading.Thread(target=pipe, args=(client, server), kwargs={"change": 0}),
                        threading.Thread(target=pipe, args=(server, client), kwargs={"change": 1}),
                    ]
                    for way in ways:
                        way.start()
                    for way in ways:
                        way.join()
                    client.close()
                    server.close()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


# Redis -------------------------------------------------------------------------------------------


REDIS: dict[str, tuple[Any, Any]] = {
    "native": (RedisScheduler, AsyncRedisScheduler),
    "gate": (StartGate, AsyncStartGate),
}
"""What keeps its own keys in Redis, blocking and asyncio."""


def redis_checked(url: str, which: str = "native", **options: Any) -> list[str]:
    """Ask both halves, which say the same."""
    maker, maker_async = REDIS[which]

    async def ask() -> list[str]:
        async with redis.asyncio.Redis.from_url(url) as client:
            return cast("list[str]", await maker_async(client, **options).check())

    with redis.Redis.from_url(url) as client:
        found: list[str] = maker(client, **options).check()
    assert asyncio.run(ask()) == found
    return found


def test_a_redis_as_it_should_be_is_fit(redis_server: RedisServer, redis_prefix: str) -> None:
    """And looking at it changes nothing: no key is made."""
    assert redis_checked(redis_server.url(), namespace=redis_prefix, shards=3) == []
    assert list(redis_server.client.scan_iter(f"*{redis_prefix}*")) == []


def test_what_waits_is_left_alone(redis_server: RedisServer, redis_prefix: str) -> None:
    """Every key of ours is as it was before."""
    client = redis_server.client
    keys = {f"{{{redis_prefix}:0}}:{key}": key for key in ("due", "job")}
    client.zadd(f"{{{redis_prefix}:0}}:due", {"a": 1})
    client.hset(f"{{{redis_prefix}:0}}:job", "a", "D")
    before = [client.dump(key) for key in keys]
    writes = client.info("persistence")["rdb_changes_since_last_save"]
    assert redis_checked(redis_server.url(), namespace=redis_prefix) == []
    assert client.info("persistence")["rdb_changes_since_last_save"] == writes
    assert [client.dump(key) for key in keys] == before
    client.delete(*keys)


@pytest.mark.parametrize("which", REDIS)
def test_an_eviction_policy_is_named(redis_to_break: RedisServer, which: str) -> None:
    """Whatever it is, unless it is none."""
    client = redis_to_break.client
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        assert redis_checked(redis_to_break.url(), which) == [
            (
                "Redis may evict deferred starts (maxmemory-policy allkeys-lru): "
                "CONFIG SET maxmemory-policy noeviction"
            )
        ]
    finally:
        client.config_set("maxmemory-policy", "noeviction")
    assert redis_checked(redis_to_break.url(), which) == []


@pytest.mark.parametrize("which", REDIS)
def test_a_full_redis_is_named(redis_to_break: RedisServer, which: str) -> None:
    """A start could not be scheduled."""
    client = redis_to_break.client
    client.config_set("maxmemory", "1")
    try:
        assert redis_checked(redis_to_break.url(), which) == [
            "Redis has no memory left, so that nothing can be scheduled: raise its maxmemory"
        ]
    finally:
        client.config_set("maxmemory", "0")


def test_keys_of_something_else_are_named(redis_server: RedisServer, redis_prefix: str) -> None:
    """Once, however many shards have them."""
    keys = [f"{{{redis_prefix}:{shard}}}:due" for shard in range(2)]
    for key in keys:
        redis_server.client.set(key, "mine")
    assert redis_checked(redis_server.url(), namespace=redis_prefix, shards=2) == [
        "our keys are taken by something else: choose another namespace"
    ]
    redis_server.client.delete(*keys)


@pytest.mark.parametrize(
    ("rules", "sentences"),
    [
        (["+@all", "~*"], []),
        (
            ["+@all", "~other*"],
            ["Redis refused (NoPermissionError)"],
        ),
        (
            ["+@all", "-eval", "-evalsha", "~*"],
            ["Redis refused (NoPermissionError)"],
        ),
        (
            ["+@all", "-info", "~*"],
            [
                (
                    "Redis does not tell its version and its maxmemory-policy to the user that "
                    "connects: grant it +info, or see to it that they are 7 or later and "
                    "noeviction"
                )
            ],
        ),
        (
            ["+@all", "-zadd", "-set", "~*"],
            ["the user that connects may not do what the scripts do: grant it +@all on our keys"],
        ),
    ],
)
@pytest.mark.parametrize("which", REDIS)
def test_what_a_redis_user_may_not_do_is_named(
    redis_server: RedisServer,
    redis_prefix: str,
    rules: list[str],
    sentences: list[str],
    which: str,
) -> None:
    """Its password is not shown."""
    user = redis_prefix.removesuffix(":")
    redis_server.command("ACL", "SETUSER", user, "on", ">hunter2", *rules)
    try:
        url = f"redis://{user}:hunter2@127.0.0.1:{redis_server.port}/0"
        assert redis_checked(url, which, namespace=redis_prefix) == sentences
    finally:
        redis_server.command("ACL", "DELUSER", user)


@pytest.mark.parametrize("which", REDIS)
def test_a_replica_of_redis_is_named(redis_server: RedisServer, which: str) -> None:
    """It would refuse every cancel."""
    from tests.servers import RedisServer

    with RedisServer.own("--replicaof", "127.0.0.1", str(redis_server.port)) as replica:
        assert redis_checked(replica.url(), which) == [
            "Redis is read-only here: connect to the master"
        ]


@pytest.mark.parametrize("which", REDIS)
def test_too_few_replicas_are_named(redis_to_break: RedisServer, which: str) -> None:
    """Every cancel would end without an answer."""
    options: Any = {"budget": timedelta(seconds=1), "min_replicas": 2}
    assert redis_checked(redis_to_break.url(), which, **options) == [
        (
            "min_replicas=2 cannot be kept, so nothing is ever answered: Redis has too few "
            "replicas that keep it (0 of 2)"
        )
    ]


@pytest.mark.parametrize("which", REDIS)
def test_a_user_that_may_not_wait_for_replicas_is_named(
    redis_server: RedisServer, redis_prefix: str, which: str
) -> None:
    """The scripts may run, but a cancel would be refused."""
    user = redis_prefix.removesuffix(":")
    redis_server.command("ACL", "SETUSER", user, "on", ">hunter2", "+@all", "-wait", "~*")
    try:
        url = f"redis://{user}:hunter2@127.0.0.1:{redis_server.port}/0"
        assert redis_checked(url, which) == []
        assert redis_checked(url, which, min_replicas=1) == [
            (
                "min_replicas=1 cannot be kept, so nothing is ever answered: Redis refused "
                "(NoPermissionError)"
            )
        ]
    finally:
        redis_server.command("ACL", "DELUSER", user)


@pytest.mark.parametrize("which", REDIS)
def test_a_redis_that_is_too_old_is_named(
    redis_server: RedisServer, redis_prefix: str, which: str
) -> None:
    """Valkey counts as the Redis that it says it is."""
    version = str(redis_server.client.info("server")["redis_version"])
    old, new = f"redis_version:{version}".encode(), f"redis_version:6{version[1:]}".encode()
    with replacing(redis_server.port, old, new) as port:
        assert redis_checked(f"redis://127.0.0.1:{port}", which, namespace=redis_prefix) == [
            f"Redis is version 6{version[1:]}: 7 or later, or Valkey, is needed"
        ]


@pytest.mark.parametrize("which", REDIS)
def test_a_redis_out_of_reach_is_a_sentence(which: str) -> None:
    """And no exception; once, however much is asked."""
    url = f"redis://ann:hunter2@127.0.0.1:{free_port()}"
    [sentence] = redis_checked(url, which, min_replicas=1)
    assert sentence == "Redis gave no answer within 250 ms (ConnectionError)"


@pytest.mark.parametrize("which", REDIS)
def test_a_cluster_is_checked_node_by_node(redis_cluster: RedisCluster, which: str) -> None:
    """The native store's shards, and keys of the gate on each node."""
    maker, maker_async = REDIS[which]
    options: Any = {"namespace": "check"} | ({"shards": 16} if which == "native" else {})

    async def ask() -> list[str]:
        async with redis.asyncio.RedisCluster.from_url(redis_cluster.url) as client:
            return cast("list[str]", await maker_async(client, **options).check())

    def checked() -> list[str]:
        with redis.RedisCluster.from_url(redis_cluster.url) as client:
            found: list[str] = maker(client, **options).check()
        assert asyncio.run(ask()) == found
        return found

    assert checked() == []
    last = redis_cluster.masters[-1].client
    last.config_set("maxmemory-policy", "volatile-ttl")
    try:
        assert checked() == [
            (
                "Redis may evict deferred starts (maxmemory-policy volatile-ttl): "
                "CONFIG SET maxmemory-policy noeviction"
            )
        ]
    finally:
        last.config_set("maxmemory-policy", "noeviction")


# SQLite ------------------------------------------------------------------------------------------


def sqlite_checked(path: Path, *, create: bool = False) -> list[str]:
    """Ask store and scheduler, which say the same, and make nothing."""
    before = {it.name: it.read_bytes() for it in path.parent.iterdir() if it.is_file()}
    found = SqliteStore(path, create=create).check()
    assert SqliteScheduler(path, create=create).check() == found
    after = {it.name: it.read_bytes() for it in path.parent.iterdir() if it.is_file()}
    assert {name: after[name] for name in before} == before
    assert not {name for name in after.keys() - before.keys() if not name.endswith(("wal", "shm"))}
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Lend a file of ours."""
    SqliteStore(tmp_path / "jobs.db").add_job("job")
    return tmp_path / "jobs.db"


def test_a_file_of_ours_is_fit(file: Path) -> None:
    """Whether or not it could be made."""
    assert sqlite_checked(file) == []
    assert sqlite_checked(file, create=True) == []


def test_a_file_that_is_not_there_yet_is_fit_if_it_may_be_made(tmp_path: Path) -> None:
    """Else the sentence says why not; nothing is made by asking."""
    path = tmp_path / "jobs.db"
    assert sqlite_checked(path, create=True) == []
    assert sqlite_checked(path) == [
        f"the SQLite file {str(path)!r} does not exist, or its folder may not be written"
    ]
    path.touch()
    assert sqlite_checked(path, create=True) == []


def test_a_file_whose_folder_is_not_there_cannot_be_made(tmp_path: Path) -> None:
    """Nobody makes folders unasked."""
    path = tmp_path / "missing" / "jobs.db"
    assert SqliteStore(path).check() == [
        f"the SQLite file {str(path)!r} does not exist, nor may it be made: check its folder"
    ]


def test_a_file_that_is_something_else_is_named(tmp_path: Path) -> None:
    """A folder, a text, another program's database."""
    path = tmp_path / "jobs.db"
    path.write_bytes(b"not a database\n" * 100)
    assert sqlite_checked(path) == [f"the SQLite file {str(path)!r} is not a SQLite database"]
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE songs (id)")
    found = sqlite_checked(path)
    assert len(found) == 4
    assert f"the SQLite file {str(path)!r} has no table batch_jobs: is it the right file?" in found
    assert sqlite_checked(path, create=True) == []
    path.unlink()
    path.mkdir()
    assert sqlite_checked(path) == [f"the SQLite file {str(path)!r} is a folder, not a file"]


def test_a_file_of_another_version_is_named(file: Path) -> None:
    """Table by table, column by column."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("ALTER TABLE batch_cancellations RENAME is_announced TO announced")
        connection.execute("DROP TABLE batch_deferred_starts")
    sentences = [
        (
            f"the SQLite file {str(file)!r} has no column is_announced in batch_cancellations: "
            "another version of batch_cancel made it"
        ),
        f"the SQLite file {str(file)!r} has no table batch_deferred_starts: is it the right file?",
    ]
    assert sqlite_checked(file) == sentences


def test_a_file_that_may_not_be_written_is_named(file: Path) -> None:
    """Nor its folder, where SQLite keeps the log."""
    sentence = (
        f"the SQLite file {str(file)!r} is read-only: check its permissions, and those of its "
        "folder"
    )
    file.parent.chmod(0o755)
    with as_anybody(file.parent):
        file.chmod(0o444)
        assert sqlite_checked(file) == [sentence]
        file.chmod(0o644)
        assert sqlite_checked(file) == []
        file.parent.chmod(0o555)
        assert sqlite_checked(file) == [sentence]
        file.parent.chmod(0o755)


@contextlib.contextmanager
def as_anybody(folder: Path) -> Generator[None]:
    """Act as a user for whom permissions count, who owns the folder and what is in it."""
    account = unprivileged()
    if account is None:
        yield
        return
    above = [it for it in folder.parents if not it.stat().st_mode & 0o001]
    for path in (folder, *folder.iterdir()):
        os.chown(path, account.pw_uid, account.pw_gid)
    modes = [it.stat().st_mode for it in above]
    for it in above:
        it.chmod(0o711)
    os.seteuid(account.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        for it, mode in zip(above, modes, strict=True):
            it.chmod(mode)
