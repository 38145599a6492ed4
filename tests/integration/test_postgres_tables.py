"""
Tables of the adopter's own: types of ids and statuses, hostile ids, and what a column may lack.

`Tables` and `HALVES` serve the other tests of Postgres too: tables of any names and types, and the
blocking and the asyncio half behind the same few verbs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import timedelta
from importlib import resources
from typing import Any
from uuid import uuid4

import attrs
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from batch_cancel import (
    AlreadyTerminal,
    CancelFailed,
    CancelResult,
    JobNotFound,
    Removal,
    UnknownJobStatus,
    cancel_job,
    cancel_job_async,
)
from batch_cancel.adapters.postgres import (
    AsyncPostgresUnitOfWork,
    PostgresSchema,
    PostgresUnitOfWork,
)
from batch_cancel.adapters.postgres.schema import Table
from tests.servers import PostgresServer

REFERENCE = PostgresSchema()

JOB_STATUSES = ["scheduled", "pending", "running", "completed", "failed", "cancelled"]
CONTACT_STATUSES = [
    "pending",
    "queued",
    "no_answer",
    "busy",
    "timeout",
    "dialing",
    "completed",
    "failed",
    "blocked",
    "invalid_number",
    "carrier_error",
    "cancelled",
]
AFTERWARDS = dict(zip(CONTACT_STATUSES, ["cancelled"] * 5 + CONTACT_STATUSES[5:], strict=True))
"""By hand: the first five become cancelled, the other seven stay what they were."""


def quoted(name: Table) -> sql.Identifier:
    """Quote the name of a table or a column."""
    return sql.Identifier(name) if isinstance(name, str) else sql.Identifier(*name)


def with_options(dsn: str, *settings: str) -> str:
    """Add settings of the server to a connection string."""
    before = conninfo_to_dict(dsn).get("options") or ""
    words = [str(before), *(f"-c{setting}" for setting in settings)]
    return make_conninfo(dsn, options=" ".join(words))


# Halves ------------------------------------------------------------------------------------------


@attrs.define
class Recorder:
    """A scheduler that removes whatever it is asked for, and remembers what that was."""

    asked: list[str] = attrs.field(factory=list[str])

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """Remove a start."""
        self.asked.append(deferred_id)
        return True


@attrs.frozen
class AsyncRecorder:
    """The asyncio twin of a recorder."""

    recorder: Recorder

    async def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """Remove a start."""
        return self.recorder.cancel(deferred_id, operation_id)


@attrs.frozen
class Blocking:
    """The blocking half."""

    def uow(
        self, dsn: str, schema: PostgresSchema = REFERENCE, **settings: Any
    ) -> PostgresUnitOfWork:
        """Give a unit of work; `settings` are the connection's, and the timeouts."""
        timeouts, rest = _parted(settings)
        return PostgresUnitOfWork(lambda: psycopg.connect(dsn, **rest), schema, **timeouts)

    def cancel(
        self, uow: Any, batch_job_id: str, recorder: Recorder | None = None, **more: Any
    ) -> CancelResult:
        """Cancel a job."""
        return cancel_job(batch_job_id, uow=uow, scheduler=recorder or Recorder(), **more)

    def begun(self, uow: Any, story: Callable[[Callable[..., Any], Any], None]) -> None:
        """Tell a story within a transaction; it is given a way to call a repository's method."""
        with uow.begin() as repositories:
            story(lambda method, *arguments: method(*arguments), repositories)


@attrs.frozen
class Asyncio:
    """The asyncio half."""

    def uow(
        self, dsn: str, schema: PostgresSchema = REFERENCE, **settings: Any
    ) -> AsyncPostgresUnitOfWork:
        """Give a unit of work; `settings` are the connection's, and the timeouts."""
        timeouts, rest = _parted(settings)
        twins = {
            psycopg.ClientCursor: psycopg.AsyncClientCursor,
            psycopg.RawCursor: psycopg.AsyncRawCursor,
        }
        if "cursor_factory" in rest:
            rest["cursor_factory"] = twins[rest["cursor_factory"]]
        return AsyncPostgresUnitOfWork(
            lambda: psycopg.AsyncConnection.connect(dsn, **rest), schema, **timeouts
        )

    def cancel(
        self, uow: Any, batch_job_id: str, recorder: Recorder | None = None, **more: Any
    ) -> CancelResult:
        """Cancel a job in an event loop of its own."""
        scheduler = AsyncRecorder(recorder or Recorder())
        return asyncio.run(cancel_job_async(batch_job_id, uow=uow, scheduler=scheduler, **more))

    def begun(self, uow: Any, story: Callable[[Callable[..., Any], Any], None]) -> None:
        """Tell a story within a transaction; it is given a way to call a repository's method."""

        async def run() -> None:
            async with uow.begin() as repositories:

                def call(method: Callable[..., Any], *arguments: Any) -> Any:
                    # The story blocks, so the coroutine is driven from a thread beside it.
                    future = asyncio.run_coroutine_threadsafe(method(*arguments), loop)
                    return future.result()

                loop = asyncio.get_running_loop()
                await asyncio.to_thread(story, call, repositories)

        asyncio.run(run())


