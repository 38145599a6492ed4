"""The history on Postgres: tables of an earlier version, rights, and how pages are read."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import sql

from batch_cancel import StoreFailed, cancel_rows, cancellation_of, cancellations, forget
from batch_cancel.adapters.postgres import PostgresSchema, PostgresUnitOfWork, joining
from batch_cancel.adapters.postgres.ddl import table_ddl
from batch_cancel.adapters.postgres.history import page_parameters
from batch_cancel.adapters.sqlalchemy import (
    SqlAlchemyTables,
    SqlAlchemyUnitOfWork,
    cancellations_table,
)
from batch_cancel.domain.history import Place, Wanted
from tests import data_layers
from tests.pairs import create_reference_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EARLIER = "batch_cancellations_earlier"


@pytest.fixture
def rows(postgres_schema: str) -> Iterator[psycopg.Connection[Any]]:
    """Yield a connection to the reference tables, with a running job."""
    with psycopg.connect(postgres_schema, autocommit=True) as connection:
        create_reference_tables(connection)
        connection.execute("INSERT INTO batch_jobs (id, status) VALUES ('job', 'running')")
        yield connection


def own(dsn: str) -> Any:
    """Return the unit of work on psycopg."""
    return PostgresUnitOfWork(lambda: psycopg.connect(dsn))


def layered(dsn: str) -> Any:
    """Return the unit of work of SQLAlchemy."""
    return data_layers.postgres_uow(dsn, is_async=False)


UOWS = pytest.mark.parametrize("make", [own, layered])


def cancelled(uow: Any, rows: psycopg.Connection[Any], *operations: str) -> list[str]:
    """Cancel the job by each operation, set back in between; return the history's operations."""
    for operation_id in operations:
        rows.execute("UPDATE batch_jobs SET status = 'running'")
        cancel_rows("job", uow=uow, operation_id=operation_id)
    return [it.operation_id for it in cancellations(uow=uow).records]


@UOWS
def test_tables_of_an_earlier_version_serve(
    rows: psycopg.Connection[Any], postgres_schema: str, make: Callable[[str], Any]
) -> None:
    """The earlier record is replaced; the doctor says so, and once the table is there it stays."""
    rows.execute(f"DROP TABLE {EARLIER}".encode())
    rows.execute("DROP INDEX batch_cancellations_by_time")
    uow = make(postgres_schema)
    assert cancelled(uow, rows, "first", "second") == ["second"]
    assert uow.check() == []
    assert any("job that is cancelled again" in note for note in uow.examine().notes)
    rows.execute(table_ddl(PostgresSchema()).encode())
    assert cancelled(uow, rows, "third") == ["third", "second"]
    found = cancellation_of("job", uow=uow)
    assert found is not None
    assert found.operation_id == "third"
    assert not any("cancelled again" in note for note in uow.examine().notes)


@pytest.mark.parametrize(("first", "second"), [("INSERT", "SELECT"), ("SELECT", "INSERT")])
def test_a_table_that_may_not_be_used_keeps_nobody_from_cancelling(
    rows: psycopg.Connection[Any], postgres_schema: str, first: str, second: str
) -> None:
    """It counts as missing until both rights are there."""
    user = f"history_{uuid4().hex}"
    rows.execute(f"CREATE ROLE {user}".encode())
    [(schema,)] = rows.execute("SELECT current_schema()").fetchall()
    rows.execute(f"GRANT USAGE ON SCHEMA {schema} TO {user}".encode())
    for table in ("batch_jobs", "batch_contacts", "batch_cancellations"):
        rows.execute(f"GRANT SELECT, INSERT, UPDATE ON {table} TO {user}".encode())

    def connect() -> psycopg.Connection[Any]:
        connection = psycopg.connect(postgres_schema, autocommit=True)
        connection.execute(f"SET ROLE {user}".encode())
        connection.autocommit = False
        return connection

    uow = PostgresUnitOfWork(connect)
    for right, kept in ((None, 1), (first, 1), (second, 2)):
        if right is not None:
            rows.execute(f"GRANT {right} ON {EARLIER} TO {user}".encode())
        assert len(cancelled(uow, rows, f"before {right}", f"after {right}")) >= kept
        notes = [note for note in uow.examine().notes if "cancelled again" in note]
        assert (notes == []) == (right == second)
        assert (rows.execute(f"SELECT FROM {EARLIER}".encode()).rowcount > 0) == (right == second)
    rows.execute(f"DROP OWNED BY {user}".encode())
    rows.execute(f"DROP ROLE {user}".encode())


