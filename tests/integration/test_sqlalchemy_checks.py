"""What `check` and `examine` of SQLAlchemy's units of work find, by each driver."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import attrs
import psycopg
import pytest
import sqlalchemy as sa

from batch_cancel.adapters.sqlalchemy import (
    SqlAlchemyTables,
    SqlAlchemyUnitOfWork,
    cancellations_table,
    joining,
    joining_async,
)
from batch_cancel.domain.diagnosis import Diagnosis
from batch_cancel.ports import AsyncCheckable, Checkable
from tests import data_layers
from tests.data_layers import DRIVERS, METADATA, TABLES, Layer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers import PostgresServer

POSTGRES = pytest.mark.parametrize("layer", ["psycopg", "asyncpg"], indirect=True)
SQLITE = pytest.mark.parametrize("layer", ["pysqlite", "aiosqlite"], indirect=True)


@pytest.fixture(params=DRIVERS)
def layer(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, tmp_path: Path
) -> Iterator[Layer]:
    """Yield the reference tables by one of the drivers."""
    with data_layers.layer(request.param, postgres_server, tmp_path) as lent:
        METADATA.create_all(lent.engine)
        yield lent


def examined(
    layer: Layer, tables: SqlAlchemyTables = TABLES, *, joined: bool = False
) -> Diagnosis:
    """Examine the tables, in a transaction of its own or in one of ours."""
    if layer.asyncio_engine is None:
        if not joined:
            return SqlAlchemyUnitOfWork(layer.engine, tables).examine()
        with layer.engine.begin() as connection:
            return joining(connection, tables).examine()
    return asyncio.run(_examined(layer, tables, joined=joined))


async def _examined(layer: Layer, tables: SqlAlchemyTables, *, joined: bool) -> Diagnosis:
    assert layer.asyncio_engine is not None
    if not joined:
        found: Diagnosis = await layer.uow(tables).examine()
        return found
    async with layer.asyncio_engine.begin() as connection:
        return await joining_async(connection, tables).examine()


@pytest.mark.parametrize("joined", [False, True])
def test_reference_tables_fit(layer: Layer, *, joined: bool) -> None:
    """Nothing is missing, slow, or worth a look."""
    assert examined(layer, joined=joined) == Diagnosis(
        fits=(
            "an index finds the contacts that a cancel changes",
            *(
                f"{it} has all that a cancel needs"
                for it in ("batch_jobs", "batch_contacts", "batch_cancellations")
            ),
        )
    )


def test_it_is_checkable(layer: Layer) -> None:
    """As the command line asks."""
    uow = layer.uow(TABLES)
    assert isinstance(uow, Checkable | AsyncCheckable)
    found: Any = uow.check()
    assert (found if layer.asyncio_engine is None else asyncio.run(found)) == []


@pytest.mark.parametrize(
    ("statements", "sentence"),
    [
        (
            ["DROP TABLE batch_cancellations"],
            (
                "table batch_cancellations is missing: let your migrations create the table of "
                "cancellations_table(metadata)"
            ),
        ),
        (
            ["DROP TABLE batch_contacts"],
            (
                "table batch_contacts is missing: create it, or see which schema the connection "
                "looks in"
            ),
        ),
        (
            ["ALTER TABLE batch_jobs DROP COLUMN scheduled_job_id"],
            (
                "column scheduled_job_id is missing from batch_jobs: run your migrations, or map "
                "its name with job_deferred_id=..."
            ),
        ),
        (
            ["ALTER TABLE batch_cancellations DROP COLUMN reason"],
            (
                "column reason is missing from batch_cancellations, which another version has "
                "made: add it by a migration"
            ),
        ),
    ],
)
@pytest.mark.parametrize("joined", [False, True])
def test_what_is_missing_is_named(
    layer: Layer, statements: list[str], sentence: str, *, joined: bool
) -> None:
    """A table, or a column of one."""
    layer.execute(*statements)
    assert sentence in examined(layer, joined=joined).missing


@SQLITE
@pytest.mark.parametrize("joined", [False, True])
def test_a_file_without_the_tables_is_named(layer: Layer, *, joined: bool) -> None:
    """The statement that waits for SQLite's lock names the table of jobs."""
    layer.execute("DROP TABLE batch_contacts", "DROP TABLE batch_jobs")
    [sentence] = examined(layer, joined=joined).missing
    assert sentence == "table batch_jobs is missing: create it, or see which file the URL names"


