"""
Postgres refuses: conflicts, deadlocks, timeouts, errors of a statement or of its COMMIT.

Each test names the row of the fault table (test_fault_table_postgres.py) that it is about.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from batch_cancel.domain.errors import Fault
from tests.faults.cues import Step
from tests.faults.outages import FULL
from tests.faults.postgres_outages import SHORT, options
from tests.faults.theatre import HALVES, JOB, UNCHANGED, Theatre, opened
from tests.processes import wait_until
from tests.servers import PostgresServer

CONFLICTS = (
    [("40001", False), ("40P01", True), ("40001", True), ("40P01", False)]
    if FULL
    else [("40001", True), ("40P01", False)]
)
"""By SQLSTATE, and whether at COMMIT or in a statement."""


def _raise_in(theatre: Theatre, state: str, times: int, *, at_commit: bool) -> None:
    """Let the marking of the job, or its COMMIT, fail with this SQLSTATE so many times."""
    when = "CONSTRAINT TRIGGER fault AFTER" if at_commit else "TRIGGER fault BEFORE"
    deferred = "DEFERRABLE INITIALLY DEFERRED" if at_commit else ""
    theatre.execute(
        "CREATE SEQUENCE attempts;"
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF nextval('attempts') <= {times} THEN "
        f"RAISE EXCEPTION 'secret' USING ERRCODE = '{state}'; END IF; RETURN NEW; END $$;"
        f"CREATE {when} INSERT ON batch_cancellations {deferred} "
        "FOR EACH ROW EXECUTE FUNCTION fail()"
    )


@pytest.mark.parametrize(("state", "at_commit"), CONFLICTS)
def test_serialization_40001_and_deadlock_40p01_are_retried_three_times(
    theatre: Theatre,
    state: str,
    *,
    at_commit: bool,
) -> None:
    """Row "serialization 40001, deadlock 40P01": the third retry succeeds."""
    _raise_in(theatre, state, 3, at_commit=at_commit)
    theatre.check(theatre.cancel())


@pytest.mark.parametrize(("state", "at_commit"), CONFLICTS)
def test_serialization_40001_and_deadlock_40p01_fail_after_three_retries(
    theatre: Theatre,
    state: str,
    *,
    at_commit: bool,
) -> None:
    """Row "serialization 40001, deadlock 40P01": then nothing was changed, and it is retryable."""
    _raise_in(theatre, state, 4, at_commit=at_commit)
    failure = theatre.fail()
    assert (failure.outcome, failure.fault) == ("unchanged", Fault.CONFLICT)
    assert theatre.connections == 4
    assert theatre.state() == UNCHANGED
    theatre.finish()


def test_a_real_deadlock_is_retried(theatre: Theatre) -> None:
    """Row "deadlock 40P01": a worker locks contact, then job; we lock job, then contact."""
    quick = make_conninfo(theatre.dsn, options=options(theatre, "deadlock_timeout=10ms"))
    patient = make_conninfo(theatre.dsn, options=options(theatre, "deadlock_timeout=20s"))
    theatre.dsn = quick
    with psycopg.connect(patient) as worker:
        worker.execute("UPDATE batch_contacts SET status = 'dialing' WHERE status = 'pending'")

        def lock_job() -> None:
            worker.execute("SELECT FROM batch_jobs FOR UPDATE")
            worker.rollback()

        theatre.at(Step.LOCKED, lambda: theatre.meanwhile(lock_job))
        result = theatre.cancel()
    assert theatre.connections == 3  # The attempt, its retry, the note of the removal.
    theatre.check(result)


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_a_default_isolation_level_strands_no_contact(theatre: Theatre, isolation: str) -> None:
    """
    Row "serialization 40001", I4: a contact that came while we waited for the lock is cancelled.

    In the isolation that these connections default to, it would be missing from our snapshot.
    """
    escaped = isolation.replace(" ", r"\ ")
    plain = theatre.dsn
    theatre.dsn = make_conninfo(
        plain, options=options(theatre, f"default_transaction_isolation={escaped}")
    )
    with psycopg.connect(plain) as worker:
        worker.execute("SELECT FROM batch_jobs FOR NO KEY UPDATE")

        def append() -> None:
            worker.execute("INSERT INTO batch_contacts (batch_job_id) VALUES (%s)", [JOB])
            worker.commit()

        theatre.at(Step.BEGIN, lambda: theatre.once_blocked("transactionid", append))
        result = theatre.cancel()
    assert result.contacts_cancelled == 6
    assert theatre.state()[1][-1] == "cancelled"
    assert theatre.connections == 2


# Budgets -----------------------------------------------------------------------------------------


def test_lock_timeout_55p03_is_a_failure_that_changed_nothing(theatre: Theatre) -> None:
    """Row "lock timeout 55P03": somebody holds the job and does not let go."""
    theatre.options = {"lock_timeout": SHORT}
    with psycopg.connect(theatre.dsn) as other:
        other.execute("SELECT FROM batch_jobs FOR UPDATE")
        failure = theatre.fail()
    assert (failure.outcome, failure.fault) == ("unchanged", Fault.LATE)
    assert "lock timeout" in str(failure)
    assert theatre.connections == 1
    assert theatre.state() == UNCHANGED
    theatre.finish()


def test_statement_timeout_57014_is_a_failure_that_changed_nothing(theatre: Theatre) -> None:
    """Row "statement timeout 57014": a contact is held, and the statement takes too long."""
    theatre.options = {"statement_timeout": SHORT}
    with psycopg.connect(theatre.dsn) as other:
        other.execute("SELECT FROM batch_contacts FOR UPDATE")
        failure = theatre.fail()
    assert (failure.outcome, failure.fault) == ("unchanged", Fault.LATE)
    assert theatre.connections == 1
    assert theatre.state() == UNCHANGED
    theatre.options = {}
    theatre.finish()


@pytest.mark.parametrize("blocked_at", ["a statement", "COMMIT"])
def test_a_query_stopped_by_an_administrator_57014_changed_nothing(
    theatre: Theatre, blocked_at: str
) -> None:
    """Row "statement timeout 57014", by pg_cancel_backend: at COMMIT it is undone as well."""
    with psycopg.connect(theatre.dsn) as other:
        if blocked_at == "COMMIT":
            theatre.at(Step.COMMIT_UNDONE, theatre.stop_query)
        else:
            other.execute("SELECT FROM batch_contacts FOR UPDATE")
            stop = theatre.stop_query
            theatre.at(Step.LOCKED, lambda: theatre.once_blocked("transactionid", stop))
        failure = theatre.fail()
    assert (failure.outcome, failure.fault) == ("unchanged", Fault.LATE)
    assert theatre.state() == UNCHANGED
    theatre.finish()


@pytest.mark.parametrize("step", [Step.LOCKED, Step.MARKED])
def test_idle_in_transaction_25p03_is_a_failure_that_changed_nothing(
    theatre: Theatre, step: Step
) -> None:
    """Row "idle-in-transaction 25P03": we were held up, and Postgres gave up on us."""
    theatre.options = {"statement_timeout": SHORT, "lock_timeout": timedelta(seconds=20)}
    theatre.at(step, lambda: time.sleep(3 * SHORT.total_seconds()))
    failure = theatre.fail()
    assert (failure.outcome, failure.fault) == ("unchanged", Fault.LATE)
    assert "idle" in str(failure)
    assert theatre.state() == UNCHANGED
    theatre.options = {}
    theatre.finish()


# SQLSTATEs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_commit", [False, True], ids=["in a statement", "at COMMIT"])
@pytest.mark.parametrize(
    ("state", "fault"),
    [
        ("25P04", Fault.LATE),
        ("53200", Fault.BUSY),
        ("23505", Fault.REFUSED),
        ("42501", Fault.REFUSED),
    ],
)
@pytest.mark.parametrize("half", HALVES if FULL else ["blocking"])
def test_an_error_that_postgres_reports_and_survives_has_changed_nothing(
    postgres_server: PostgresServer,
    half: str,
    state: str,
    fault: Fault,
    *,
    at_commit: bool,
) -> None:
    """Whatever its SQLSTATE, and at COMMIT as anywhere; it is tried once."""
    with opened(postgres_server, half) as theatre:
        _raise_in(theatre, state, 1, at_commit=at_commit)
        failure = theatre.fail()
        assert (failure.outcome, failure.fault) == ("unchanged", fault)
        assert failure.retryable == (fault is not Fault.REFUSED)
        assert theatre.connections == 1
        assert theatre.state() == UNCHANGED
        if state != "42501":  # There the message names what permission is missing.
            assert "secret" not in str(failure)
        theatre.finish()


# Read-only ---------------------------------------------------------------------------------------


def test_read_only_25006_is_a_failure_that_changed_nothing(burning: Theatre) -> None:
    """Row "read-only 25006": the server takes no writes for a while."""
    server = burning.server
    server.query("ALTER SYSTEM SET default_transaction_read_only = on")
    try:
        server.query("SELECT pg_reload_conf()")
        wait_until(lambda: _is_read_only(burning), "the server is read-only")
        failure = burning.fail()
    finally:
        server.query("SET default_transaction_read_only = off")
        server.query("ALTER SYSTEM RESET default_transaction_read_only")
        server.query("SELECT pg_reload_conf()")
    assert (failure.outcome, failure.fault) == ("unchanged", Fault.BUSY)
    assert "connect to the primary" in str(failure)
    wait_until(lambda: not _is_read_only(burning), "the server takes writes")
    assert burning.state() == UNCHANGED
    burning.finish()


def _is_read_only(burning: Theatre) -> bool:
    with psycopg.connect(burning.dsn) as connection:
        row = connection.execute("SHOW default_transaction_read_only").fetchone()
    return row == ("on",)


# Connecting --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "fault", "told"),
    [
        ({"port": 1}, Fault.BUSY, "can't be reached: check that it runs and has free connections"),
        ({"dbname": "nowhere"}, Fault.REFUSED, "database"),
        ({"user": "nobody_special"}, Fault.REFUSED, "user"),
        ({"user": "crowd"}, Fault.BUSY, "Postgres has no connection left"),
        ({"user": "barred"}, Fault.REFUSED, "user"),
    ],
    ids=["connection refused", "no such database", "no such user", "53300", "no permission"],
)
def test_connection_refused_is_a_failure_that_helps_and_shows_no_secret(
    theatre: Theatre,
    wrong: dict[str, Any],
    fault: Fault,
    told: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Row "connection refused", and whatever else keeps us from connecting."""
    query = theatre.server.query
    query("CREATE ROLE crowd LOGIN CONNECTION LIMIT 0")
    query("CREATE ROLE barred NOLOGIN")
    try:
        good, theatre.dsn = theatre.dsn, make_conninfo(theatre.dsn, password="hunter2", **wrong)
        failure = theatre.fail()
    finally:
        query("DROP ROLE crowd, barred")
    assert (failure.outcome, failure.fault) == ("unchanged", fault)
    assert theatre.connections == 1
    said = str(failure)
    assert told in said
    heard = f"{said} {failure.detail} {caplog.text}"
    assert not [
        secret
        for secret in ("hunter2", "127.0.0.1", *map(str, wrong.values()))
        if f" {secret}" in heard or f'"{secret}"' in heard
    ]
    theatre.dsn = good
    assert theatre.state() == UNCHANGED
    theatre.finish()


def test_settings_that_psycopg_can_not_read_are_not_worth_a_retry(theatre: Theatre) -> None:
    """Somebody must mend them; they are not shown, they may hold the password."""
    good, theatre.dsn = theatre.dsn, "host=localhost passwort=hunter2"
    failure = theatre.fail()
    assert (failure.outcome, failure.fault) == ("unchanged", Fault.REFUSED)
    assert "can't read the connection settings" in str(failure)
    assert "hunter2" not in str(failure)
    theatre.dsn = good
    theatre.finish()
