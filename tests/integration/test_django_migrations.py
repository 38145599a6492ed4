"""The library's tables by Django's `migrate`, on Postgres and elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from batch_cancel import CancelFailed, cancel_rows
from batch_cancel.cli import urls
from tests.integration.django_app import checked, site_on

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import PostgresServer

OURS = "('batch_cancellations', 'batch_cancellations_earlier')"


def migrate(*arguments: str) -> None:
    """Migrate our app alone."""
    from django.core.management import call_command

    call_command("migrate", "batch_cancel", *arguments, verbosity=0)


def catalog(dsn: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return what Postgres' catalogs hold of our tables."""
    here = "relnamespace = current_schema()::regnamespace"
    tables = f"(SELECT oid FROM pg_class WHERE relname IN {OURS} AND {here})"
    asked = {
        "tables": f"SELECT relname, relkind, relpersistence FROM pg_class WHERE oid IN {tables}",
        "columns": "SELECT attrelid::regclass::text, attnum, attname, "
        "format_type(atttypid, atttypmod), attnotnull, atthasdef, attidentity FROM pg_attribute "
        f"WHERE attnum > 0 AND attrelid IN {tables}",
        "constraints": "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) "
        f"FROM pg_constraint WHERE conrelid IN {tables}",
        "indexes": "SELECT indexrelid::regclass::text, indisunique, "
        "pg_get_indexdef(indexrelid, 0, true) FROM pg_index "
        f"WHERE indrelid IN {tables}",
    }
    with psycopg.connect(dsn) as connection:
        schema = connection.execute("SELECT current_schema()").fetchone()
        assert schema is not None
        return {
            what: sorted(
                tuple(it.replace(f"{schema[0]}.", "") if isinstance(it, str) else it for it in row)
                for row in connection.execute(query.encode())
            )
            for what, query in asked.items()
        }


def test_migrate_creates_what_the_command_prints(postgres_server: PostgresServer) -> None:
    """Table by table, column by column, index by index."""
    with postgres_server.schema() as printed, postgres_server.schema() as migrated:
        with psycopg.connect(printed) as connection:
            connection.execute(urls.ddl(None, None, reference=False, guards=False).encode())
        with site_on(migrated):
            migrate()
        expected = catalog(printed)
        assert [len(expected[it]) for it in ("tables", "columns", "indexes")] == [2, 24, 6]
        assert "PRIMARY KEY" in str(expected["constraints"])
        assert catalog(migrated) == expected


def test_tables_that_are_there_stay(postgres_schema: str) -> None:
    """With their records: who has created them by the command migrates as others do."""
    with site_on(postgres_schema), psycopg.connect(postgres_schema, autocommit=True) as rows:
        rows.execute(urls.ddl(None, None, reference=False, guards=False).encode())
        rows.execute(
            "INSERT INTO batch_cancellations VALUES "
            "('', 'job', 'op', 'running', 1, NULL, NULL, now(), NULL, 'absent', true, now())"
        )
        migrate()
        from batch_cancel.adapters.django.models import Cancellation

        assert [it.batch_job_id for it in Cancellation.objects.all()] == ["job"]
        migrate("zero")
        assert rows.execute("SELECT to_regclass('batch_cancellations')").fetchone() == (None,)


def test_on_another_database_nothing_is_created_and_a_cancel_is_refused(tmp_path: Path) -> None:
    """With a sentence that says what to do."""
    from django.db import connections

    from batch_cancel.adapters.django import DjangoUnitOfWork

    with site_on("host=none port=1 user=ann dbname=app"):
        known: Any = connections.settings
        other = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "site.sqlite")}
        known["default"] |= {**other, "OPTIONS": {}}
        migrate()
        names = connections["default"].introspection.table_names()
        assert "django_migrations" in names
        assert "batch_cancellations" not in names
        with pytest.raises(CancelFailed, match=r"SqlAlchemyUnitOfWork .* or name another"):
            cancel_rows("job", uow=DjangoUnitOfWork())
        [found] = checked(database="default")
        assert "does not use Postgres by psycopg 3, but sqlite by" in found


def test_tables_that_are_not_migrated_are_named(postgres_schema: str) -> None:
    """As warnings: an error would keep `migrate` from creating them."""
    from django.core.management import call_command

    with site_on(postgres_schema):
        assert checked() == []
        found = " ".join(checked(database="default"))
        assert "batch_cancel.W002" in found
        assert "batch_cancellations" in found
        assert "campaign" in found
        call_command("migrate", run_syncdb=True, verbosity=0, skip_checks=False)
        assert checked(database="default") == []
