"""
Ids on Postgres: hostile ones, each with one spelling, of organizations and in any encoding.

A cancel of what is not there, however it is spelled, finds nothing and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg_pool import ConnectionPool

from batch_cancel import (
    AlreadyTerminal,
    ContactStatus,
    JobNotFound,
    append_contacts,
    claim_contacts,
    expire_calls,
    finish_job,
    settle_contact,
    start_job,
    still_running,
)
from batch_cancel.adapters.postgres import (
    PostgresSchema,
    PostgresUnitOfWork,
    table_ddl,
)
from tests.integration.own_tables import (
    EVERY_CONTACT,
    HALVES,
    OTHER_UUID,
    UUID,
    Half,
    Recorder,
    quoted,
    tables,
    with_options,
)
from tests.servers import PostgresServer


@pytest.fixture
def dsn(postgres_server: PostgresServer) -> Iterator[str]:
    """Yield a schema of the test's own."""
    with postgres_server.schema() as dsn:
        yield dsn


HOSTILE = [
    "nope",
    " ",
    "\n",
    "%",
    "%s",
    "%(batch_job_id)s",
    "{}",
    "{jobs}",
    "*",
    "' OR 1=1 --",
    '"',
    "\\",
    "../42",
    "NULL",
    "\N{PILE OF POO}",
    "9" * 1024,
]
NOT_NUMBERS = [
    "042",
    " 42 ",
    "42 ",
    "\t42",
    "+42",
    "4_2",
    "42.0",
    "4.2e1",
    "0x2a",
    "0b101010",
    "-42",
    "--42",
    "\N{FULLWIDTH DIGIT FOUR}\N{FULLWIDTH DIGIT TWO}",
    "\N{ARABIC-INDIC DIGIT FOUR}\N{ARABIC-INDIC DIGIT TWO}",
    str(10**30),
    str(2**63),
    "-0",
    "",
    "\0",
    "42\0",
    "\ud800",
]
NOT_UUIDS = [
    "{" + UUID + "}",
    f"urn:uuid:{UUID}",
    UUID.replace("-", ""),
    f" {UUID}",
    f"{UUID}\n",
    "6b29-fc40-ca47-1067-b31d-00dd-0106-62da",
    f"{UUID}0",
    UUID[:-1],
    UUID.replace("6b", "6g"),
    "",
    "\0",
    "\udfff",
]


@HALVES
@pytest.mark.parametrize(
    ("id_type", "job", "hostile"),
    [
        ("bigint", "42", [*HOSTILE, *NOT_NUMBERS]),
        ("uuid", UUID, [*HOSTILE, *NOT_UUIDS]),
        ("text", "42", [*HOSTILE, *NOT_NUMBERS]),
        ("text", UUID, [UUID.upper(), *NOT_UUIDS]),
    ],
    ids=["bigint", "uuid", "text", "text-like-uuid"],
)
def test_an_id_has_one_text_form(
    dsn: str, half: Half, id_type: str, job: str, hostile: list[str]
) -> None:
    """Whatever Postgres itself would take for it, or choke on, is not found; nothing changes."""
    with tables(dsn, id_type=id_type, organization_type=id_type) as made:
        made.add_job(job, "running", EVERY_CONTACT, organization_id=job)
        uow = half.uow(dsn)
        for text in hostile:
            with pytest.raises(JobNotFound):
                half.cancel(uow, text, organization_id=job)
            with pytest.raises(JobNotFound):
                half.cancel(uow, job, organization_id=text)
        with pytest.raises(JobNotFound):
            half.cancel(uow, job)
        assert made.status(job) == "running"
        assert made.contacts(job) == dict(sorted(EVERY_CONTACT.items()))
        assert made.records() == []


@HALVES
def test_a_uuid_in_upper_case_is_the_same_uuid(dsn: str, half: Half) -> None:
    """The answer, the record and the removal spell it as Postgres does."""
    with tables(dsn, id_type="uuid", organization_type="uuid", deferred_type="uuid") as made:
        made.add_job(UUID, "scheduled", {"ann": "busy"}, OTHER_UUID, UUID)
        recorder = Recorder()
        result = half.cancel(
            half.uow(dsn),
            UUID.upper(),
            recorder,
            organization_id=OTHER_UUID.upper(),
            operation_id="op-1",
        )
        assert (result.batch_job_id, result.contacts_cancelled) == (UUID, 1)
        assert recorder.asked == [UUID]
        assert made.records() == [(OTHER_UUID, UUID, "op-1")]
        again = half.cancel(half.uow(dsn), UUID, organization_id=OTHER_UUID, operation_id="op-1")
        assert again.replayed