def test_what_is_noted_meanwhile_goes_along(
    rows: psycopg.Connection[Any], postgres_schema: str
) -> None:
    """Whoever settles the earlier record while it is replaced is waited for."""
    uow = own(postgres_schema)
    cancelled(uow, rows, "first")
    rows.execute("UPDATE batch_cancellations SET removal = 'pending'")
    rows.execute("UPDATE batch_jobs SET status = 'running'")
    with psycopg.connect(postgres_schema) as settling:
        settling.execute("UPDATE batch_cancellations SET removal = 'removed'")
        again = threading.Thread(target=cancel_rows, args=("job",), kwargs={"uow": uow})
        again.start()
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        while rows.execute(waits).fetchall() == [(0,)]:
            pass
        settling.commit()
    again.join()
    earlier = rows.execute(f"SELECT removal FROM {EARLIER}".encode()).fetchall()
    assert earlier == [("removed",)]


def test_it_is_undone_with_the_callers_transaction(
    rows: psycopg.Connection[Any], postgres_schema: str
) -> None:
    """The earlier record is where it was."""
    uow = own(postgres_schema)
    cancelled(uow, rows, "first")
    rows.execute("UPDATE batch_jobs SET status = 'running'")
    with psycopg.connect(postgres_schema) as connection:
        connection.execute("SELECT")
        cancel_rows("job", uow=joining(connection), operation_id="second")
        assert [it.operation_id for it in cancellations(uow=joining(connection)).records] == [
            "second",
            "first",
        ]
        connection.rollback()
    assert [it.operation_id for it in cancellations(uow=uow).records] == ["first"]


def test_the_tables_have_the_name_that_is_given(
    rows: psycopg.Connection[Any], postgres_schema: str
) -> None:
    """However long it is; Postgres cuts names of more than 63 bytes, of indexes as well."""
    count = b"SELECT count(*) FROM pg_index WHERE indrelid = %s::regclass"
    for name in ("x%y", "n" * 63, "m" * 60, "ü" * 31):
        schema = PostgresSchema(cancellations=name)
        rows.execute(table_ddl(schema).encode())
        uow = PostgresUnitOfWork(lambda: psycopg.connect(postgres_schema), schema)
        assert cancelled(uow, rows, "first", "second") == ["second", "first"]
        assert not any("cancelled again" in note for note in uow.examine().notes)
        assert rows.execute(count, [f'"{name}"']).fetchone() == (1 + 4,)


def test_a_page_is_found_by_its_index(rows: psycopg.Connection[Any], postgres_schema: str) -> None:
    """Neither all of the organization's records nor those of the pages before are read."""
    rows.execute(
        "INSERT INTO batch_cancellations SELECT owner, 'job-' || n, 'op', 'running', 0, NULL, "
        "NULL, '2026-01-01'::timestamptz + n * interval '1 second', NULL, 'absent', true, now() "
        "FROM generate_series(1, 20000) AS n, "
        "unnest(CASE WHEN n % 100 = 0 THEN ARRAY['evil', 'org'] ELSE ARRAY['evil'] END) AS owner; "
        "ANALYZE batch_cancellations"
    )
    uow = own(postgres_schema)
    page = cancellations(uow=uow, organization_id="org", limit=10)
    assert page.records[0].key.batch_job_id == "job-20000"
    with uow.begin() as repositories:
        connection = repositories.transaction.connection
        assert page.next is not None
        parameters = page_parameters(Wanted("org", after=Place.read(page.next)), 11)
        statement = repositories.history.awaited.queries.page[True]
        plan = connection.execute(
            sql.SQL("EXPLAIN (ANALYZE, FORMAT JSON) {}").format(statement), parameters
        ).fetchone()[0]
    assert _rows_read(plan[0]["Plan"]) < 100


