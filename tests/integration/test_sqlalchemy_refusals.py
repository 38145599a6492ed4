"""
Tables on which a key may be that of several jobs or contacts are refused by SQLAlchemy's store.

By what the database says, not by what the metadata says; by every step, in whatever transaction,
with nothing changed, and only as long as it is so.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError

from batch_cancel import CancelFailed
from batch_cancel.adapters.sqlalchemy import SqlAlchemyTables
from batch_cancel.domain.errors import StoreFailed
from tests import data_layers
from tests.data_layers import DRIVERS, Layer
from tests.integration.test_sqlalchemy_keys import (
    BY_KEY,
    BY_ORGANIZATION,
    PLAIN,
    STEPS,
    UNIQUE,
    WRITING,
    add_job,
    create,
    create_distinct,
    dump,
    take,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers import PostgresServer


@pytest.fixture(params=DRIVERS)
def layer(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, tmp_path: Path
) -> Iterator[Layer]:
    """Yield an empty database by each driver in turn."""
    with data_layers.layer(request.param, postgres_server, tmp_path) as lent:
        yield lent


NO_INDEX: tuple[str, ...] = ()
WRONG: dict[str, tuple[SqlAlchemyTables, tuple[str, ...], str]] = {
    "nothing is unique": (BY_ORGANIZATION, NO_INDEX, "'id' of .* is not known to be unique: "),
    "contacts have no organization": (
        PLAIN,
        ("CREATE UNIQUE INDEX jobs_key ON jobs (organization_id, id)",),
        "map their organization with contact_organization_id",
    ),
    "a partial index": (
        BY_KEY,
        ("CREATE UNIQUE INDEX jobs_key ON jobs (pk) WHERE status <> 'completed'",),
        "'pk' of .* is not known to be unique: ",
    ),
    "an index of an expression": (
        BY_KEY,
        ("CREATE UNIQUE INDEX jobs_key ON jobs ((pk + 0))",),
        "'pk' of .* is not known to be unique: ",
    ),
    "an index that is not unique": (
        BY_KEY,
        ("CREATE INDEX jobs_key ON jobs (pk)",),
        "'pk' of .* is not known to be unique: ",
    ),
    "an index of more": (
        BY_KEY,
        ("CREATE UNIQUE INDEX jobs_key ON jobs (pk, status)",),
        "'pk' of .* is not known to be unique: ",
    ),
}


REFUSED = [
    *(("nothing is unique", step, joined) for step in STEPS for joined in (False, True)),
    *((wrong, step, False) for wrong in list(WRONG)[1:] for step in ("cancel_rows", "inspect")),
]


@pytest.mark.parametrize(("wrong", "step", "joined"), REFUSED)
def test_a_key_that_may_be_that_of_several_jobs_is_refused(
    layer: Layer, wrong: str, step: str, *, joined: bool
) -> None:
    """By every step that touches contacts, in whatever transaction, with nothing changed."""
    kind, indexes, message = WRONG[wrong]
    create(layer, *indexes, "CREATE UNIQUE INDEX c ON contacts (organization_id, job_pk, id)")
    before = dump(layer)
    with pytest.raises((CancelFailed, StoreFailed), match=message) as failure:
        take(layer, step, kind, joined=joined)
    assert isinstance(failure.value, CancelFailed | StoreFailed)
    assert (failure.value.outcome, failure.value.retryable) == ("unchanged", False)
    assert dump(layer) == before


@pytest.mark.parametrize("step", ["claim_contacts", "settle_contact", "expire_calls"])
def test_an_id_that_may_be_that_of_several_contacts_is_refused(layer: Layer, step: str) -> None:
    """By the steps that name contacts by their ids; a cancel does not."""
    create(layer, UNIQUE["by organization"][1])
    before = dump(layer)
    with pytest.raises(StoreFailed, match="is not known to be unique within a job"):
        take(layer, step, BY_ORGANIZATION)
    assert dump(layer) == before
    assert take(layer, "cancel_rows", BY_ORGANIZATION).record.contacts_cancelled == 2
    # What is known by now answers the one question, and not the other.
    with pytest.raises(StoreFailed, match="is not known to be unique within a job"):
        take(layer, step, BY_ORGANIZATION)


@pytest.mark.parametrize("layer", ["psycopg", "asyncpg"], indirect=True)
def test_an_index_that_was_not_built_to_its_end_is_refused(layer: Layer) -> None:
    """CREATE INDEX CONCURRENTLY leaves one that is not valid."""
    create(layer, "INSERT INTO jobs VALUES (0, 'twin', 'a', 'pending')")
    with layer.engine.connect() as connection, suppress(IntegrityError):
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql("CREATE UNIQUE INDEX CONCURRENTLY jobs_key ON jobs (pk)")
    layer.execute("DELETE FROM jobs WHERE id = 'twin'")
    with pytest.raises(CancelFailed, match=r"'pk' of .* is not known to be unique: "):
        take(layer, "cancel_rows", BY_KEY)
    layer.execute("REINDEX INDEX jobs_key")
    # A repaired table works at once.
    assert take(layer, "cancel_rows", BY_KEY).record.contacts_cancelled == 2


@pytest.mark.parametrize("layer", ["pysqlite", "aiosqlite"], indirect=True)
def test_an_index_that_distinguishes_more_than_the_column_is_refused(layer: Layer) -> None:
    """'JOB' and 'job' are one to a column without case, two to an index with case."""
    layer.execute(
        "CREATE TABLE jobs (pk, id text COLLATE nocase, organization_id text, status text)",
        "CREATE UNIQUE INDEX jobs_key ON jobs (id COLLATE binary)",
        "CREATE TABLE contacts (id text PRIMARY KEY, organization_id, "
        "batch_job_id text COLLATE nocase, job_pk, status text, updated_at timestamp)",
    )
    PLAIN.cancellations.create(layer.engine)
    add_job(layer, 0, "a")
    with pytest.raises(CancelFailed, match=r"'id' of .* is not known to be unique: "):
        take(layer, "cancel_rows", PLAIN)
    layer.execute("DROP INDEX jobs_key", "CREATE UNIQUE INDEX jobs_key ON jobs (id)")
    assert take(layer, "cancel_rows", PLAIN).record.contacts_cancelled == 2


@pytest.mark.parametrize("layer", ["pysqlite", "aiosqlite"], indirect=True)
def test_a_rowid_is_a_key(layer: Layer) -> None:
    """INTEGER PRIMARY KEY has no index that could be found."""
    layer.execute(
        "CREATE TABLE jobs (pk INTEGER PRIMARY KEY, id text, organization_id text, status text)",
        "CREATE TABLE contacts (id text, organization_id text, batch_job_id text, job_pk integer, "
        "status text, updated_at timestamp, PRIMARY KEY (job_pk, id)) WITHOUT ROWID",
    )
    PLAIN.cancellations.create(layer.engine)
    add_job(layer, 7, "a")
    assert take(layer, "claim_contacts", BY_KEY) == ["c1"]


def test_a_job_of_no_organization_needs_an_index_that_sees_nulls(layer: Layer) -> None:
    """To most unique indexes, two NULLs are different."""
    kind, *indexes = UNIQUE["by organization"]
    create(layer, *indexes, is_not_null=False)
    layer.execute("UPDATE jobs SET organization_id = NULL WHERE organization_id = 'a'")
    with pytest.raises(CancelFailed, match="takes NULLs for different values"):
        take(layer, "cancel_rows", kind, organization_id=None)
    with pytest.raises(StoreFailed, match="takes NULLs for different values"):
        take(layer, "preview_job", kind, organization_id=None)
    assert take(layer, "preview_job", kind, organization_id="b").refusal is None
    assert take(layer, "cancel_rows", kind, organization_id="b").record.contacts_cancelled == 2


@pytest.mark.parametrize("layer", ["psycopg", "asyncpg"], indirect=True)
@pytest.mark.parametrize("joined", [False, True], ids=["own", "joined"])
def test_a_view_needs_a_word_of_the_adopters(layer: Layer, *, joined: bool) -> None:
    """Nobody can see what is unique in it."""
    create_distinct(layer)
    layer.execute("ALTER TABLE jobs RENAME TO all_jobs", "CREATE VIEW jobs AS TABLE all_jobs")
    with pytest.raises(CancelFailed, match="declare that it is unique with keys_are_unique=True"):
        take(layer, "cancel_rows", PLAIN, joined=joined)
    vouched = attrs.evolve(PLAIN, keys_are_unique=True)
    assert take(layer, "cancel_rows", vouched, joined=joined).record.contacts_cancelled == 2


@pytest.mark.parametrize("layer", ["pysqlite", "aiosqlite"], indirect=True)
@pytest.mark.parametrize("step", WRITING)
def test_an_id_of_several_jobs_of_one_organization_is_refused(layer: Layer, step: str) -> None:
    """SQLite would take the first; their keys differ, so each has contacts of its own."""
    create(layer, *UNIQUE["by key"][1:])
    layer.execute("INSERT INTO jobs VALUES (5, 'job', 'a', 'running')")
    before = dump(layer)
    with pytest.raises((CancelFailed, StoreFailed), match="has several jobs of this id"):
        take(layer, step, BY_KEY)
    assert dump(layer) == before


@pytest.mark.parametrize("step", ["start_job", *WRITING])
def test_an_id_of_several_jobs_is_refused_by_every_driver(layer: Layer, step: str) -> None:
    """A subquery of two rows, or a second row that was changed."""
    create(layer, *UNIQUE["by key"][1:])
    layer.execute("INSERT INTO jobs VALUES (5, 'job', 'a', 'running')")
    if step == "start_job":
        layer.execute("UPDATE jobs SET status = 'pending'")
    before = dump(layer)
    with pytest.raises((CancelFailed, StoreFailed)):
        take(layer, step, BY_KEY)
    assert dump(layer) == before


def test_what_is_right_is_asked_once(layer: Layer) -> None:
    """A process that cancels all day does not read the catalog all day."""
    kind = attrs.evolve(BY_KEY)  # Nobody has asked for this one.
    create(layer, *UNIQUE["by key"][1:])
    asked: list[str] = []
    engine = layer.engine if layer.asyncio_engine is None else layer.asyncio_engine.sync_engine
    event.listen(engine, "before_cursor_execute", lambda *it: asked.append(it[2]))
    for joined in (False, True, False):
        take(layer, "finish_job", kind, joined=joined)
    questions = [it for it in asked if "pg_index" in it or "index_list" in it]
    assert len(questions) == (1 if layer.is_postgres else 2)  # There, one for each table.


@pytest.mark.parametrize("status", ["scheduled", "cancelled", "running"])
def test_inspect_names_no_job_that_is_not_one(layer: Layer, status: str) -> None:
    """Of two jobs of one name, none can be meant by it."""
    create(layer, *UNIQUE["by key"][1:])
    layer.execute(
        "INSERT INTO jobs VALUES (5, 'job', 'a', 'running')",
        "INSERT INTO contacts VALUES ('c1', 'a', 'job', 5, 'dialing', '2020-01-01')",
    )
    with layer.engine.begin() as connection:
        connection.execute(sa.update(PLAIN.jobs).values(status=status))
    with pytest.raises(StoreFailed, match="has several jobs of this id"):
        take(layer, "inspect", BY_KEY)