@HALVES
def test_text_ids_are_just_bytes(dsn: str, half: Half) -> None:
    """A job whose id is hostile to a driver is cancelled like any other, and no other with it."""
    with tables(dsn) as made:
        for text in HOSTILE:
            made.add_job(text, "scheduled", {"ann": "pending"}, text, text)
        for text in HOSTILE:
            recorder = Recorder()
            result = half.cancel(half.uow(dsn), text, recorder, organization_id=text)
            assert (result.batch_job_id, result.contacts_cancelled) == (text, 1)
            assert recorder.asked == [text]


THIRD_UUID = "00000000-0000-0000-0000-000000000001"
STEPS_TABLES = """
CREATE TABLE batch_jobs (
    id {type} PRIMARY KEY, organization_id {type}, status text, scheduled_job_id text,
    updated_at timestamptz
);
CREATE TABLE batch_contacts (
    id {type} PRIMARY KEY, batch_job_id {type}, status text, next_attempt_at timestamptz,
    updated_at timestamptz
);
INSERT INTO batch_jobs VALUES ('{id}', '{id}', '{status}');
INSERT INTO batch_contacts (id, batch_job_id, status, updated_at)
VALUES ('{id}', '{id}', 'dialing', 'yesterday'), ('{other}', '{id}', 'pending', 'yesterday');
"""
WATCHING = """
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER watch AFTER INSERT OR UPDATE ON batch_jobs FOR EACH ROW EXECUTE FUNCTION watch();
CREATE TRIGGER watch AFTER INSERT OR UPDATE ON batch_contacts
FOR EACH ROW EXECUTE FUNCTION watch();
"""
STEPS: dict[str, Callable[[str, str, str, PostgresUnitOfWork], object]] = {
    "start": lambda job, org, _, uow: start_job(job, organization_id=org, uow=uow),
    "claim": lambda job, org, _, uow: claim_contacts(job, organization_id=org, uow=uow, limit=9),
    "settle": lambda job, org, contact, uow: settle_contact(
        job, contact, ContactStatus.COMPLETED, organization_id=org, uow=uow
    ),
    "expire": lambda job, org, _, uow: expire_calls(
        job, timedelta(hours=1), organization_id=org, uow=uow
    ),
    "append": lambda job, org, _, uow: append_contacts(
        job, [{"id": {"42": "44"}.get(job, THIRD_UUID)}], organization_id=org, uow=uow
    ),
    "finish": lambda job, org, _, uow: finish_job(job, organization_id=org, uow=uow),
    "still running": lambda job, org, _, uow: still_running(job, organization_id=org, uow=uow),
}


@pytest.mark.parametrize("way", ["first", "in one string", "watched"])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "ids",
    [("bigint", "42", "43", NOT_NUMBERS), ("uuid", UUID, OTHER_UUID, NOT_UUIDS)],
    ids=["bigint", "uuid"],
)
def test_a_workers_step_takes_an_id_in_one_text_form(
    dsn: str, ids: tuple[str, str, str, list[str]], step: str, way: str
) -> None:
    """A job, an organization or a contact spelled otherwise is none, as it is for a cancel."""
    id_type, one, other, hostile = ids
    status = "pending" if step == "start" else "running"
    made = STEPS_TABLES.format(type=id_type, id=one, other=other, status=status)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"{made}{table_ddl(PostgresSchema())}".encode())
        if step == "finish":
            connection.execute("UPDATE batch_contacts SET status = 'completed'")
        if way == "watched":
            connection.execute(WATCHING)
        with ConnectionPool(dsn, min_size=1, max_size=1, open=True) as pool:
            uow = PostgresUnitOfWork(pool.connection)
            if way == "in one string":
                still_running(one, organization_id=one, uow=uow)
            before = _dump(connection)
            for text in hostile:
                triples = [(text, one, one), (one, text, one), (one, one, text)]
                for job, organization, contact in triples if step == "settle" else triples[:2]:
                    with suppress(JobNotFound):
                        assert not STEPS[step](job, organization, contact, uow)
                    assert _dump(connection) == before, (job, organization, contact)
            assert STEPS[step](one, one, one, uow)


