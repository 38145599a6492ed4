"""
What SQLAlchemy's store finds of its own writes, where something else has a hand in them.

A trigger, a rule or a policy may undo a write, skip it, or make something else of it, at once or
as late as the commit. The step is then refused with a sentence that names them, nothing changed.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import attrs
import pytest
import sqlalchemy as sa
from sqlalchemy import event

from batch_cancel import CancelFailed, ContactStatus, cancel_rows
from batch_cancel.adapters.memory import AsyncMemoryScheduler, MemoryScheduler
from batch_cancel.adapters.sqlalchemy import joining
from batch_cancel.domain.errors import Fault, StoreFailed
from tests import data_layers
from tests.data_layers import CONTACTS, DRIVERS, JOBS, METADATA, TABLES, Layer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers import PostgresServer

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
JOINED = pytest.mark.parametrize("joined", [False, True], ids=["own", "joined"])
POSTGRES = ("psycopg", "asyncpg")
SQLITE = ("pysqlite", "aiosqlite")


@pytest.fixture(params=DRIVERS)
def layer(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, tmp_path: Path
) -> Iterator[Layer]:
    """Yield the reference tables with a running job of five contacts, by each driver in turn."""
    with data_layers.layer(request.param, postgres_server, tmp_path) as lent:
        METADATA.create_all(lent.engine)
        contacts = [
            {"id": it, "batch_job_id": "job", "status": status, "updated_at": LONG_AGO}
            for it, status in enumerate(["pending", "queued", "busy", "dialing", "failed"])
        ]
        with lent.engine.begin() as connection:
            connection.execute(sa.insert(JOBS).values(id="job", status="running"))
            connection.execute(sa.insert(CONTACTS), contacts)
        yield lent


def dump(layer: Layer) -> list[list[tuple[Any, ...]]]:
    """Return every row."""
    names = ("batch_jobs", "batch_contacts", "batch_cancellations")
    return [layer.rows(f"SELECT * FROM {it} ORDER BY 1") for it in names]  # Ours.


def refused(layer: Layer, step: str, *arguments: Any, **more: Any) -> StoreFailed | CancelFailed:
    """Find a step refused, with a sentence that says what to look for, and nothing changed."""
    before = dump(layer)
    with pytest.raises((CancelFailed, StoreFailed)) as failure:
        layer.call(step, *arguments, tables=TABLES, **more)
    assert dump(layer) == before
    assert isinstance(failure.value, CancelFailed | StoreFailed)
    assert failure.value.outcome == "unchanged"
    return failure.value


def trigger(layer: Layer, when: str, table: str, body: str, *, late: bool = False) -> None:
    """Make a trigger of Postgres; its name has what a driver may take for a parameter."""
    constraint, deferred = ("CONSTRAINT ", "DEFERRABLE INITIALLY DEFERRED") if late else ("", "")
    layer.execute(
        f"CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {body} END$$",
        f'CREATE {constraint}TRIGGER "meddles 100%s" {when} ON {table} {deferred} '
        "FOR EACH ROW EXECUTE FUNCTION meddle()",
    )


KEEP = "NEW.status := OLD.status; RETURN NEW;"
NORMALISE = "NEW.status := initcap(NEW.status); RETURN NEW;"
RESTORE = (
    "UPDATE {} SET status = OLD.status WHERE id = NEW.id AND status = 'cancelled'; RETURN NULL;"
)
REOPEN = "UPDATE batch_contacts SET status = 'pending' WHERE status = 'cancelled'; RETURN NULL;"
ADD = (
    "INSERT INTO batch_contacts (id, batch_job_id, status) VALUES (9, 'job', 'pending'); "
    "RETURN NULL;"
)
MEDDLING: dict[str, tuple[str, str, str, bool, Fault]] = {
    "keeps the job": ("BEFORE UPDATE", "batch_jobs", KEEP, False, Fault.REFUSED),
    "normalises the job": ("BEFORE UPDATE", "batch_jobs", NORMALISE, False, Fault.REFUSED),
    "skips the job": ("BEFORE UPDATE", "batch_jobs", "RETURN NULL;", False, Fault.REFUSED),
    "restores the job": (
        "AFTER UPDATE",
        "batch_jobs",
        RESTORE.format("batch_jobs"),
        False,
        Fault.REFUSED,
    ),
    "restores the job late": (
        "AFTER UPDATE",
        "batch_jobs",
        RESTORE.format("batch_jobs"),
        True,
        Fault.REFUSED,
    ),
    "keeps contacts": ("BEFORE UPDATE", "batch_contacts", KEEP, False, Fault.REFUSED),
    "normalises contacts": ("BEFORE UPDATE", "batch_contacts", NORMALISE, False, Fault.REFUSED),
    "skips some contacts": (
        "BEFORE UPDATE",
        "batch_contacts",
        "IF NEW.id < 2 THEN RETURN NULL; END IF; RETURN NEW;",
        False,
        Fault.INCOMPLETE,
    ),
    "restores contacts": (
        "AFTER UPDATE",
        "batch_contacts",
        RESTORE.format("batch_contacts"),
        False,
        Fault.INCOMPLETE,
    ),
    "spells contacts afterwards": (
        "AFTER UPDATE",
        "batch_contacts",
        "UPDATE batch_contacts SET status = 'Cancelled' WHERE status = 'cancelled'; RETURN NULL;",
        False,
        Fault.REFUSED,
    ),
    "reopens contacts with the job": (
        "AFTER UPDATE",
        "batch_jobs",
        REOPEN,
        False,
        Fault.INCOMPLETE,
    ),
    "adds a contact": ("AFTER UPDATE", "batch_jobs", ADD, False, Fault.INCOMPLETE),
    "adds a contact late": ("AFTER UPDATE", "batch_jobs", ADD, True, Fault.INCOMPLETE),
    "drops the record": (
        "BEFORE INSERT",
        "batch_cancellations",
        "RETURN NULL;",
        False,
        Fault.REFUSED,
    ),
    "changes the record": (
        "BEFORE INSERT",
        "batch_cancellations",
        "NEW.contacts_cancelled := 0; RETURN NEW;",
        False,
        Fault.REFUSED,
    ),
}


@JOINED
@pytest.mark.parametrize("layer", POSTGRES, indirect=True)
@pytest.mark.parametrize("meddling", MEDDLING)
def test_a_cancel_that_a_trigger_of_postgres_undoes_is_refused(
    layer: Layer, meddling: str, *, joined: bool
) -> None:
    """Whatever part of it, before, after, or as late as the commit."""
    when, table, body, late, fault = MEDDLING[meddling]
    trigger(layer, when, table, body, late=late)
    failure = refused(layer, "cancel_rows", "job", joined=joined)
    assert failure.fault is fault
    assert "a trigger, a rule or a policy" in str(failure) or "changed 0 rows" in str(failure)


@pytest.mark.parametrize("layer", POSTGRES, indirect=True)
def test_a_cancel_that_a_rule_swallows_is_refused(layer: Layer) -> None:
    """The contacts are seen, and not changed."""
    layer.execute("CREATE RULE r AS ON UPDATE TO batch_contacts DO INSTEAD NOTHING")
    assert refused(layer, "cancel_rows", "job").fault is Fault.INCOMPLETE


@pytest.mark.parametrize("layer", POSTGRES, indirect=True)
def test_contacts_that_a_policy_lets_be_seen_but_not_changed_are_refused(layer: Layer) -> None:
    """A SELECT policy may be wider than the one for UPDATE."""
    role = f"seer_{uuid4().hex}"
    [(schema,)] = layer.rows("SELECT quote_ident(current_schema)")
    layer.execute(
        "ALTER TABLE batch_contacts ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY s ON batch_contacts FOR SELECT USING (true)",
        "CREATE POLICY u ON batch_contacts FOR UPDATE USING (id NOT IN (0, 3))",
        f"CREATE ROLE {role}",
        f"GRANT ALL ON batch_jobs, batch_contacts, batch_cancellations TO {role}",
        f"GRANT USAGE ON SCHEMA {schema} TO {role}",
    )
    engine = layer.engine if layer.asyncio_engine is None else layer.asyncio_engine.sync_engine

    def become(connection: sa.Connection) -> None:
        connection.exec_driver_sql(f"SET LOCAL ROLE {role}")

    event.listen(engine, "begin", become)
    with pytest.raises(CancelFailed) as failure:
        layer.call("cancel_rows", "job", tables=TABLES)
    with pytest.raises(StoreFailed, match="are unchanged"):
        layer.call("expire_calls", "job", timedelta(hours=1), tables=TABLES)
    event.remove(engine, "begin", become)
    assert failure.value.fault is Fault.INCOMPLETE
    assert layer.rows("SELECT status FROM batch_jobs") == [("running",)]
    layer.execute(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@JOINED
@pytest.mark.parametrize("layer", POSTGRES, indirect=True)
def test_triggers_and_rules_that_only_look_on_are_no_hindrance(
    layer: Layer, *, joined: bool
) -> None:
    """An audit trigger, before, after or late, and a rule that writes a log beside."""
    layer.execute("CREATE TABLE log (id text)")
    note = "INSERT INTO log VALUES (NEW.id); RETURN NEW;"
    trigger(layer, "AFTER UPDATE", "batch_jobs", note, late=True)
    layer.execute(
        "CREATE TRIGGER audits AFTER UPDATE ON batch_contacts FOR EACH ROW "
        "EXECUTE FUNCTION meddle()",
        "CREATE RULE logs AS ON UPDATE TO batch_contacts DO ALSO INSERT INTO log VALUES (NEW.id)",
        "CREATE RULE more AS ON UPDATE TO batch_jobs DO ALSO INSERT INTO log VALUES (NEW.id)",
    )
    done = layer.call("cancel_rows", "job", tables=TABLES, joined=joined)
    assert done.record.contacts_cancelled == 3
    assert layer.rows("SELECT status FROM batch_jobs") == [("cancelled",)]


@pytest.mark.parametrize("layer", ["psycopg"], indirect=True)
def test_a_callers_late_triggers_stay_late(layer: Layer) -> None:
    """A joined cancel lets them run before its look, and then leaves them as they were."""
    layer.execute("CREATE TABLE log (id text)")
    note = "INSERT INTO log VALUES (NEW.id); RETURN NULL;"
    trigger(layer, "AFTER UPDATE", "batch_jobs", note, late=True)
    with layer.engine.begin() as connection:
        cancel_rows("job", uow=joining(connection, TABLES))
        assert connection.exec_driver_sql("SELECT count(*) FROM log").scalar_one() == 1
        connection.exec_driver_sql("UPDATE batch_jobs SET updated_at = now()")
        assert connection.exec_driver_sql("SELECT count(*) FROM log").scalar_one() == 1
    assert layer.rows("SELECT count(*) FROM log") == [(2,)]


SQLITE_MEDDLING = {
    "skips the job": "BEFORE UPDATE ON batch_jobs BEGIN SELECT RAISE(IGNORE); END",
    "restores the job": (
        "AFTER UPDATE OF status ON batch_jobs WHEN NEW.status = 'cancelled' BEGIN "
        "UPDATE batch_jobs SET status = OLD.status WHERE id = NEW.id; END"
    ),
    "skips some contacts": (
        "BEFORE UPDATE ON batch_contacts WHEN OLD.id < 2 BEGIN SELECT RAISE(IGNORE); END"
    ),
    "restores contacts": (
        "AFTER UPDATE OF status ON batch_contacts WHEN NEW.status = 'cancelled' BEGIN "
        "UPDATE batch_contacts SET status = OLD.status WHERE id = NEW.id; END"
    ),
    "spells contacts afterwards": (
        "AFTER UPDATE OF status ON batch_contacts WHEN NEW.status = 'cancelled' BEGIN "
        "UPDATE batch_contacts SET status = 'Cancelled' WHERE id = NEW.id; END"
    ),
    "adds a contact": (
        "AFTER UPDATE ON batch_jobs BEGIN "
        "INSERT INTO batch_contacts (batch_job_id, status) VALUES ('job', 'pending'); END"
    ),
    "drops the record": "BEFORE INSERT ON batch_cancellations BEGIN SELECT RAISE(IGNORE); END",
}


@JOINED
@pytest.mark.parametrize("layer", SQLITE, indirect=True)
@pytest.mark.parametrize("meddling", SQLITE_MEDDLING)
def test_a_cancel_that_a_trigger_of_sqlite_undoes_is_refused(
    layer: Layer, meddling: str, *, joined: bool
) -> None:
    """SQLite's triggers can't change a row on its way, but skip it, or change it afterwards."""
    layer.execute(f"CREATE TRIGGER meddles {SQLITE_MEDDLING[meddling]}")
    failure = refused(layer, "cancel_rows", "job", joined=joined)
    assert "a trigger" in str(failure)


# Workers -----------------------------------------------------------------------------------------

WORK: dict[str, tuple[str, tuple[Any, ...]]] = {
    "start_job": ("batch_jobs", ("job",)),
    "finish_job": ("batch_jobs", ("job",)),
    "claim_contacts": ("batch_contacts", ("job",)),
    "settle_contact": ("batch_contacts", ("job", "3", ContactStatus.COMPLETED)),
    "append_contacts": ("batch_contacts", ("job", [{"id": 9}])),
    "expire_calls": ("batch_contacts", ("job", timedelta(hours=1))),
}


ODD = "UPDATE {} SET status = 'odd' WHERE id = NEW.id AND status <> 'odd';"


def prepare(layer: Layer, step: str) -> dict[str, Any]:
    """Make the job one for which the step has something to do."""
    if step == "start_job":
        layer.execute("UPDATE batch_jobs SET status = 'pending'")
    if step == "finish_job":
        layer.execute("UPDATE batch_contacts SET status = 'failed'")
    return {"limit": 9} if step == "claim_contacts" else {}


@JOINED
@pytest.mark.parametrize("layer", POSTGRES, indirect=True)
@pytest.mark.parametrize("when", ["skips", "before", "after", "late"])
@pytest.mark.parametrize("step", WORK)
def test_a_workers_step_that_postgres_writes_otherwise_is_refused(
    layer: Layer, step: str, when: str, *, joined: bool
) -> None:
    """A worker that is told of a row which was not written would dial, or wait, for nothing."""
    table, arguments = WORK[step]
    more = prepare(layer, step)
    verb = "INSERT" if step == "append_contacts" else "UPDATE"
    if when == "skips":
        trigger(layer, f"BEFORE {verb}", table, "RETURN NULL;")
    elif when == "before":
        trigger(layer, f"BEFORE {verb}", table, "NEW.status := 'odd'; RETURN NEW;")
    else:
        body = ODD.format(table)
        trigger(layer, f"AFTER {verb}", table, f"{body} RETURN NULL;", late=when == "late")
    refused(layer, step, *arguments, joined=joined, **more)


@JOINED
@pytest.mark.parametrize("layer", SQLITE, indirect=True)
@pytest.mark.parametrize("when", ["skips", "restores"])
@pytest.mark.parametrize("step", WORK)
def test_a_workers_step_that_sqlite_writes_otherwise_is_refused(
    layer: Layer, step: str, when: str, *, joined: bool
) -> None:
    """The same; a row that was skipped is not taken for one that was not to be written."""
    table, arguments = WORK[step]
    more = prepare(layer, step)
    verb = "INSERT" if step == "append_contacts" else "UPDATE"
    if when == "restores":
        layer.execute(
            f"CREATE TRIGGER meddles AFTER {verb} ON {table} WHEN NEW.status <> 'odd' BEGIN "
            f"{ODD.format(table)} END"
        )
    else:
        layer.execute(
            f"CREATE TRIGGER meddles BEFORE {verb} ON {table} BEGIN SELECT RAISE(IGNORE); END"
        )
    refused(layer, step, *arguments, joined=joined, **more)


@pytest.mark.parametrize("step", WORK)
def test_workers_steps_beside_triggers_that_only_look_on(layer: Layer, step: str) -> None:
    """They do what they are to do."""
    layer.execute("CREATE TABLE log (id text)")
    table, arguments = WORK[step]
    more = prepare(layer, step)
    verb = "INSERT" if step == "append_contacts" else "UPDATE"
    if layer.is_postgres:
        trigger(layer, f"AFTER {verb}", table, "INSERT INTO log VALUES (NEW.id); RETURN NULL;")
    else:
        note = "BEGIN INSERT INTO log VALUES (NEW.id); END"
        layer.execute(f"CREATE TRIGGER notes AFTER {verb} ON {table} {note}")
    answer = layer.call(step, *arguments, tables=TABLES, **more)
    assert answer in (True, ["0", "1", "2"], ContactStatus.COMPLETED, 1)
    assert layer.rows("SELECT count(*) FROM log") != [(0,)]


# Round trips -------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", POSTGRES, indirect=True)
@pytest.mark.parametrize(
    ("status", "deferred_id", "statements"),
    [("running", None, 8), ("running", "s", 11), ("scheduled", "s", 11)],
)
def test_a_cancel_takes_no_more_statements_than_it_needs(
    layer: Layer, status: str, deferred_id: str | None, statements: int
) -> None:
    """Each is a round trip; with BEGIN and COMMIT, and another such pair for the removal."""
    layer.execute(
        "INSERT INTO batch_jobs (id, status, scheduled_job_id) VALUES ('first', 'pending', 's')",
    )
    given = {"status": status, "scheduled_job_id": deferred_id}
    with layer.engine.begin() as connection:
        connection.execute(sa.update(JOBS).where(JOBS.c.id == "job").values(**given))
    tables = attrs.evolve(TABLES)
    sent: list[str] = []
    engine = layer.engine if layer.asyncio_engine is None else layer.asyncio_engine.sync_engine
    is_async = layer.asyncio_engine is not None
    scheduler: Any = AsyncMemoryScheduler() if is_async else MemoryScheduler()
    layer.call("cancel_job", "first", tables=tables, scheduler=scheduler)  # Asks the catalog.
    event.listen(engine, "before_cursor_execute", lambda *it: sent.append(it[2]))
    layer.call("cancel_job", "job", tables=tables, scheduler=scheduler)
    assert len(sent) == statements, "\n\n".join(sent)
