"""The migrations of examples/alembic, run by Alembic on Postgres."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations

from batch_cancel import cancel_rows
from batch_cancel.adapters.postgres import PostgresSchema, PostgresUnitOfWork, table_ddl
from batch_cancel.adapters.sqlalchemy import cancellations_table
from tests import data_layers
from tests.integration.command_line import as_url
from tests.integration.released_tables import create_released_tables, shape
from tests.pairs import create_reference_tables

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

EXAMPLE = Path(__file__).parents[2] / "examples" / "alembic"


class Database:
    """A database with jobs, and the migrations of the example."""

    def __init__(self, dsn: str, rows: psycopg.Connection[Any]) -> None:
        self.rows = rows
        self._dsn = dsn
        self._config = Config(EXAMPLE / "alembic.ini")

    def upgrade(self, revision: str = "head") -> None:
        """Run the migrations up to a revision."""
        command.upgrade(self._config, revision)

    def stamp(self, revision: str) -> None:
        """Note that a revision is there."""
        command.stamp(self._config, revision)

    def downgrade(self, revision: str) -> None:
        """Run the migrations back to a revision."""
        command.downgrade(self._config, revision)

    def cancel(self, job_id: str) -> None:
        """Cancel a new job."""
        self.rows.execute("INSERT INTO batch_jobs (id, status) VALUES (%s, 'running')", (job_id,))
        cancel_rows(job_id, uow=PostgresUnitOfWork(lambda: psycopg.connect(self._dsn)))

    def records(self) -> list[str]:
        """Return the jobs whose cancellation is recorded."""
        select = "SELECT batch_job_id FROM batch_cancellations ORDER BY cancelled_at"
        return [job_id for (job_id,) in self.rows.execute(select)]

    def shape(self) -> set[tuple[Any, ...]]:
        """Return the shape of our tables."""
        [name] = self.rows.execute("SELECT current_schema()").fetchone() or [""]
        return shape(self.rows, str(name))

    @contextmanager
    def compared(self) -> Generator[tuple[MigrationContext, sa.MetaData]]:
        """Yield what Alembic compares the metadata of SQLAlchemy with, for our tables alone."""
        metadata = sa.MetaData()
        cancellations_table(metadata)
        engine = data_layers.postgres_engine(self._dsn)
        with engine.begin() as connection:
            yield MigrationContext.configure(connection, opts={"include_name": is_ours}), metadata
        engine.dispose()

    def missing(self) -> list[str]:
        """Return what Alembic's autogenerate would do to our tables."""
        with self.compared() as (context, metadata):
            found: list[Any] = compare_metadata(context, metadata)
            return [it[0] for it in found]


def is_ours(name: str | None, kind: str, parents: object) -> bool:
    """Check whether a name in the database is one of our tables."""
    return kind != "table" or str(name).startswith("batch_cancellations")


@pytest.fixture
def database(postgres_schema: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """Yield a database with tables of jobs and contacts."""
    url = as_url(postgres_schema).replace("postgresql://", "postgresql+psycopg://")
    monkeypatch.setenv("DATABASE_URL", url)
    with psycopg.connect(postgres_schema, autocommit=True) as rows:
        create_reference_tables(rows)
        rows.execute("DROP TABLE batch_cancellations, batch_cancellations_earlier")
        yield Database(postgres_schema, rows)


@pytest.mark.parametrize("is_stamped", [True, False])
def test_the_tables_of_0_1_are_upgraded(database: Database, *, is_stamped: bool) -> None:
    """Whether a migration created them or not; cancels succeed before, between and after."""
    database.upgrade()
    current = database.shape()
    database.downgrade("base")
    database.rows.execute("DROP TABLE batch_contacts, batch_jobs")
    create_released_tables(database.rows)
    database.cancel("before")
    assert sorted(database.missing()) == ["add_column", *["add_index"] * 3, "add_table"]
    if is_stamped:
        database.stamp("batch_cancel")
    else:
        database.upgrade("batch_cancel")
    database.cancel("between")
    database.upgrade()
    database.cancel("after")
    assert database.shape() == current
    assert database.missing() == []
    assert database.records() == ["before", "between", "after"]


def test_new_tables_are_the_current_ones(database: Database) -> None:
    """The second migration finds nothing to do, and its way back leaves the tables alone."""
    database.upgrade()
    current = database.shape()
    database.cancel("job")
    database.downgrade("batch_cancel")
    assert (database.shape(), database.records()) == (current, ["job"])
    database.rows.execute("DROP TABLE batch_cancellations, batch_cancellations_earlier")
    database.rows.execute(table_ddl(PostgresSchema()).encode())
    assert database.shape() == current


def test_the_way_back_to_nothing_drops_the_tables(database: Database) -> None:
    """And the way up creates them again."""
    database.upgrade()
    database.downgrade("base")
    assert database.shape() == set()
    database.upgrade()
    database.cancel("job")
    assert database.records() == ["job"]


@pytest.mark.parametrize("names", ["'order'", "('au dit', 'it\"s: 100 %')"])
def test_tables_under_ones_own_names(
    database: Database, names: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The migrations need no other change than the schema, on the way back either."""
    folder = Path(shutil.copytree(EXAMPLE, tmp_path / "theirs"))
    for file in (folder / "versions").glob("*.py"):
        own = f"PostgresSchema(cancellations={names})"
        file.write_text(file.read_text("utf-8").replace("PostgresSchema()", own), "utf-8")
    monkeypatch.setattr(database, "_config", Config(folder / "alembic.ini"))
    theirs = "SELECT oid FROM pg_class WHERE relname ~ '^(order|it.s: 100 %)'"
    database.rows.execute('CREATE SCHEMA "au dit"')
    try:
        database.upgrade()
        assert len(database.rows.execute(theirs.encode()).fetchall()) == 2 + 4 + 2
        assert database.shape() == set()
        database.downgrade("base")
        assert database.rows.execute(theirs.encode()).fetchall() == []
    finally:
        database.rows.execute('DROP SCHEMA "au dit" CASCADE')


def test_what_autogenerate_writes_runs(database: Database) -> None:
    """With the one import that Alembic leaves out."""
    with database.compared() as (context, metadata):
        operations = produce_migrations(context, metadata).upgrade_ops
        assert operations is not None
        code = (
            "import sqlalchemy as sa\n"
            "import batch_cancel.adapters.sqlalchemy.columns\n"
            f"def upgrade():\n{render_python_code(operations)}\n"
            "upgrade()"
        )
        exec(code, {"op": Operations(context)})  # noqa: S102  # Alembic wrote it.
    assert database.missing() == []
    database.cancel("job")
    assert database.records() == ["job"]