def test_a_column_that_workers_need_alone_is_no_problem_of_a_cancel(layer: Layer) -> None:
    """It is among what the workers miss."""
    layer.execute(
        "DROP INDEX ix_batch_contacts_batch_job_id",
        "CREATE INDEX ix_batch_contacts_batch_job_id ON batch_contacts (batch_job_id)",
        "ALTER TABLE batch_contacts DROP COLUMN next_attempt_at",
    )
    found = examined(layer)
    assert found.problems == []
    assert found.workers == (
        (
            "column next_attempt_at is missing from batch_contacts: run your migrations, or map "
            "its name with contact_next_attempt_at=..."
        ),
    )


def test_a_missing_index_is_slow(layer: Layer) -> None:
    """A problem, but nothing that makes a cancel fail."""
    layer.execute("DROP INDEX ix_batch_contacts_batch_job_id")
    found = examined(layer)
    assert found.missing == ()
    assert found.slow == (
        (
            "no index finds the contacts of a job, so each cancel reads all of batch_contacts: "
            "CREATE INDEX ix_batch_contacts_batch_job_id_next_attempt_at_id ON batch_contacts "
            "(batch_job_id, next_attempt_at, id)"
        ),
    )
    [sentence] = found.slow
    layer.execute(sentence.partition(": ")[2])  # As it is: SQLite wants a name.
    assert (examined(layer).slow, examined(layer).workers) == ((), ())


@pytest.mark.parametrize(
    ("index", "serves"),
    [
        ("(batch_job_id)", False),
        ("(batch_job_id, next_attempt_at)", False),
        ("(batch_job_id, id, next_attempt_at)", False),
        ("(batch_job_id, next_attempt_at, id, status)", True),
    ],
)
def test_an_index_in_the_order_of_a_claim_is_missed(
    layer: Layer, index: str, *, serves: bool
) -> None:
    """Without it each claim reads and sorts all that it might take."""
    layer.execute(
        "DROP INDEX ix_batch_contacts_batch_job_id",
        f"CREATE INDEX ix_batch_contacts_batch_job_id ON batch_contacts {index}",
    )
    found = examined(layer)
    assert found.problems == []
    sentence = (
        "no index has the contacts of a job in the order of their times, so each claim_contacts "
        "reads and sorts all open ones: CREATE INDEX "
        "ix_batch_contacts_batch_job_id_next_attempt_at_id ON "
        "batch_contacts (batch_job_id, next_attempt_at, id)"
    )
    assert found.workers == (() if serves else (sentence,))
    if not serves:  # Beside the other one, which `index=True` of a column names so.
        layer.execute(sentence.partition(": ")[2])
        assert examined(layer).workers == ()
    tables = attrs.evolve(TABLES, contact_next_attempt_at=None)
    assert examined(layer, tables).workers == ()


def test_keys_that_name_several_jobs_are_refused(layer: Layer) -> None:
    """By the same rules as a cancel."""
    jobs = sa.Table("loose_jobs", sa.MetaData(), *(it._copy() for it in TABLES.jobs.columns))
    layer.execute(
        "CREATE TABLE loose_jobs (id text, organization_id text, status text, "
        "scheduled_job_id text, updated_at timestamp)"
    )
    tables = SqlAlchemyTables(
        jobs=jobs, contacts=TABLES.contacts, cancellations=TABLES.cancellations
    )
    [sentence] = examined(layer, tables).missing
    assert sentence.startswith("'id' of loose_jobs is not known to be unique: ")


@SQLITE
def test_a_trigger_on_sqlite_is_worth_a_look(layer: Layer) -> None:
    """Which one is not known, nor what it does."""
    layer.execute(
        "CREATE TRIGGER history AFTER UPDATE ON batch_contacts BEGIN SELECT 1; END",
    )
    found = examined(layer)
    assert found.problems == []
    assert found.notes == (
        (
            "a trigger of batch_contacts may write otherwise than the library does: check that it "
            "leaves a cancelled job and its contacts cancelled"
        ),
    )


@POSTGRES
def test_a_trigger_on_postgres_is_worth_a_look(layer: Layer) -> None:
    """By its name, and when it runs."""
    layer.execute(
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'",
        "CREATE TRIGGER history BEFORE UPDATE ON batch_jobs FOR EACH ROW EXECUTE FUNCTION touch()",
    )
    found = examined(layer)
    assert found.problems == []
    [note] = found.notes
    assert note.startswith("the trigger history of ")
    assert "(BEFORE UPDATE) may write otherwise than the library does" in note


