"""Many contacts are added by COPY, and are the same as by INSERT."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from batch_cancel import append_contacts, append_contacts_async
from batch_cancel.adapters.postgres import (
    AsyncPostgresUnitOfWork,
    PostgresSchema,
    PostgresUnitOfWork,
    joining,
)
from batch_cancel.domain.errors import StoreFailed
from tests.integration.work_database import Database, database

__all__ = ["database"]

MANY = 1000
"""From so many contacts on, COPY is used."""

ODD = 'odd "name" %s {}'
TEXTS = ["plain", "a\ttab", "a\nline", "back\\slash", "\\N", "", "ünïcødé ☎", "'one'", "%s", None]
UUID_ = UUID("6b29fc40-ca47-1067-b31d-00dd010662da")


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return the COPY statements that are sent from now on."""
    sent: list[object] = []
    for kind in (psycopg.Cursor, psycopg.AsyncCursor):
        copy = kind.copy

        def noted(self: Any, statement: Any, *rest: Any, copy: Any = copy) -> Any:
            sent.append(statement)
            return copy(self, statement, *rest)

        monkeypatch.setattr(kind, "copy", noted)
    return sent


def contacts(number: int, text: str | None) -> list[dict[str, object]]:
    """Return contacts with a value of each type that COPY takes."""
    return [{ODD: text, "number": it, "token": UUID_} for it in range(number)]


@pytest.fixture
def odd(database: Database) -> Database:
    """Yield tables whose contacts have more columns."""
    database.seed("running")
    database.connection.execute(
        sql.SQL(
            "ALTER TABLE batch_contacts ADD {} text DEFAULT 'none', ADD number int, "
            "ADD token uuid, ADD version int"
        ).format(sql.Identifier(ODD))
    )
    return database


def added(odd: Database) -> list[Any]:
    """Return what was added, and take it away."""
    query = sql.SQL(
        "DELETE FROM batch_contacts RETURNING batch_job_id, status, version, number, token, {}"
    )
    return sorted(odd.connection.execute(query.format(sql.Identifier(ODD))).fetchall(), key=repr)


@pytest.mark.parametrize("text", TEXTS)
def test_what_copy_writes_is_what_insert_writes(
    odd: Database, copies: list[object], text: str | None
) -> None:
    """Value by value; all but the ids, which the table makes."""
    schema = PostgresSchema(contact_version="version")
    uow = PostgresUnitOfWork(lambda: psycopg.connect(odd.dsn), schema)
    assert append_contacts("j", contacts(MANY, text), uow=uow) == MANY
    assert len(copies) == 1
    by_copy = added(odd)
    for some in range(0, MANY, 500):
        append_contacts("j", contacts(MANY, text)[some : some + 500], uow=uow)
    assert len(copies) == 1
    assert by_copy == added(odd)
    assert sorted(row[3] for row in by_copy) == [*range(MANY)]
    assert {row[:3] for row in by_copy} == {("j", "pending", 1)}


def test_asyncio_copies_too(odd: Database, copies: list[object]) -> None:
    """The same for the asyncio half."""
    uow = AsyncPostgresUnitOfWork(lambda: psycopg.AsyncConnection.connect(odd.dsn))
    assert asyncio.run(append_contacts_async("j", contacts(MANY, "a"), uow=uow)) == MANY
    assert (len(copies), len(added(odd))) == (1, MANY)


def test_it_belongs_to_the_callers_transaction(odd: Database, copies: list[object]) -> None:
    """Its rollback takes the contacts away."""
    with psycopg.connect(odd.dsn) as connection:
        append_contacts("j", contacts(MANY, "a"), uow=joining(connection))
        connection.rollback()
    assert len(copies) == 1
    assert added(odd) == []


@pytest.mark.parametrize(
    "value", [datetime(2026, 1, 1, tzinfo=UTC), 1.5, True, b"bytes", ["a"]], ids=repr
)
def test_a_value_that_copy_might_read_otherwise_is_inserted(
    odd: Database, copies: list[object], value: object
) -> None:
    """For a time with a zone, COPY into a column without one would drop the zone."""
    odd.connection.execute(b"ALTER TABLE batch_contacts ADD given text")
    kinds: dict[type, str] = {list: "text[]", bytes: "bytea", datetime: "timestamp"}
    kind = kinds.get(type(value), "text")
    odd.connection.execute(
        f"ALTER TABLE batch_contacts ALTER given TYPE {kind} USING NULL".encode()
    )
    rows: list[dict[str, object]] = [{"given": value}] * MANY
    with suppress(StoreFailed):  # As for one contact: a text column takes no boolean.
        append_contacts("j", rows, uow=PostgresUnitOfWork(lambda: psycopg.connect(odd.dsn)))
    assert copies == []


def test_a_value_that_the_column_refuses_is_not_shown(odd: Database) -> None:
    """It may be a phone number; nothing is added."""
    rows = contacts(MANY, "a")
    rows[-1]["number"] = "+1 555 0100"
    with pytest.raises(StoreFailed) as failure:
        append_contacts("j", rows, uow=PostgresUnitOfWork(lambda: psycopg.connect(odd.dsn)))
    assert "555" not in str(failure.value)
    assert "refused a contact" in str(failure.value)
    assert added(odd) == []


def test_where_a_trigger_watches_contacts_they_are_inserted(
    odd: Database, copies: list[object]
) -> None:
    """Their ids are needed, to look at them afterwards."""
    odd.connection.execute(
        b"CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$;"
        b"CREATE TRIGGER keep BEFORE INSERT ON batch_contacts FOR EACH ROW EXECUTE FUNCTION keep()"
    )
    uow = PostgresUnitOfWork(lambda: psycopg.connect(odd.dsn))
    assert append_contacts("j", contacts(MANY, "a"), uow=uow) == MANY
    assert copies == []