def test_forgetting_reads_what_it_forgets(
    rows: psycopg.Connection[Any], postgres_schema: str
) -> None:
    """And not all that is kept."""
    rows.execute(
        "INSERT INTO batch_cancellations SELECT 'org', 'job-' || n, 'op', 'running', 0, NULL, "
        "NULL, now() - n * interval '1 day', NULL, 'absent', true, now() "
        "FROM generate_series(1, 20000) AS n; ANALYZE batch_cancellations"
    )
    with own(postgres_schema).begin() as repositories:
        statement = repositories.history.awaited.queries.forget
        plan = repositories.transaction.connection.execute(
            sql.SQL("EXPLAIN (ANALYZE, FORMAT JSON) {}").format(statement),
            {
                "before": datetime.now(UTC) - timedelta(days=100),
                "retry_window": timedelta(days=30),
                "limit": 10,
            },
        ).fetchone()[0]
    assert _rows_read(plan[0]["Plan"]) < 200


def test_what_another_has_in_hand_is_not_waited_for(
    rows: psycopg.Connection[Any], postgres_schema: str
) -> None:
    """It stays for the next time; and a record with something pending by then stays."""
    for number in range(3):
        rows.execute(
            "INSERT INTO batch_cancellations VALUES ('', %s, 'op', 'running', 0, NULL, NULL, "
            "'2020-01-01', NULL, 'absent', true, now())",
            [f"job-{number}"],
        )
    uow = own(postgres_schema)
    with psycopg.connect(postgres_schema) as busy:
        busy.execute(
            "UPDATE batch_cancellations SET removal = 'pending' WHERE batch_job_id = 'job-1'"
        )
        assert forget(uow=uow, before=datetime.now(UTC)) == 2
    assert forget(uow=uow, before=datetime.now(UTC)) == 0
    rows.execute("UPDATE batch_cancellations SET removal = 'absent'")
    assert forget(uow=uow, before=datetime.now(UTC)) == 1


def test_without_the_right_to_delete_nothing_is_forgotten(
    rows: psycopg.Connection[Any], postgres_schema: str
) -> None:
    """The error says which right is missing; nothing else needs it."""
    user = f"history_{uuid4().hex}"
    rows.execute(f"CREATE ROLE {user}".encode())
    [(schema,)] = rows.execute("SELECT current_schema()").fetchall()
    rows.execute(f"GRANT USAGE ON SCHEMA {schema} TO {user}".encode())
    rows.execute(
        f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA {schema} TO {user}".encode()
    )

    def connect() -> psycopg.Connection[Any]:
        connection = psycopg.connect(postgres_schema, autocommit=True)
        connection.execute(f"SET ROLE {user}".encode())
        connection.autocommit = False
        return connection

    uow = PostgresUnitOfWork(connect)
    assert cancelled(uow, rows, "first") == ["first"]
    assert uow.check() == []
    with pytest.raises(StoreFailed, match="permission denied"):
        forget(uow=uow, before=datetime.now(UTC))
    rows.execute(f"DROP OWNED BY {user}".encode())
    rows.execute(f"DROP ROLE {user}".encode())


def _rows_read(plan: dict[str, Any]) -> float:
    here = plan["Actual Rows"] * plan["Actual Loops"] + plan.get("Rows Removed by Filter", 0)
    return float(here + sum(_rows_read(it) for it in plan.get("Plans", [])))


def test_metadata_without_the_second_table_serves(
    rows: psycopg.Connection[Any], postgres_schema: str
) -> None:
    """As that of an adopter who has written the table out."""
    metadata, other = sa.MetaData(), sa.MetaData()
    ours = cancellations_table(other).to_metadata(metadata)
    tables = SqlAlchemyTables(
        jobs=data_layers.JOBS, contacts=data_layers.CONTACTS, cancellations=ours
    )
    uow = SqlAlchemyUnitOfWork(data_layers.postgres_engine(postgres_schema), tables)
    assert cancelled(uow, rows, "first", "second") == ["second"]
    assert any("cancelled again" in note for note in uow.examine().notes)