@POSTGRES
def test_statuses_that_an_enum_lacks_are_named(layer: Layer) -> None:
    """What a cancel writes or compares with is missing; the others are the workers'."""
    layer.execute(
        "CREATE TYPE call AS ENUM ('pending', 'queued', 'no_answer', 'busy', 'completed', "
        "'failed', 'blocked', 'invalid_number', 'carrier_error', 'cancelled')",
        "ALTER TABLE batch_contacts ALTER status TYPE call USING status::call",
        "ALTER TABLE batch_jobs ALTER status TYPE varchar(7)",
    )
    found = examined(layer)
    assert found.missing == (
        "status of batch_jobs can't hold 'cancelled': it is longer than 7",
        "status of batch_contacts can't hold 'timeout': ALTER TYPE call ADD VALUE 'timeout'",
    )
    assert (
        "status of batch_contacts can't hold 'dialing': ALTER TYPE call ADD VALUE 'dialing'"
        in (found.workers)
    )


@POSTGRES
def test_a_user_that_may_not_write_is_told_what_to_grant(layer: Layer) -> None:
    """Privileges are those of the user that connects."""
    schema = layer.rows("SELECT current_schema()")[0][0]
    role = f"{schema}_reader"
    layer.execute(
        f"CREATE ROLE {role}",
        f"GRANT USAGE ON SCHEMA {schema} TO {role}",
        f"GRANT SELECT ON batch_jobs, batch_contacts, batch_cancellations TO {role}",
        f"GRANT UPDATE (status) ON batch_jobs TO {role}",
    )

    with layer.engine.connect() as connection:
        connection.exec_driver_sql(f"SET ROLE {role}")
        found = joining(connection, TABLES).examine()
    may_not = "the user that connects may not"
    assert {
        f"{may_not} UPDATE updated_at of batch_jobs: GRANT UPDATE ON batch_jobs to it",
        (
            f"{may_not} UPDATE status, updated_at of batch_contacts: GRANT UPDATE ON "
            "batch_contacts to it"
        ),
    } <= set(found.missing)
    assert any("GRANT UPDATE ON batch_cancellations" in it for it in found.missing)
    assert any("GRANT INSERT ON batch_cancellations" in it for it in found.missing)
    layer.execute(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_an_engine_that_commits_by_itself_is_a_finding(layer: Layer) -> None:
    """What keeps a transaction from being opened is the one sentence."""
    engine = layer.engine.execution_options(isolation_level="AUTOCOMMIT")
    [sentence] = SqlAlchemyUnitOfWork(engine, TABLES).check()
    assert "commits" in sentence


@POSTGRES
def test_a_caller_s_transaction_of_another_isolation_is_a_finding(layer: Layer) -> None:
    """A joined cancel would be refused there as well."""
    engine = layer.engine.execution_options(isolation_level="REPEATABLE READ")
    with engine.begin() as connection:
        [sentence] = joining(connection, TABLES).check()
    assert "needs a READ COMMITTED transaction" in sentence


def test_a_caller_s_transaction_goes_on_after_a_check(layer: Layer) -> None:
    """It was only read from, in a savepoint."""
    with layer.engine.begin() as connection:
        assert joining(connection, TABLES).check() == []
        connection.execute(sa.insert(TABLES.jobs).values(id="later", status="running"))
    assert layer.rows("SELECT id FROM batch_jobs") == [("later",)]


def test_a_server_that_is_not_there_is_a_finding() -> None:
    """Not an error."""

    def refuse() -> Any:
        raise psycopg.OperationalError

    engine = sa.create_engine("postgresql+psycopg://", creator=refuse)
    assert len(SqlAlchemyUnitOfWork(engine, TABLES).check()) == 1


def test_an_own_name_of_our_table_is_looked_for(layer: Layer) -> None:
    """Under the name that `cancellations_table` was given."""
    tables = SqlAlchemyTables(
        jobs=TABLES.jobs,
        contacts=TABLES.contacts,
        cancellations=cancellations_table(sa.MetaData(), "records"),
    )
    assert any(it.startswith("table records is missing") for it in examined(layer, tables).missing)
