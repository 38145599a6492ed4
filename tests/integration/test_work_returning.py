"""Columns of claimed contacts on real tables: odd names, real types, and no value in an error."""

from __future__ import annotations

import logging
import sqlite3
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import sql

from batch_cancel import StoreFailed, append_contacts, claim_contacts
from batch_cancel.adapters.postgres import PostgresUnitOfWork, joining
from batch_cancel.adapters.sqlalchemy import SqlAlchemyTables, SqlAlchemyUnitOfWork
from batch_cancel.adapters.sqlite import SqliteStore
from tests import data_layers
from tests.pairs import create_reference_tables

PHONE = "+49301234567"
NAME = 'the "odd" %s; name'
AT = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
KEY = "6b29fc40-ca47-1067-b31d-00dd010662da"


@pytest.fixture
def rows(postgres_schema: str) -> Iterator[psycopg.Connection[Any]]:
    """Yield a connection to tables with two contacts of a running job, and columns of ours."""
    with psycopg.connect(postgres_schema, autocommit=True) as connection:
        create_reference_tables(connection)
        connection.execute(
            sql.SQL(
                "ALTER TABLE batch_contacts ADD phone text, ADD key uuid, ADD facts jsonb, "
                "ADD at timestamptz, ADD {} integer"
            ).format(sql.Identifier(NAME))
        )
        connection.execute("INSERT INTO batch_jobs (id, status) VALUES ('j', 'running')")
        for phone, number in ((PHONE, 1), (f"{PHONE}2", 2)):
            connection.execute(
                "INSERT INTO batch_contacts VALUES "
                "(DEFAULT, 'j', 'pending', NULL, now(), %s, %s, '{\"a\": 1}', %s, %s)",
                [phone, KEY, AT, number],
            )
        yield connection


@pytest.fixture(params=["psycopg", "joined", "sqlalchemy"])
def uow(
    rows: psycopg.Connection[Any], postgres_schema: str, request: pytest.FixtureRequest
) -> Iterator[Any]:
    """Yield each store on these tables."""
    if request.param == "psycopg":
        yield PostgresUnitOfWork(lambda: psycopg.connect(postgres_schema))
    elif request.param == "joined":
        with psycopg.connect(postgres_schema) as caller:
            yield joining(caller)
    else:
        engine = data_layers.postgres_engine(postgres_schema)
        try:
            metadata = sa.MetaData()
            contacts = sa.Table("batch_contacts", metadata, autoload_with=engine)
            yield SqlAlchemyUnitOfWork(
                engine,
                SqlAlchemyTables(
                    jobs=data_layers.JOBS,
                    contacts=contacts,
                    cancellations=data_layers.TABLES.cancellations,
                ),
            )
        finally:
            engine.dispose()
    assert rows.execute("SELECT 1").fetchone() == (1,)


def test_columns_of_any_name_and_type_are_read(uow: Any) -> None:
    """Names are quoted, values are those that the driver makes; as they are after the claim."""
    asked = ("phone", NAME, "key", "facts", "at", "status", "id")
    claimed = claim_contacts("j", uow=uow, limit=9, returning=asked)
    rest = {"key": UUID(KEY), "facts": {"a": 1}, "at": AT, "status": "dialing"}
    assert claimed.rows == (
        {"phone": PHONE, NAME: 1, **rest, "id": int(claimed[0])},
        {"phone": f"{PHONE}2", NAME: 2, **rest, "id": int(claimed[1])},
    )


def test_an_unknown_column_is_named_and_no_value_is_shown(
    uow: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither in the error and its causes, nor in a log; nothing is claimed."""
    caplog.set_level(logging.DEBUG)
    for missing in ("phon", 'phone"', "PHONE", "phone, id"):
        with pytest.raises(StoreFailed, match="returning names a column that") as refused:
            claim_contacts("j", uow=uow, limit=9, returning=("phone", missing))
        shown = "".join(traceback.format_exception(refused.value))
        assert repr(missing) in refused.value.reason
        assert PHONE not in shown + caplog.text
    assert len(claim_contacts("j", uow=uow, limit=9)) == 2


def test_another_organizations_job_is_over(uow: Any) -> None:
    """Just as a missing one, whatever its contacts do."""
    assert len(claim_contacts("j", uow=uow, limit=1)) == 1
    for named in ({"organization_id": "evil"}, {"organization_id": "j"}):
        assert claim_contacts("j", uow=uow, limit=9, **named).is_over is True
    assert claim_contacts("missing", uow=uow, limit=9).is_over is True
    assert len(claim_contacts("j", uow=uow, limit=1)) == 1
    assert claim_contacts("j", uow=uow, limit=9).is_over is False


def test_a_missing_column_of_the_schema_is_not_blamed_on_returning(
    rows: psycopg.Connection[Any], postgres_schema: str
) -> None:
    """The sentence of the schema is kept."""
    rows.execute("ALTER TABLE batch_contacts RENAME next_attempt_at TO due_at")
    uow = PostgresUnitOfWork(lambda: psycopg.connect(postgres_schema))
    with pytest.raises(StoreFailed, match=r"map your column's name with PostgresSchema"):
        claim_contacts("j", uow=uow, limit=9, returning=("phone",))


def test_a_sqlite_file_keeps_columns_of_yours(tmp_path: Path) -> None:
    """Those that its table has; a text in quotes is never read instead of a column."""
    path = tmp_path / "jobs.sqlite"
    store = SqliteStore(path)
    store.add_job("j", "running")
    change: Callable[[str], object]
    with closing(sqlite3.connect(path)) as connection:
        change = connection.execute
        change(f'ALTER TABLE batch_contacts ADD COLUMN "{NAME.replace(chr(34), chr(34) * 2)}"')
        change("ALTER TABLE batch_contacts ADD COLUMN twice AS (id || id)")
        connection.commit()
    append_contacts(
        "j", [{"id": "b", NAME: PHONE, "twice": "x"}, {"id": "a", "other": 1}], uow=store
    )
    for missing in ("phone", "NAME", "rowid"):
        with pytest.raises(StoreFailed, match=f"do not have: '{missing}'"):
            claim_contacts("j", uow=store, limit=9, returning=(missing,))
    claimed = claim_contacts("j", uow=store, limit=9, returning=(NAME, "twice", "status"))
    assert dict(zip(claimed, claimed.rows, strict=True)) == {
        "a": {NAME: None, "twice": "aa", "status": "dialing"},
        "b": {NAME: PHONE, "twice": "bb", "status": "dialing"},
    }
    assert store.check() == []
