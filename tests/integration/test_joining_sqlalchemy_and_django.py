"""Cancelling within a transaction of SQLAlchemy's or Django's on Postgres."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import psycopg
import pytest
import sqlalchemy
import sqlalchemy.ext.asyncio
import sqlalchemy.orm

from batch_cancel import (
    cancel_rows,
    cancel_rows_async,
)
from batch_cancel.adapters.postgres import (
    joining,
    joining_async,
)
from tests.integration.joined_database import Database, database, engine_of

__all__ = ["database"]


@pytest.mark.parametrize("commits", [True, False], ids=["commit", "rollback"])
def test_sqlalchemy_core(database: Database, *, commits: bool) -> None:
    """SQLAlchemy sends no BEGIN until the first statement, and that is ours."""
    with engine_of(database.dsn).connect() as connection:
        transaction = connection.begin()
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        cancel_rows("job", uow=joining(driver))
        assert not database.is_cancelled()
        (transaction.commit if commits else transaction.rollback)()
    assert database.is_cancelled() is commits


@pytest.mark.parametrize("commits", [True, False], ids=["commit", "rollback"])
def test_sqlalchemy_session(database: Database, *, commits: bool) -> None:
    """The ORM's session, with a write of the caller's own after the cancel."""
    with sqlalchemy.orm.Session(engine_of(database.dsn)) as session:
        driver: Any = session.connection().connection.driver_connection
        cancel_rows("job", uow=joining(driver))
        session.execute(sqlalchemy.text("INSERT INTO notes VALUES ('mine')"))
        assert not database.is_cancelled()
        (session.commit if commits else session.rollback)()
    assert database.is_cancelled() is commits
    assert database.notes == (["mine"] if commits else [])


@pytest.mark.parametrize("commits", [True, False], ids=["commit", "rollback"])
def test_sqlalchemy_asyncio(database: Database, *, commits: bool) -> None:
    """The asyncio session."""

    async def main() -> None:
        engine = sqlalchemy.ext.asyncio.create_async_engine(
            "postgresql+psycopg://",
            async_creator=lambda: psycopg.AsyncConnection.connect(database.dsn),
            poolclass=sqlalchemy.NullPool,
        )
        async with sqlalchemy.ext.asyncio.AsyncSession(engine) as session:
            raw = await (await session.connection()).get_raw_connection()
            driver: Any = raw.driver_connection
            await cancel_rows_async("job", uow=joining_async(driver))
            assert not database.is_cancelled()
            await (session.commit() if commits else session.rollback())
        await engine.dispose()

    asyncio.run(main())
    assert database.is_cancelled() is commits


DJANGO = """
import sys
import django
from django.conf import settings
from django.db import connection, transaction
from psycopg.conninfo import conninfo_to_dict
from batch_cancel import cancel_rows
from batch_cancel.adapters.postgres import joining

dsn, commits = sys.argv[1], sys.argv[2] == "commit"
options = conninfo_to_dict(dsn)
settings.configure(DATABASES={"default": {
    "ENGINE": "django.db.backends.postgresql",
    "HOST": options.pop("host"), "PORT": options.pop("port"), "USER": options.pop("user"),
    "NAME": options.pop("dbname"), "OPTIONS": options,
}})
django.setup()
try:
    with transaction.atomic():
        connection.ensure_connection()
        cancel_rows("job", uow=joining(connection.connection))
        if not commits:
            raise InterruptedError
except InterruptedError:
    pass
connection.close()
"""


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_django_atomic(database: Database, ending: str) -> None:
    """`atomic()` begins lazily as well; in a process of its own, since Django is set up once."""
    subprocess.run(
        [sys.executable, "-W", "error", "-c", DJANGO, database.dsn, ending],
        check=True,
        timeout=60,
    )
    assert database.is_cancelled() is (ending == "commit")
