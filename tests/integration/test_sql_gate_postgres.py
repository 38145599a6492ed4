"""The start gate in SQL on Postgres: lost answers, waits for another, privileges, names."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from batch_cancel.adapters import postgres, sqlalchemy
from batch_cancel.adapters.memory import MemoryStore
from batch_cancel.ports import SchedulerUnavailable
from tests import data_layers
from tests.fault_proxy import FaultProxy
from tests.sql_gates import GATES, NAMES, Gates, made, raced

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

ROUNDS = 200


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """Yield what runs the asyncio halves."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(params=[it for it in NAMES if "postgres" in it])
def on_postgres(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gates]:
    """Yield a maker of gates on Postgres, by each of its drivers."""
    yield from made(request, request.param, tmp_path)


@contextmanager
def _proxied(gates: Gates) -> Generator[tuple[FaultProxy, str]]:
    """Yield a proxy before the database, and the connection string that leads there."""
    with FaultProxy(int(str(conninfo_to_dict(gates.place)["port"]))) as proxy:
        yield proxy, make_conninfo(gates.place, port=proxy.port)


@pytest.mark.parametrize("asked", ["arm", "cancel", "may_start"])
def test_a_lost_answer_to_commit_is_given_again(
    on_postgres: Gates, runner: asyncio.Runner, asked: str
) -> None:
    """It was committed, or it was not: the repetition returns the same."""
    on_postgres.make(runner).arm("job")
    with _proxied(on_postgres) as (proxy, place):
        gate = on_postgres.make(runner, place)
        commit = b"COMMIT;" if on_postgres.name == "alchemy-postgres-async" else b"COMMIT\0"
        proxy.cut_answer_to(commit)
        assert getattr(gate, asked)("job") is True
        assert proxy.cuts == 1
        proxy.cut_before(commit)
        assert getattr(gate, asked)("job") is True
        assert proxy.cuts == 2


def test_without_an_answer_nothing_starts(on_postgres: Gates, runner: asyncio.Runner) -> None:
    """The gate fails closed: no answer is an error, never a yes."""
    on_postgres.make(runner).arm("job")
    with _proxied(on_postgres) as (proxy, place):
        gate = on_postgres.make(runner, place)
        proxy.refuse()
        for ask in (gate.may_start, gate.cancel):
            with pytest.raises(SchedulerUnavailable):
                ask("job")
    assert on_postgres.rows() == {"job": ("armed", None)}


def test_an_answer_is_on_disk(on_postgres: Gates, runner: asyncio.Runner) -> None:
    """Also where the role of the connection has switched that off."""
    seen = "CREATE TABLE seen AS SELECT current_setting('synchronous_commit') AS setting"
    on_postgres.execute(f"{seen} WHERE false")
    on_postgres.execute(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO seen "
        "VALUES (current_setting(''synchronous_commit'')); RETURN NEW; END'"
    )
    on_postgres.execute(
        "CREATE TRIGGER note BEFORE INSERT OR UPDATE ON batch_start_gates FOR EACH ROW "
        "EXECUTE FUNCTION note()"
    )
    with psycopg.connect(on_postgres.place, autocommit=True) as connection:
        connection.execute("ALTER ROLE CURRENT_USER SET synchronous_commit = off")
        try:
            gate = on_postgres.make(runner)
            assert (gate.arm("job"), gate.cancel("job")) == (True, True)
        finally:
            connection.execute("ALTER ROLE CURRENT_USER RESET synchronous_commit")
        assert set(connection.execute("SELECT setting FROM seen")) == {("on",)}


def test_a_row_that_cannot_be_written_decides_nothing(
    on_postgres: Gates, runner: asyncio.Runner
) -> None:
    """A trigger skips it: neither a yes nor a no, and no end without an answer."""
    gate = on_postgres.make(runner)
    gate.arm("job")
    on_postgres.execute(
        "CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
    )
    on_postgres.execute(
        "CREATE TRIGGER skip BEFORE INSERT OR UPDATE ON batch_start_gates FOR EACH ROW "
        "EXECUTE FUNCTION skip()"
    )
    for ask in (gate.arm, gate.cancel, gate.may_start):
        with pytest.raises(SchedulerUnavailable, match="neither add nor change the row"):
            ask("job")