Half = Blocking | Asyncio
HALVES = pytest.mark.parametrize("half", [Blocking(), Asyncio()], ids=["blocking", "asyncio"])


def _parted(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    timeouts = {name: it for name, it in settings.items() if isinstance(it, timedelta)}
    return timeouts, {name: it for name, it in settings.items() if name not in timeouts}


# Tables ------------------------------------------------------------------------------------------


@attrs.frozen
class Tables:
    """An adopter's tables, seen through a connection of the test's own."""

    dsn: str
    connection: psycopg.Connection[tuple[Any, ...]]
    schema: PostgresSchema

    def add_job(
        self,
        batch_job_id: object,
        status: str = "scheduled",
        contacts: Mapping[str, str] | None = None,
        organization_id: object = None,
        deferred_id: object = None,
    ) -> None:
        """Add a job, with contacts by label."""
        names = self.schema
        values: dict[str, object] = {names.job_id: batch_job_id, names.job_status: status}
        if names.job_organization_id is not None:
            values[names.job_organization_id] = organization_id
        if names.job_deferred_id is not None:
            values[names.job_deferred_id] = deferred_id
        self._insert(names.jobs, values)
        for label, contact_status in (contacts or {}).items():
            contact: dict[str, object] = {
                names.contact_job_id: batch_job_id,
                names.contact_status: contact_status,
                "label": label,
            }
            self._insert(names.contacts, contact)

    def status(self, batch_job_id: object) -> str:
        """Give a job's status."""
        names = self.schema
        found = self.rows(
            "SELECT {}::text FROM {} WHERE {} = {}",
            quoted(names.job_status),
            quoted(names.jobs),
            quoted(names.job_id),
            batch_job_id,
        )
        [[status]] = found
        return str(status)

    def contacts(self, batch_job_id: object) -> dict[str, str]:
        """Give the statuses of a job's contacts by label."""
        names = self.schema
        found = self.rows(
            "SELECT label, {}::text FROM {} WHERE {} = {} ORDER BY label",
            quoted(names.contact_status),
            quoted(names.contacts),
            quoted(names.contact_job_id),
            batch_job_id,
        )
        return dict(found)

    def rows(self, query: Any, *parts: object) -> list[tuple[Any, ...]]:
        """Run a query with names and values filled in, and give its rows, if it has any."""
        cursor = self.connection.execute(sql.SQL(query).format(*parts))
        return cursor.fetchall() if cursor.description else []

    def records(self) -> list[tuple[Any, ...]]:
        """Give organization, job and operation of every cancellation."""
        return self.rows(
            "SELECT organization_id, batch_job_id, operation_id FROM {} ORDER BY 1, 2",
            quoted(self.schema.cancellations),
        )

    def _insert(self, table: Table, values: dict[str, object]) -> None:
        columns = sql.SQL(", ").join(sql.Identifier(name) for name in values)
        literals = sql.SQL(", ").join(sql.Literal(value) for value in values.values())
        self.rows("INSERT INTO {} ({}) VALUES ({})", quoted(table), columns, literals)


@contextmanager
def tables(
    dsn: str,
    schema: PostgresSchema = REFERENCE,
    *,
    id_type: str = "text",
    organization_type: str = "text",
    deferred_type: str = "text",
    job_status_type: str = "text",
    contact_status_type: str = "text",
) -> Generator[Tables]:
    """Make tables of these names and types."""
    names = schema
    optional = {
        names.job_organization_id: organization_type,
        names.job_deferred_id: deferred_type,
        names.job_updated_at: "timestamptz",
    }
    job = {names.job_id: f"{id_type} PRIMARY KEY", names.job_status: job_status_type} | {
        name: kind for name, kind in optional.items() if name is not None
    }
    contact = {
        names.contact_job_id: id_type,
        names.contact_status: contact_status_type,
        "label": "text",
    }
    if names.contact_updated_at is not None:
        contact[names.contact_updated_at] = "timestamptz"
    with closing(psycopg.connect(dsn, autocommit=True)) as connection:
        made = Tables(dsn, connection, schema)
        for kind, labels in (("job_state", JOB_STATUSES), ("contact_state", CONTACT_STATUSES)):
            literals = sql.SQL(", ").join(map(sql.Literal, labels))
            made.rows("CREATE TYPE {} AS ENUM ({})", quoted(kind), literals)
            made.rows("CREATE DOMAIN {} AS {}", quoted(f"{kind}_domain"), quoted(kind))
        made.rows("CREATE DOMAIN text_domain AS text")
        for name in (names.jobs, names.contacts, names.cancellations):
            if isinstance(name, tuple):
                made.rows("CREATE SCHEMA IF NOT EXISTS {}", quoted(name[0]))
        _create(made, names.jobs, job)
        _create(made, names.contacts, contact)
        if names.contact_id == "label":
            made.rows(
                "CREATE UNIQUE INDEX ON {} ({}, label)",
                quoted(names.contacts),
                quoted(names.contact_job_id),
            )
        _create_cancellations(made)
        yield made


def _create(made: Tables, table: Table, columns: Mapping[str, str]) -> None:
    defined = sql.SQL(", ").join(
        sql.SQL("{} {}").format(quoted(name), sql.SQL(kind))  # type: ignore[arg-type,unused-ignore]  # pyright: ignore[reportArgumentType]
        for name, kind in columns.items()
    )
    made.rows("CREATE TABLE {} ({})", quoted(table), defined)


def _create_cancellations(made: Tables) -> None:
    ours = resources.files("batch_cancel.adapters.postgres").joinpath("tables.sql").read_bytes()
    name = made.schema.cancellations
    if name == "batch_cancellations":
        made.connection.execute(ours)
        return
    aside = sql.Identifier(f"aside_{uuid4().hex}")
    with made.connection.transaction():
        made.rows("CREATE SCHEMA {}", aside)
        before = made.connection.execute("SHOW search_path").fetchone()
        made.rows("SET LOCAL search_path TO {}", aside)
        made.connection.execute(ours)
        made.rows("SELECT set_config('search_path', {}, true)", (before or ("",))[0])
        ours_there = sql.SQL("{}.batch_cancellations").format(aside)
        made.rows("CREATE TABLE {} (LIKE {} INCLUDING ALL)", quoted(name), ours_there)
        made.rows("DROP SCHEMA {} CASCADE", aside)


@pytest.fixture
def dsn(postgres_server: PostgresServer) -> Iterator[str]:
    """Lend a schema of the test's own."""
    with postgres_server.schema() as dsn:
        yield dsn


EVERY_CONTACT = {status: status for status in CONTACT_STATUSES}

UUID = "6b29fc40-ca47-1067-b31d-00dd010662da"
OTHER_UUID = "00000000-0000-0000-0000-000000000000"


# Types -------------------------------------------------------------------------------------------


@HALVES
@pytest.mark.parametrize(
    "status_types",
    [
        ("text", "text"),
        ("varchar(40)", "varchar(40)"),
        ("job_state", "contact_state"),
        ("text_domain", "text_domain"),
    ],
    ids=lambda it: it[0],
)
@pytest.mark.parametrize(
    ("id_type", "job", "other"),
    [
        ("text", "batch_xyz789", "batch_xyz788"),
        ("varchar(40)", "batch_xyz789", "batch_xyz788"),
        ("uuid", UUID, OTHER_UUID),
        ("bigint", "42", "43"),
        ("integer", "42", "43"),
        ("bigint", "-1", "1"),
        ("numeric", "42", "43"),
    ],
)
def test_ids_and_statuses_of_any_type(
    dsn: str, half: Half, *, id_type: str, job: str, other: str, status_types: tuple[str, str]
) -> None:
    """The job and its five kinds of open contacts are cancelled; its neighbour is not touched."""
    job_status_type, contact_status_type = status_types
    with tables(
        dsn,
        id_type=id_type,
        organization_type=id_type,
        deferred_type=id_type,
        job_status_type=job_status_type,
        contact_status_type=contact_status_type,
    ) as made:
        made.add_job(job, "scheduled", EVERY_CONTACT, organization_id=other, deferred_id=job)
        made.add_job(other, "scheduled", EVERY_CONTACT, organization_id=other)
        recorder = Recorder()
        result = half.cancel(
            half.uow(dsn), job, recorder, organization_id=other, operation_id="op-1"
        )
        assert (result.batch_job_id, result.contacts_cancelled) == (job, 5)
        assert (result.previous_status, result.removal) == ("scheduled", Removal.REMOVED)
        assert recorder.asked == [job]
        assert (made.status(job), made.contacts(job)) == (
            "cancelled",
            dict(sorted(AFTERWARDS.items())),
        )
        assert (made.status(other), made.contacts(other)) == (
            "scheduled",
            dict(sorted(EVERY_CONTACT.items())),
        )
        assert made.records() == [(other, job, "op-1")]
        again = half.cancel(half.uow(dsn), job, organization_id=other, operation_id="op-1")
        assert attrs.evolve(again, replayed=False) == result
        with pytest.raises(AlreadyTerminal) as refusal:
            half.cancel(half.uow(dsn), job, organization_id=other)
        assert refusal.value.contacts_cancelled == 5


@HALVES
def test_statuses_in_a_domain_over_an_enum_are_refused(dsn: str, half: Half) -> None:
    """Postgres compares no such column with a list of statuses: it says so, nothing changes."""
    with tables(
        dsn, job_status_type="job_state", contact_status_type="contact_state_domain"
    ) as made:
        made.add_job("job", "scheduled", EVERY_CONTACT)
        with pytest.raises(CancelFailed, match="not a domain over an enum") as failure:
            half.cancel(half.uow(dsn), "job")
        assert (failure.value.outcome, failure.value.retryable) == ("unchanged", False)
        assert (made.status("job"), made.contacts("job")) == (
            "scheduled",
            dict(sorted(EVERY_CONTACT.items())),
        )


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
def test_an_id_has_one_spelling(
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


# What a table may lack ---------------------------------------------------------------------------


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


@HALVES
@pytest.mark.parametrize(("id_type", "job"), [("text", "job"), ("uuid", UUID), ("bigint", "42")])
def test_without_a_column_for_it_the_jobs_id_is_the_deferred_id(
    dsn: str, half: Half, id_type: str, job: str
) -> None:
    """That is how such a store names its deferred starts."""
    with tables(dsn, PostgresSchema(job_deferred_id=None), id_type=id_type) as made:
        made.add_job(job)
        recorder = Recorder()
        assert half.cancel(half.uow(dsn, made.schema), job, recorder).removal is Removal.REMOVED
        assert recorder.asked == [job]


@HALVES
def test_a_null_deferred_id_is_no_deferred_start(dsn: str, half: Half) -> None:
    """The scheduler is not asked."""
    with tables(dsn) as made:
        made.add_job("job")
        recorder = Recorder()
        assert half.cancel(half.uow(dsn), "job", recorder).removal is Removal.ABSENT
        assert recorder.asked == []


@HALVES
def test_times_of_change_are_set_where_there_are_any(dsn: str, half: Half) -> None:
    """On the rows that changed, and on no other."""
    with tables(dsn) as made:
        made.add_job("job", "running", EVERY_CONTACT)
        made.add_job("other", "running", {"zoe": "pending"})
        half.cancel(half.uow(dsn), "job")
        changed = made.rows("SELECT label FROM batch_contacts WHERE updated_at IS NOT NULL")
        assert sorted(label for (label,) in changed) == [
            "busy",
            "no_answer",
            "pending",
            "queued",
            "timeout",
        ]
        jobs = made.rows("SELECT id FROM batch_jobs WHERE updated_at IS NOT NULL")
        assert jobs == [("job",)]


@HALVES
def test_times_of_change_may_be_lacking(dsn: str, half: Half) -> None:
    """None says that there is no such column."""
    schema = PostgresSchema(job_updated_at=None, contact_updated_at=None)
    with tables(dsn, schema) as made:
        made.add_job("job", "running", {"ann": "pending"})
        assert half.cancel(half.uow(dsn, schema), "job").contacts_cancelled == 1


# Statuses ----------------------------------------------------------------------------------------


@HALVES
def test_a_status_that_is_null_or_unknown_fails_closed(dsn: str, half: Half) -> None:
    """An error of its own, and nothing changed."""
    with tables(dsn) as made:
        made.add_job("odd", "paused", {"ann": "pending"})
        made.add_job("none", "running", {"ann": "pending"})
        made.rows("UPDATE batch_jobs SET status = NULL WHERE id = 'none'")
        for job, status in (("odd", "paused"), ("none", None)):
            with pytest.raises(UnknownJobStatus) as error:
                half.cancel(half.uow(dsn), job)
            assert error.value.status == status
            assert made.contacts(job) == {"ann": "pending"}
        assert made.records() == []


@HALVES
def test_a_contact_whose_status_is_null_or_unknown_is_left_alone(dsn: str, half: Half) -> None:
    """The rule is a list of five, never "not terminal"."""
    with tables(dsn) as made:
        made.add_job("job", "running", {"ann": "vip", "bob": "", "eve": "PENDING", "zoe": "busy"})
        made.rows("UPDATE batch_contacts SET status = NULL WHERE label = 'bob'")
        assert half.cancel(half.uow(dsn), "job").contacts_cancelled == 1
        contacts = made.rows("SELECT label, status FROM batch_contacts ORDER BY label")
        assert contacts == [
            ("ann", "vip"),
            ("bob", None),
            ("eve", "PENDING"),
            ("zoe", "cancelled"),
        ]


@HALVES
@pytest.mark.parametrize("lacking", ["timeout", "cancelled"])
def test_an_enum_that_lacks_a_status_is_told_of(dsn: str, half: Half, lacking: str) -> None:
    """The failure names the status, and nothing was changed."""
    with tables(dsn, contact_status_type="contact_state") as made:
        made.rows("ALTER TYPE contact_state RENAME VALUE {} TO 'gone'", lacking)
        made.add_job("job", "running", {"ann": "pending"})
        with pytest.raises(CancelFailed) as failure:
            half.cancel(half.uow(dsn), "job")
        assert failure.value.outcome == "unchanged"
        assert not failure.value.retryable
        assert lacking in str(failure.value)
        assert "a status is missing from your enum" in str(failure.value)
        assert (made.status("job"), made.contacts("job")) == ("running", {"ann": "pending"})


# More than one row, or none ----------------------------------------------------------------------


@HALVES
def test_two_jobs_of_one_id_are_not_cancelled(dsn: str, half: Half) -> None:
    """Nobody can tell which was meant: the failure says so, and nothing was changed."""
    with tables(dsn) as made:
        made.rows("ALTER TABLE batch_jobs DROP CONSTRAINT batch_jobs_pkey")
        organization_id = "acme" + "x" * 500
        for _ in range(2):
            made.add_job("job", "running", {"ann": "pending"}, organization_id)
        with pytest.raises(CancelFailed) as failure:
            half.cancel(half.uow(dsn), "job", organization_id=organization_id)
        assert failure.value.outcome == "unchanged"
        assert "has several jobs of the id 'job': give each job an id" in str(failure.value)
        assert len(str(failure.value)) < 400
        assert made.rows("SELECT DISTINCT status FROM batch_jobs") == [("running",)]
        assert made.contacts("job") == {"ann": "pending"}


@HALVES
def test_a_trigger_that_swallows_the_change_is_told_of(dsn: str, half: Half) -> None:
    """A cancel that did not reach the job is no cancel: nothing was changed."""
    with tables(dsn) as made:
        made.rows(
            "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql "
            "AS 'BEGIN RETURN NULL; END';"
            "CREATE TRIGGER swallow BEFORE UPDATE ON batch_jobs "
            "FOR EACH ROW EXECUTE FUNCTION swallow()"
        )
        made.add_job("job", "running", {"ann": "pending"})
        with pytest.raises(CancelFailed) as failure:
            half.cancel(half.uow(dsn), "job")
        assert failure.value.outcome == "unchanged"
        assert "look for a trigger, a rule or a policy on batch_jobs" in str(failure.value)
        assert made.contacts("job") == {"ann": "pending"}
        assert made.records() == []


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
