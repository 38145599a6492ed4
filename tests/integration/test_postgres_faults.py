"""What goes wrong with Postgres, and what the caller is told: ask again, or repair what."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import attrs
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg_pool import ConnectionPool

from batch_cancel import CancelFailed, JobKey, cancel_job
from batch_cancel.adapters.postgres import PostgresSchema, PostgresUnitOfWork
from batch_cancel.ports import StoreFailed
from batch_cancel.presenter import present_error
from tests.integration.own_tables import (
    HALVES,
    Blocking,
    Half,
    Recorder,
    Tables,
    quoted,
    tables,
    with_options,
)
from tests.processes import free_port, wait_until
from tests.servers import PostgresServer

PASSWORD = "hunter2"

LABELLED = PostgresSchema(contact_id="label")


@pytest.fixture
def made(postgres_server: PostgresServer) -> Iterator[Tables]:
    """Yield tables with one scheduled job of two contacts."""
    with postgres_server.schema() as dsn, tables(dsn, LABELLED) as made:
        made.add_job("job", "scheduled", {"ann": "pending", "bob": "completed"}, None, "start")
        yield made


def is_cancelled(made: Tables) -> bool:
    """Check whether the job is cancelled; it is so fully, or not at all."""
    state = (made.status("job"), made.contacts("job"), len(made.records()))
    if state == ("scheduled", {"ann": "pending", "bob": "completed"}, 0):
        return False
    assert state == ("cancelled", {"ann": "cancelled", "bob": "completed"}, 1)
    return True


def failure_of(half: Half, uow: Any) -> CancelFailed:
    """Cancel the job, which fails before the scheduler is asked; give the failure."""
    recorder = Recorder()
    with pytest.raises(CancelFailed) as failure:
        half.cancel(uow, "job", recorder)
    assert recorder.asked == []
    assert PASSWORD not in str(failure.value)
    assert present_error(failure.value).content == b'{"detail": "Failed to cancel batch job"}'
    return failure.value


# By SQLSTATE -------------------------------------------------------------------------------------


def raise_on(made: Tables, when: str, state: str, table: str = "batch_jobs") -> None:
    """Have a trigger raise an error of this SQLSTATE: in the statement, or in the COMMIT."""
    body = f"BEGIN RAISE EXCEPTION 'password={PASSWORD}' USING ERRCODE = '{state}'; END"
    made.rows("CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS {}", body)
    if when == "commit":
        arm(made, table)
        return
    made.rows(
        "CREATE TRIGGER fault BEFORE UPDATE ON {} FOR EACH ROW EXECUTE FUNCTION fault()",
        quoted(table),
    )


def arm(made: Tables, table: str) -> None:
    """
    Have `fault` run in the COMMIT.

    A deferred trigger on the table itself would run before the outcome is looked at; so another,
    that does, puts one off until after it.
    """
    made.rows(
        "CREATE TABLE armed (number int); CREATE CONSTRAINT TRIGGER fault AFTER INSERT ON armed "
        "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fault();"
        "CREATE FUNCTION arm() RETURNS trigger LANGUAGE plpgsql AS {};"
        "CREATE CONSTRAINT TRIGGER arm AFTER UPDATE ON {} "
        "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION arm()",
        "BEGIN SET CONSTRAINTS fault DEFERRED; INSERT INTO armed VALUES (1); RETURN NULL; END",
        quoted(table),
    )


@HALVES
@pytest.mark.parametrize("when", ["statement", "commit"])
@pytest.mark.parametrize(
    ("state", "is_retryable", "after_commit"),
    [
        ("40001", True, "unchanged"),  # serialization failure
        ("40P01", True, "unchanged"),  # deadlock
        ("55P03", True, "unchanged"),  # lock timeout
        ("57014", True, "unchanged"),  # statement timeout
        ("25006", True, "unchanged"),  # read-only
        ("25P03", True, "unchanged"),  # idle in transaction
        ("53300", True, "unchanged"),  # too many connections
        ("57P01", True, "unknown"),  # shutdown
        ("57P03", True, "unknown"),  # starting up
        ("08006", True, "unknown"),  # connection failure
        ("23514", False, "unchanged"),  # check constraint
        ("53100", False, "unchanged"),  # disk full
        ("XX000", False, "unchanged"),  # internal error
        ("P0001", False, "unchanged"),  # somebody's trigger
    ],
)
def test_each_sqlstate_says_whether_to_ask_again(
    made: Tables,
    half: Half,
    when: str,
    state: str,
    *,
    is_retryable: bool,
    after_commit: str,
) -> None:
    """By the state, whatever class the driver files it under; its message stays inside."""
    raise_on(made, when, state)
    error = failure_of(half, half.uow(made.dsn, made.schema))
    assert error.retryable is is_retryable
    assert error.outcome == (after_commit if when == "commit" else "unchanged")
    assert not is_cancelled(made)
    made.rows("DROP FUNCTION fault CASCADE; DROP FUNCTION IF EXISTS arm CASCADE")
    assert half.cancel(half.uow(made.dsn, made.schema), "job").contacts_cancelled == 1


@HALVES
def test_a_refused_row_is_not_shown(made: Tables, half: Half) -> None:
    """Postgres tells what was in it; the failure does not."""
    made.rows("ALTER TABLE batch_contacts ADD CHECK (status <> 'cancelled')")
    made.rows("UPDATE batch_contacts SET label = {} WHERE status = 'pending'", PASSWORD)
    with pytest.raises(CancelFailed) as failure:
        half.cancel(half.uow(made.dsn, made.schema), "job")
    assert PASSWORD not in str(failure.value)
    assert "CheckViolation" in str(failure.value)
    assert "23514" in str(failure.value)


@HALVES
def test_a_read_only_server_is_a_failure_that_may_pass(made: Tables, half: Half) -> None:
    """It says where to connect instead."""
    uow = half.uow(with_options(made.dsn, "default_transaction_read_only=on"))
    error = failure_of(half, uow)
    assert (error.outcome, error.retryable) == ("unchanged", True)
    assert "connect to the primary" in str(error)


# The schema --------------------------------------------------------------------------------------


@HALVES
@pytest.mark.parametrize(
    ("wrong", "named", "advice"),
    [
        ({"jobs": "no_jobs"}, "no_jobs", "map your names"),
        ({"jobs": ("no_schema", "jobs")}, "no_schema.jobs", "map your names"),
        ({"contacts": "no_contacts"}, "no_contacts", "map your names"),
        ({"cancellations": "no_log"}, "no_log", "run `batch-cancel schema`"),
        ({"job_status": "no_state"}, "no_state", "map your column's name"),
        ({"job_organization_id": "no_org"}, "no_org", "map your column's name"),
        ({"job_deferred_id": "no_start"}, "no_start", "map your column's name"),
        ({"job_updated_at": "no_time"}, "no_time", "map your column's name"),
        ({"contact_job_id": "no_job"}, "no_job", "map your column's name"),
        ({"contact_status": "no_state"}, "no_state", "map your column's name"),
        ({"contact_updated_at": "no_time"}, "no_time", "map your column's name"),
    ],
)
def test_a_name_that_is_not_there_is_named(
    made: Tables, half: Half, wrong: dict[str, Any], named: str, advice: str
) -> None:
    """With what to do about it; to ask again would not help."""
    error = failure_of(half, half.uow(made.dsn, attrs.evolve(made.schema, **wrong)))
    assert (error.outcome, error.retryable) == ("unchanged", False)
    assert named in str(error)
    assert advice in str(error)
    assert "\n" not in str(error)
    assert not is_cancelled(made)


@contextmanager
def role(made: Tables) -> Generator[str]:
    """Yield a role that may see the schema, and nothing in it."""
    name = f"role_{uuid4().hex}"
    [[schema]] = made.rows("SELECT current_schema()")
    made.rows("CREATE ROLE {}", quoted(name))
    try:
        made.rows("GRANT USAGE ON SCHEMA {} TO {}", quoted(schema), quoted(name))
        yield name
    finally:
        made.rows("DROP OWNED BY {}", quoted(name))
        made.rows("DROP ROLE {}", quoted(name))


@HALVES
@pytest.mark.parametrize("lacking", ["batch_jobs", "batch_contacts", "batch_cancellations"])
def test_a_missing_permission_is_named_and_the_advice_is_enough(
    made: Tables, half: Half, lacking: str
) -> None:
    """Whoever grants what the failure says can cancel, replay and settle."""
    with role(made) as name:
        grants = {
            "batch_jobs": "GRANT SELECT, UPDATE ON batch_jobs TO {}",
            "batch_contacts": "GRANT SELECT, UPDATE ON batch_contacts TO {}",
            "batch_cancellations": "GRANT INSERT, SELECT, UPDATE ON batch_cancellations TO {}",
        }
        for table, grant in grants.items():
            if table != lacking:
                made.rows(grant, quoted(name))
        uow = half.uow(with_options(made.dsn, f"role={name}"))
        error = failure_of(half, uow)
        assert (error.outcome, error.retryable) == ("unchanged", False)
        assert f"permission denied for table {lacking}" in str(error)
        assert "grant SELECT and UPDATE on jobs and contacts" in str(error)
        assert not is_cancelled(made)
        made.rows(grants[lacking], quoted(name))
        assert half.cancel(uow, "job", operation_id="op-1").redis_job_cancelled
        again = half.cancel(uow, "job", operation_id="op-1")
        assert (again.replayed, again.redis_job_cancelled) == (True, True)


# The connection ----------------------------------------------------------------------------------


@HALVES
@pytest.mark.parametrize(
    "wrong",
    [
        {"port": "nobody listens"},
        {"host": "nowhere.invalid"},
        {"sslmode": "require"},
    ],
    ids=lambda it: next(iter(it)),
)
def test_a_server_that_is_not_there_is_a_failure_that_may_pass(
    postgres_server: PostgresServer, half: Half, wrong: dict[str, Any]
) -> None:
    """It says what to check, and holds nothing of the connection string."""
    wrong = {"port": free_port()} if "port" in wrong else wrong
    dsn = make_conninfo(postgres_server.dsn(), password=PASSWORD, connect_timeout=5, **wrong)
    error = failure_of(half, half.uow(dsn))
    assert (error.outcome, error.retryable) == ("unchanged", True)
    assert "check that it runs" in str(error)
    for secret in (*map(str, wrong.values()), "127.0.0.1"):
        assert secret not in str(error)


@contextmanager
def password_asked_of(server: PostgresServer, user: str) -> Generator[None]:
    """Have the server ask this user for a password, which nobody knows."""
    path = server.query("SHOW hba_file")
    before = server.query(sql.SQL("SELECT pg_read_file({})").format(path))
    server.query(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'unknown'").format(quoted(user)))
    write = "COPY (SELECT unnest(string_to_array({}, E'\\n'))) TO {}"
    try:
        rule = f"host all {user} 127.0.0.1/32 scram-sha-256\n"
        server.query(sql.SQL(write).format(rule + before, path))
        server.query("SELECT pg_reload_conf()")
        yield
    finally:
        server.query(sql.SQL(write).format(before, path))
        server.query("SELECT pg_reload_conf()")
        server.query(sql.SQL("DROP ROLE {}").format(quoted(user)))


@HALVES
def test_a_wrong_password_is_not_shown(postgres_to_break: PostgresServer, half: Half) -> None:
    """Neither the wrong one nor whose it is."""
    user = f"user_{uuid4().hex}"
    with password_asked_of(postgres_to_break, user):
        dsn = make_conninfo(postgres_to_break.dsn(), user=user, password=PASSWORD)

        def is_asked() -> bool:
            try:
                psycopg.connect(dsn).close()
            except psycopg.OperationalError as error:
                return "password" in str(error)
            return False

        wait_until(is_asked, "the server asks for the password")
        error = failure_of(half, half.uow(dsn))
        assert error.outcome == "unchanged"
        assert "Postgres refused the password: check user and password" in str(error)
        assert not error.retryable
        assert user not in str(error)


@HALVES
def test_a_connection_that_is_cut_is_a_failure_that_may_pass(made: Tables, half: Half) -> None:
    """In the middle of the transaction: nothing was changed, ask again."""

    def cut(call: Callable[..., Any], repositories: Any) -> None:
        call(repositories.jobs.lock, JobKey("job"))
        cursor = call(repositories.transaction.connection.execute, "SELECT pg_backend_pid()")
        made.rows("SELECT pg_terminate_backend({}, 10000)", call(cursor.fetchone)[0])
        call(repositories.contacts.cancel, JobKey("job"), frozenset[Any]())

    with pytest.raises(StoreFailed) as failure:
        half.begun(half.uow(made.dsn, made.schema), cut)
    assert (failure.value.outcome, failure.value.retryable) == ("unchanged", True)
    assert not is_cancelled(made)
    assert half.cancel(half.uow(made.dsn, made.schema), "job").contacts_cancelled == 1


@HALVES
def test_a_connection_that_is_cut_in_the_commit_leaves_an_unknown(
    made: Tables, half: Half
) -> None:
    """Nobody here can know; the same operation asked again finds out, and does what is left."""
    made.rows(
        "CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';"
    )
    arm(made, "batch_jobs")
    uow, recorder = half.uow(made.dsn, made.schema), Recorder()
    with pytest.raises(CancelFailed) as failure:
        half.cancel(uow, "job", recorder, operation_id="op-1")
    assert (failure.value.outcome, failure.value.retryable) == ("unknown", True)
    assert "retry with the same operation id" in str(failure.value)
    assert recorder.asked == []
    made.rows("DROP FUNCTION fault CASCADE; DROP FUNCTION IF EXISTS arm CASCADE")
    assert half.cancel(uow, "job", recorder, operation_id="op-1").contacts_cancelled == 1
    assert recorder.asked == ["start"]
    assert is_cancelled(made)


def test_a_server_that_stops_and_comes_back(postgres_to_break: PostgresServer) -> None:
    """Failures that may pass while it is away; a pool's stale connection is one of them."""
    server = postgres_to_break
    with server.database() as dsn:
        with tables(dsn) as made:
            made.add_job("job", "running", {"ann": "pending"})
        with ConnectionPool(dsn, min_size=1, max_size=1, timeout=20, open=True) as pool:
            pool.wait()
            uow = PostgresUnitOfWork(pool.connection)
            hasty = PostgresUnitOfWork(lambda: pool.connection(timeout=2))
            server.stop()
            with pytest.raises(CancelFailed) as failure:
                cancel_job("job", uow=hasty, scheduler=Recorder())
            assert (failure.value.outcome, failure.value.retryable) == ("unchanged", True)
            direct = PostgresUnitOfWork(lambda: psycopg.connect(dsn))
            with pytest.raises(CancelFailed) as failure:
                cancel_job("job", uow=direct, scheduler=Recorder())
            assert (failure.value.outcome, failure.value.retryable) == ("unchanged", True)
            server.start()
            result = cancel_job("job", uow=uow, scheduler=Recorder())
            assert result.contacts_cancelled == 1


@HALVES
def test_a_programs_own_error_is_not_postgress(made: Tables, half: Half) -> None:
    """What else is raised within a transaction rolls it back and comes out as it is."""

    class OwnError(Exception):
        """The program's own."""

    def fail(call: Callable[..., Any], repositories: Any) -> None:
        call(repositories.jobs.lock, JobKey("job"))
        raise OwnError

    with pytest.raises(OwnError):
        half.begun(half.uow(made.dsn, made.schema), fail)
    assert not is_cancelled(made)


def test_a_lost_connection_does_not_hide_a_programs_own_error(made: Tables) -> None:
    """Rolling back is not possible then, and not needed: the error comes out as it is."""

    class OwnError(Exception):
        """The program's own."""

    def fail(call: Callable[..., Any], repositories: Any) -> None:
        repositories.transaction.connection.close()
        raise OwnError

    half = Blocking()
    with pytest.raises(OwnError):
        half.begun(half.uow(made.dsn, made.schema), fail)
    assert not is_cancelled(made)
