"""Why a connection is refused, or a cancel keeps failing: the reason reaches the operator."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from batch_cancel import JobKey
from batch_cancel.adapters.postgres import PostgresUnitOfWork
from batch_cancel.domain.errors import Fault
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS
from batch_cancel.ports import StoreFailed
from tests.diagnoses import execute, with_reference_tables
from tests.integration.own_tables import HALVES, Half
from tests.integration.test_postgres_faults import PASSWORD, failure_of
from tests.processes import wait_until
from tests.servers import PostgresServer

NOT_ADMITTED: dict[str, tuple[dict[str, str], tuple[str, ...], str, bool]] = {
    "no such database": (
        {"dbname": 'the "missing" one'},
        (),
        "Postgres has no such database: check its name, or create it",
        False,
    ),
    "no such user": (
        {"user": "someone"},
        (),
        "Postgres refused this user: check that the role exists and may log in",
        False,
    ),
    "a user that may not log in": (
        {"user": "someone"},
        ("CREATE ROLE someone NOLOGIN",),
        "Postgres refused this user: check that the role exists and may log in",
        False,
    ),
    "a user with too many connections": (
        {"user": "someone"},
        ("CREATE ROLE someone LOGIN CONNECTION LIMIT 0",),
        "Postgres has no connection left",
        True,
    ),
}


@HALVES
@pytest.mark.parametrize("name", NOT_ADMITTED)
def test_the_reason_why_a_connection_is_refused_is_reported(
    postgres_to_break: PostgresServer, half: Half, name: str
) -> None:
    """And nothing of the connection string. Who must repair something need not try again."""
    wrong, statements, reason, is_retryable = NOT_ADMITTED[name]
    execute(postgres_to_break.dsn(), *statements)
    try:
        dsn = make_conninfo(postgres_to_break.dsn(), password=PASSWORD, **wrong)
        error = failure_of(half, half.uow(dsn))
        assert reason in str(error)
        assert (error.outcome, error.retryable) == ("unchanged", is_retryable)
        for secret in (*wrong.values(), PASSWORD, "127.0.0.1", "FATAL"):
            assert secret not in str(error)
    finally:
        execute(postgres_to_break.dsn(), "DROP ROLE IF EXISTS someone")


BEFORE = 'connection failed: connection to server at "10.0.0.1", port 5432 failed: '


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("fe_sendauth: no password supplied", "refused the password"),
        ('FATAL:  password authentication failed for user "ann"', "refused the password"),
        ('FATAL:  Peer authentication failed for user "ann"', "refused this user"),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.2"', "refused this user"),
        ("FATAL:  sorry, too many clients already", "has no connection left"),
        (
            (
                "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER "
                "attribute"
            ),
            "has no connection left",
        ),
        ("FATAL:  the database system is starting up", "is starting up or shutting down"),
        ("FATAL:  the database system is shutting down", "is starting up or shutting down"),
        ("FATAL:  the database system is not yet accepting connections", "is starting up"),
        # A name may be worded like a reason, and a server may speak another language.
        (
            'FATAL:  role "x" does not exist\nFATAL:  sorry, too many clients already',
            "pg_hba.conf allows",
        ),
        ('FATAL:  Datenbank "ann" existiert nicht', "can't be reached"),
        ('FATAL:  database "ann" is not currently accepting connections', "can't be reached"),
        ("Connection refused", "can't be reached"),
    ],
)
def test_a_reason_is_known_by_its_words(words: str, reason: str) -> None:
    """By the first line alone, because psycopg passes no SQLSTATE on."""

    def refuse() -> psycopg.Connection[Any]:
        raise psycopg.OperationalError(BEFORE + words)

    [sentence] = PostgresUnitOfWork(refuse).check()
    assert reason in sentence
    assert not any(it in sentence for it in ("10.0.0", "ann", "FATAL"))


def test_a_row_that_was_moved_names_the_partitions(postgres_schema: str) -> None:
    """By a claim, while the cancel waited for the row."""
    dsn = with_reference_tables(
        postgres_schema,
        "DROP TABLE batch_contacts",
        "CREATE TABLE batch_contacts (id bigint, batch_job_id text, status text, "
        "updated_at timestamptz, PRIMARY KEY (batch_job_id, id, status)) "
        "PARTITION BY LIST (status)",
        "CREATE TABLE waiting PARTITION OF batch_contacts FOR VALUES IN ('pending')",
        "CREATE TABLE others PARTITION OF batch_contacts DEFAULT",
        "INSERT INTO batch_jobs (id, status) VALUES ('job', 'running')",
        "INSERT INTO batch_contacts VALUES (1, 'job', 'pending')",
    )
    uow = PostgresUnitOfWork(lambda: psycopg.connect(dsn))

    def cancel() -> StoreFailed:
        with pytest.raises(StoreFailed) as failure, uow.begin() as repositories:
            repositories.contacts.cancel(JobKey("job"), CANCELLABLE_CONTACTS)
        return failure.value

    with psycopg.connect(dsn) as worker, ThreadPoolExecutor() as pool:
        worker.execute("UPDATE batch_contacts SET status = 'dialing'")
        cancelling = pool.submit(cancel)
        wait_until(lambda: is_waited_for(worker, dsn), "the cancel waits")
        worker.commit()
        error = cancelling.result()
    assert error.fault is Fault.CONFLICT
    assert "partition them by another column" in error.reason


def is_waited_for(connection: psycopg.Connection[Any], dsn: str) -> bool:
    """Check whether another connection waits for a lock of this one."""
    with psycopg.connect(dsn) as another:
        found = another.execute(
            "SELECT 1 FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))",
            [connection.info.backend_pid],
        )
        return found.fetchone() is not None