@pytest.mark.parametrize("privilege", ["SELECT", "INSERT", "UPDATE", "DELETE"])
def test_a_privilege_that_is_missing_is_named(
    on_postgres: Gates, runner: asyncio.Runner, privilege: str
) -> None:
    """Each of the four alone."""
    user = f"gatekeeper_{uuid4().hex[:8]}"
    with psycopg.connect(on_postgres.place, autocommit=True) as connection:
        data_layers.METADATA.create_all(on_postgres.engine)
        connection.execute(f"CREATE ROLE {user} LOGIN".encode())
        try:
            [[schema]] = connection.execute("SELECT current_schema()").fetchall()
            for grant in (
                f"GRANT USAGE ON SCHEMA {schema} TO {user}",
                f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {user}",
            ):
                connection.execute(grant.encode())
            gate = on_postgres.make(runner, make_conninfo(on_postgres.place, user=user))
            assert gate.check() == []
            connection.execute(f"REVOKE {privilege} ON batch_start_gates FROM {user}".encode())
            [sentence] = gate.check()
        finally:
            connection.execute(f"DROP OWNED BY {user}".encode())
            connection.execute(f"DROP ROLE {user}".encode())
    assert sentence.startswith(f"the user that connects may not {privilege} ")


def test_a_database_that_takes_no_writes_is_named(
    on_postgres: Gates, runner: asyncio.Runner
) -> None:
    """Whether by its role or by its settings, each call would be refused."""
    data_layers.METADATA.create_all(on_postgres.engine)
    with psycopg.connect(on_postgres.place, autocommit=True) as connection:
        connection.execute("ALTER ROLE CURRENT_USER SET default_transaction_read_only = on")
        try:
            gate = on_postgres.make(runner)
            [sentence] = gate.check()
            with pytest.raises(SchedulerUnavailable, match="is read-only here"):
                gate.arm("job")
        finally:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute("ALTER ROLE CURRENT_USER RESET default_transaction_read_only")
    assert sentence.startswith("Postgres is read-only here: connect to the primary")


def test_ours_are_equal_on_postgres(postgres_schema: str) -> None:
    """The table that SQLAlchemy makes and the one that is printed."""
    engine = data_layers.postgres_engine(postgres_schema)
    metadata = sa.MetaData()
    sqlalchemy.start_gates_table(metadata, "by_alchemy")
    metadata.create_all(engine)
    with psycopg.connect(postgres_schema, autocommit=True) as connection:
        connection.execute(postgres.start_gates_ddl("printed").encode())
        connection.execute(postgres.start_gates_ddl("printed").encode())
        shapes: list[Any] = []
        for name in ("by_alchemy", "printed"):
            columns = connection.execute(
                "SELECT column_name, data_type, is_nullable FROM information_schema.columns "
                "WHERE table_name = %s AND table_schema = current_schema() ORDER BY 1",
                [name],
            ).fetchall()
            indexes = connection.execute(
                "SELECT replace(indexdef, %s, '') FROM pg_indexes WHERE tablename = %s "
                "AND schemaname = current_schema() ORDER BY 1",
                [name, name],
            ).fetchall()
            shapes.append((columns, indexes))
    assert shapes[0] == shapes[1]


def test_a_table_of_another_name_in_another_schema(postgres_database: str) -> None:
    """Its name is quoted wherever it stands."""
    table = ("odd % schema", 'odd "%s" {table}')
    uow = postgres.PostgresUnitOfWork(lambda: psycopg.connect(postgres_database))
    gate = postgres.SqlStartGate(uow, table=table)
    assert len(gate.check()) == 1
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute('CREATE SCHEMA "odd % schema"')
        connection.execute(postgres.start_gates_ddl(table).encode())
    assert gate.check() == []
    assert gate.arm("job", datetime.now(UTC)) is True
    assert gate.cancel("job", "operation") is True
    assert gate.waiting_among({"job"}) == set()