def test_a_settle_for_another_organization_finds_nothing(dsn: str) -> None:
    """Where triggers may keep what is written, it is no settle that one has undone."""
    made = STEPS_TABLES.format(type="text", id="1", other="2", status="running")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"{made}{table_ddl(PostgresSchema())}{WATCHING}".encode())
        uow, before = PostgresUnitOfWork(lambda: psycopg.connect(dsn)), _dump(connection)
        done = ContactStatus.COMPLETED
        assert settle_contact("1", "1", done, organization_id="other", uow=uow) is None
        assert _dump(connection) == before
        assert settle_contact("1", "1", done, organization_id="1", uow=uow) == "completed"


def _dump(connection: psycopg.Connection[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT id::text, status FROM batch_jobs UNION ALL "
        "SELECT id::text, status FROM batch_contacts ORDER BY 1, 2"
    ).fetchall()


# Organizations -----------------------------------------------------------------------------------


@HALVES
def test_what_one_organization_did_is_not_told_to_another(dsn: str, half: Half) -> None:
    """A job that changed hands keeps its status; its history stays with whom it was."""
    with tables(dsn) as made:
        made.add_job("job", "running", {"ann": "pending"})
        made.rows("UPDATE batch_jobs SET organization_id = 'a'")
        uow = half.uow(dsn, made.schema)
        half.cancel(uow, "job", organization_id="a", operation_id="op-1")
        made.rows("UPDATE batch_jobs SET organization_id = 'b'")
        with pytest.raises(AlreadyTerminal) as refusal:
            half.cancel(uow, "job", organization_id="b", operation_id="op-1")
        assert refusal.value.cancelled_at is None
        assert made.records() == [("a", "job", "op-1")]


@HALVES
def test_without_organizations_every_job_is_a_job_of_none(dsn: str, half: Half) -> None:
    """Whoever names one finds nothing."""
    with tables(dsn, PostgresSchema(job_organization_id=None)) as made:
        made.add_job("job", "running", {"ann": "pending"})
        uow = half.uow(dsn, made.schema)
        with pytest.raises(JobNotFound):
            half.cancel(uow, "job", organization_id="acme")
        assert half.cancel(uow, "job", operation_id="op-1").contacts_cancelled == 1
        assert made.records() == [("", "job", "op-1")]
        assert half.cancel(uow, "job", operation_id="op-1").replayed


# Encodings ---------------------------------------------------------------------------------------


@HALVES
def test_an_id_that_the_clients_encoding_lacks_is_not_found(dsn: str, half: Half) -> None:
    """No row can be asked for by it."""
    with tables(dsn) as made:
        made.add_job("caf\u00e9", "running")
        uow = half.uow(with_options(dsn, "client_encoding=latin1"))
        with pytest.raises(JobNotFound):
            half.cancel(uow, "\N{SNOWMAN}")
        assert half.cancel(uow, "caf\u00e9").batch_job_id == "caf\u00e9"


@HALVES
def test_an_id_that_the_databases_encoding_lacks_is_not_found(
    postgres_server: PostgresServer, half: Half
) -> None:
    """No row can have it."""
    name = f"test_{uuid4().hex}"
    postgres_server.query(
        sql.SQL("CREATE DATABASE {} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0").format(
            quoted(name)
        )
    )
    try:
        dsn = make_conninfo(postgres_server.dsn(name), client_encoding="utf8")
        with tables(dsn) as made:
            made.add_job("caf\u00e9", "running")
            with pytest.raises(JobNotFound):
                half.cancel(half.uow(dsn), "\N{SNOWMAN}")
            assert half.cancel(half.uow(dsn), "caf\u00e9").batch_job_id == "caf\u00e9"
    finally:
        postgres_server.query(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(quoted(name)))
