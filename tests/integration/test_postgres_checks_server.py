"""
`check()` on Postgres: what the user may not do, and a server that is of no use.

A server that is too old is a real one behind a line that changes its version's first digit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from batch_cancel.adapters.postgres import (
    PostgresUnitOfWork,
)
from tests.integration.checks import checked, replacing, rows
from tests.pairs import create_reference_tables
from tests.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tests.servers import PostgresServer


@pytest.fixture
def dsn(postgres_schema: str) -> str:
    """Yield a schema with the reference tables and ours."""
    with psycopg.connect(postgres_schema, autocommit=True) as connection:
        create_reference_tables(connection)
    return postgres_schema


@pytest.fixture
def execute(dsn: str) -> Generator[Callable[[str], object]]:
    """Yield a way to break it."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield lambda statement: connection.execute(statement.encode())


@pytest.fixture
def stranger(dsn: str, execute: Callable[[str], object]) -> Generator[str]:
    """Yield a connection string for a user that may do nothing yet."""
    [(namespace,)] = rows(dsn, "SELECT current_schema()")
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
    [(namespace,)] = rows(dsn, "SELECT current_schema()")
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
            "removal, is_announced, taken_at, is_swept of batch_cancellations: "
            "GRANT SELECT ON batch_cancellations to it"
        ),
        (
            "the user that connects may not INSERT organization_id, batch_job_id, operation_id, "
            "previous_status, contacts_cancelled, actor, reason, cancelled_at, deferred_id, "
            "removal, is_announced, taken_at, is_swept of batch_cancellations: "
            "GRANT INSERT ON batch_cancellations to it"
        ),
        (
            "the user that connects may not UPDATE operation_id, previous_status, "
            "contacts_cancelled, actor, reason, cancelled_at, deferred_id, removal, is_announced, "
            "taken_at, is_swept of batch_cancellations: GRANT UPDATE ON batch_cancellations to it"
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
    [(namespace,)] = rows(
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
    version = str(rows(dsn, "SELECT current_setting('server_version_num')")[0][0])
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