@pytest.mark.parametrize("kind", ["joining", "asyncio", "another"])
def test_only_transactions_of_its_own_serve(kind: str, postgres_schema: str) -> None:
    """An answer in the caller's transaction could still be rolled back."""
    others: dict[str, Any] = {
        "asyncio": postgres.AsyncPostgresUnitOfWork(lambda: None),  # type: ignore[arg-type,return-value]
        "another": MemoryStore(),
    }
    with psycopg.connect(postgres_schema) as connection:
        others["joining"] = postgres.joining(connection)
        with pytest.raises(TypeError, match="needs the PostgresUnitOfWork whose transactions"):
            postgres.SqlStartGate(others[kind])
        with pytest.raises(TypeError, match="needs the SqlAlchemyUnitOfWork whose transactions"):
            sqlalchemy.SqlStartGate(others[kind], GATES)


def test_a_blocking_store_does_not_serve_an_asyncio_gate() -> None:
    """Nor does Postgres's serve SQLAlchemy's."""
    blocking: Any = postgres.PostgresUnitOfWork(lambda: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(TypeError, match=r"the AsyncPostgresUnitOfWork whose.*got PostgresUnit"):
        postgres.AsyncSqlStartGate(blocking)
    with pytest.raises(TypeError, match=r"the AsyncSqlAlchemyUnitOfWork whose.*got PostgresUnit"):
        sqlalchemy.AsyncSqlStartGate(blocking, GATES)


# Races -------------------------------------------------------------------------------------------


@pytest.mark.repeats
def test_of_many_cancels_and_starts_both_win_some(on_postgres: Gates) -> None:
    """Two hundred rounds."""
    cancels, starts = raced(on_postgres, ROUNDS)
    assert cancels
    assert starts


def _held(gates: Gates, first: str, second: Callable[[], Any]) -> Any:
    """Do something while a statement has changed the row and is not committed."""
    with gates.engine.connect() as connection, ThreadPoolExecutor(1) as pool:
        connection.execute(sa.text(first))
        asked = pool.submit(second)
        with pytest.raises(TimeoutError):
            asked.result(0.3)
        connection.commit()
        return asked.result(60)


@pytest.mark.parametrize(
    ("first", "second", "answer"),
    [
        ("UPDATE batch_start_gates SET state = 'started'", "cancel", False),
        ("UPDATE batch_start_gates SET state = 'cancelled'", "may_start", False),
        ("UPDATE batch_start_gates SET state = 'cancelled'", "arm", False),
        ("UPDATE batch_start_gates SET state = 'started'", "may_start", True),
        ("DELETE FROM batch_start_gates", "cancel", False),
        ("DELETE FROM batch_start_gates", "arm", True),
    ],
)
def test_a_step_that_waits_for_another_sees_what_that_one_decided(
    on_postgres: Gates, first: str, second: str, *, answer: bool
) -> None:
    """What it has read before is of no account."""
    with asyncio.Runner() as runner:
        gate = on_postgres.make(runner)
        gate.arm("job")
        assert _held(on_postgres, first, lambda: getattr(gate, second)("job")) is answer


@pytest.mark.parametrize(
    ("state", "call", "answer"),
    [("armed", "cancel", True), ("armed", "arm", True), ("started", "cancel", False)],
)
def test_a_row_that_another_one_adds_meanwhile_is_seen(
    on_postgres: Gates, state: str, call: str, *, answer: bool
) -> None:
    """None was there, and one was when it was to be added."""
    added = f"INSERT INTO batch_start_gates VALUES ('job', '{state}', NULL, now())"
    with asyncio.Runner() as runner:
        gate = on_postgres.make(runner)
        assert _held(on_postgres, added, lambda: getattr(gate, call)("job")) is answer
