"""
Schemas that we did not design: other status names, rows that do not count, row security.

Every status that is written or read goes through the adopter's names; a row that the schema says
does not exist is not found, not locked and not changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import psycopg
import pytest

from batch_cancel import (
    AlreadyTerminal,
    CancelFailed,
    ContactStatus,
    JobNotFound,
    JobStatus,
    UnknownJobStatus,
    append_contacts,
    claim_contacts,
    finish_job,
    inspect,
    settle_contact,
    start_job,
    still_running,
)
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.adapters.postgres import PostgresSchema, PostgresUnitOfWork
from tests.integration.own_tables import (
    CONTACT_STATUSES,
    HALVES,
    Half,
    Tables,
    tables,
    with_options,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers import PostgresServer

OURS = PostgresSchema(contact_id="label", contact_next_attempt_at=None)
"""What `tables` makes."""

SHOUTED_JOBS = {
    JobStatus.SCHEDULED: "PLANNED",
    JobStatus.PENDING: "WAITING",
    JobStatus.RUNNING: "LIVE 100%",
    JobStatus.COMPLETED: "it's done",
    JobStatus.FAILED: "BROKEN",
    JobStatus.CANCELLED: "CANCELED",
}
SHOUTED_CONTACTS = {
    ContactStatus.PENDING: "NEW",
    ContactStatus.QUEUED: "AGAIN",
    ContactStatus.NO_ANSWER: "NOBODY",
    ContactStatus.BUSY: "BUSY",
    ContactStatus.TIMEOUT: "LATE %s",
    ContactStatus.DIALING: "ON CALL",
    ContactStatus.COMPLETED: "OK",
    ContactStatus.FAILED: "KO",
    ContactStatus.BLOCKED: "BARRED",
    ContactStatus.INVALID_NUMBER: "WRONG {}",
    ContactStatus.CARRIER_ERROR: "CARRIER",
    ContactStatus.CANCELLED: "CANCELED",
}
SHOUTED = attrs.evolve(OURS, job_statuses=SHOUTED_JOBS, contact_statuses=SHOUTED_CONTACTS)

NUMBERED = attrs.evolve(
    OURS,
    job_statuses={status: str(number) for number, status in enumerate(JobStatus)},
    contact_statuses={status: str(number) for number, status in enumerate(ContactStatus)},
)


@pytest.fixture
def dsn(postgres_server: PostgresServer) -> Iterator[str]:
    """Yield a schema of the test's own."""
    with postgres_server.schema() as dsn:
        yield dsn


# Spellings ---------------------------------------------------------------------------------------


@HALVES
@pytest.mark.parametrize("kind", ["text", "enum"])
def test_statuses_are_read_and_written_by_the_names_of_the_table(
    dsn: str, half: Half, kind: str
) -> None:
    """A job and its contacts of all twelve statuses: five become cancelled, by hand."""
    types: dict[str, str] = {}
    with psycopg.connect(dsn, autocommit=True) as connection:
        if kind == "enum":
            for name, labels in (("job_kind", SHOUTED_JOBS), ("contact_kind", SHOUTED_CONTACTS)):
                listed = ", ".join("'" + it.replace("'", "''") + "'" for it in labels.values())
                connection.execute(f"CREATE TYPE {name} AS ENUM ({listed})".encode())
            types = {"job_status_type": "job_kind", "contact_status_type": "contact_kind"}
    with tables(dsn, SHOUTED, **types) as made:
        uow = half.uow(dsn, SHOUTED)
        for job, status_name in (("s", "PLANNED"), ("p", "WAITING"), ("r", "LIVE 100%")):
            made.add_job(
                job, status_name, {f"{job} {name}": it for name, it in SHOUTED_CONTACTS.items()}
            )
            assert half.cancel(uow, job, operation_id=job).contacts_cancelled == 5
            assert made.status(job) == "CANCELED"
            assert list(made.contacts(job).values()) == [
                "CANCELED" if name in {"pending", "queued", "no_answer", "busy", "timeout"} else it
                for name, it in sorted(SHOUTED_CONTACTS.items())
            ]
        for job, status_name, known in (
            ("c", "it's done", "completed"),
            ("f", "BROKEN", "failed"),
        ):
            made.add_job(job, status_name)
            with pytest.raises(AlreadyTerminal, match=f"already {known}"):
                half.cancel(uow, job)
        assert half.cancel(uow, "s", operation_id="s").replayed


@HALVES
@pytest.mark.parametrize("status", ["running", "completed", "cancelled", "RUNNING", "canceled"])
def test_the_contracts_word_is_unknown_where_another_name_is_given(
    dsn: str, half: Half, status: str
) -> None:
    """A job that says "running" is in a status that nobody has mapped: it is left alone."""
    with tables(dsn, SHOUTED) as made:
        made.add_job("job", status, {"c": "NEW", "d": "pending"})
        with pytest.raises(UnknownJobStatus, match="nothing was changed"):
            half.cancel(half.uow(dsn, SHOUTED), "job")
        assert (made.status("job"), made.contacts("job")) == (status, {"c": "NEW", "d": "pending"})
        made.add_job("live", "LIVE 100%", {"e": "NEW", "f": "pending"})
        assert half.cancel(half.uow(dsn, SHOUTED), "live").contacts_cancelled == 1
        assert made.contacts("live") == {"e": "CANCELED", "f": "pending"}


def test_statuses_may_be_numbers(dsn: str) -> None:
    """A smallint, sent as a constant without a type."""
    types = {"job_status_type": "smallint", "contact_status_type": "smallint"}
    with tables(dsn, NUMBERED, **types) as made:
        made.add_job("job", "2", {name: str(it) for it, name in enumerate(CONTACT_STATUSES)})
        uow = PostgresUnitOfWork(lambda: psycopg.connect(dsn), NUMBERED)
        assert still_running("job", uow=uow)
        assert claim_contacts("job", uow=uow, limit=1)
        assert finish_job("job", uow=uow) is False


def test_workers_keep_to_the_tables_status_names(dsn: str) -> None:
    """A whole life of a job, each step in the adopter's words."""
    with tables(dsn, SHOUTED) as made:
        uow = PostgresUnitOfWork(lambda: psycopg.connect(dsn), SHOUTED)
        made.add_job("job", "PLANNED", {"a": "NEW", "b": "AGAIN", "c": "pending"}, None, "start")
        drift = inspect(uow=uow, scheduler=MemoryScheduler())
        assert [it.deferred_id for it in drift.starts_missing] == ["start"]

        assert not still_running("job", uow=uow)
        assert start_job("job", uow=uow)
        assert made.status("job") == "LIVE 100%"
        assert still_running("job", uow=uow)
        assert append_contacts("job", [{"label": "new"}], uow=uow) == 1
        assert made.contacts("job")["new"] == "NEW"
        assert sorted(claim_contacts("job", uow=uow, limit=9)) == ["a", "b", "new"]
        assert set(made.contacts("job").values()) == {"ON CALL", "pending"}
        assert not finish_job("job", uow=uow)
        assert settle_contact("job", "a", ContactStatus.COMPLETED, uow=uow) == "completed"
        assert settle_contact("job", "b", ContactStatus.TIMEOUT, uow=uow) == "timeout"
        assert settle_contact("job", "new", ContactStatus.FAILED, uow=uow) == "failed"
        assert made.contacts("job") == {"a": "OK", "b": "LATE %s", "c": "pending", "new": "KO"}
        assert not finish_job("job", uow=uow)
        made.rows("UPDATE batch_contacts SET status = 'OK' WHERE label = 'b'")
        assert finish_job("job", uow=uow)
        assert made.status("job") == "it's done"
        with pytest.raises(AlreadyTerminal):
            append_contacts("job", [{"label": "late"}], uow=uow)


@pytest.mark.parametrize(
    ("argument", "status_names", "told"),
    [
        ("job_statuses", SHOUTED_JOBS | {JobStatus.FAILED: "CANCELED"},
         "failed and cancelled have one name, 'CANCELED': give each status its own"),
        ("job_statuses", {JobStatus.CANCELLED: "canceled"},
         "no name is given for scheduled, pending, running, completed, failed"),
        ("contact_statuses", {k: v for k, v in SHOUTED_CONTACTS.items() if k != "dialing"},
         "no name is given for dialing: give one for every status"),
        ("job_statuses", SHOUTED_JOBS | {"paused": "PAUSED"}, "'paused' is no status"),
        ("contact_statuses", SHOUTED_CONTACTS | {ContactStatus.BUSY: 4.5},
         "a name of busy must be a text or an integer, got 4.5"),
        ("contact_statuses", SHOUTED_CONTACTS | {ContactStatus.BUSY: True},
         "must be a text or an integer, got True"),
        ("contact_statuses", SHOUTED_CONTACTS | {ContactStatus.BUSY: []},
         "no name is given for busy"),
        ("contact_statuses", SHOUTED_CONTACTS | {ContactStatus.BUSY: ["BUSY", "OK"]},
         "busy and completed have one name, 'OK'"),
        ("contact_statuses", SHOUTED_CONTACTS | {ContactStatus.BUSY: "a\0b"},
         "must be a text or an integer"),
        ("job_where", {"": None}, "job_where must name columns"),
        ("job_where", {"deleted_at": 1.5}, "job_where must map"),
        ("contact_where", {"kind": "a\0b"}, "contact_where must map"),
    ],
)  # fmt: skip
def test_a_mapping_that_cannot_be_is_refused_at_once(
    argument: str, status_names: Any, told: str
) -> None:
    """Where it is written, not at the first cancel."""
    with pytest.raises(ValueError, match=told):
        PostgresSchema(**{argument: status_names})


def test_schemas_are_distinguished_by_what_they_map() -> None:
    """Their statements are kept by schema, and to Postgres true is not 1."""
    one, true = ({"flag": value} for value in (1, True))
    assert PostgresSchema(job_where=one) != PostgresSchema(job_where=true)
    assert PostgresSchema() != SHOUTED
    assert attrs.evolve(SHOUTED) == SHOUTED
    assert hash(attrs.evolve(SHOUTED)) == hash(SHOUTED)
    unsaid = PostgresSchema(job_statuses={status: status.value for status in JobStatus})
    assert unsaid == PostgresSchema()


# Rows that do not count --------------------------------------------------------------------------

KEPT = attrs.evolve(
    OURS,
    job_where={"deleted at": None, "kind": "50% voice", "version": 2},
    contact_where={"deleted at": None, "hidden": False},
)


def with_deletions(made: Tables) -> None:
    """Add the columns that say which rows count."""
    made.rows(
        'ALTER TABLE batch_jobs ADD "deleted at" timestamptz, '
        "ADD kind text DEFAULT '50% voice', ADD version smallint DEFAULT 2;"
        'ALTER TABLE batch_contacts ADD "deleted at" timestamptz, '
        "ADD hidden boolean DEFAULT false"
    )


@HALVES
@pytest.mark.parametrize(
    "change", ['"deleted at" = now()', "kind = 'sms'", "kind = NULL", "version = 1"]
)
def test_a_job_that_does_not_count_is_not_there(dsn: str, half: Half, change: str) -> None:
    """Neither to a cancel nor to a worker nor to inspect; and it is not locked."""
    with tables(dsn, KEPT) as made:
        with_deletions(made)
        made.add_job("gone", "scheduled", {"c": "pending"}, "org", "start")
        made.rows(f"UPDATE batch_jobs SET {change}")
        before = made.rows("SELECT xmin, * FROM batch_jobs")
        uow = PostgresUnitOfWork(lambda: psycopg.connect(dsn), KEPT)
        with psycopg.connect(dsn) as locker:
            locker.execute("SELECT FROM batch_jobs FOR UPDATE")
            with pytest.raises(JobNotFound):
                half.cancel(half.uow(dsn, KEPT), "gone", organization_id="org")
        assert not start_job("gone", uow=uow, organization_id="org")
        made.rows("UPDATE batch_jobs SET status = 'running'")
        assert claim_contacts("gone", uow=uow, limit=9, organization_id="org") == []
        assert not still_running("gone", uow=uow, organization_id="org")
        made.rows("UPDATE batch_contacts SET status = 'dialing'")
        for end in (ContactStatus.BUSY, ContactStatus.COMPLETED):
            assert settle_contact("gone", "c", end, uow=uow, organization_id="org") is None
        with pytest.raises(JobNotFound):
            append_contacts("gone", [{"label": "d"}], uow=uow, organization_id="org")
        assert not finish_job("gone", uow=uow, organization_id="org")
        made.rows("UPDATE batch_jobs SET status = 'scheduled'")
        assert not inspect(uow=uow, scheduler=MemoryScheduler()).is_found
        assert len(before) == 1
        assert made.contacts("gone") == {"c": "dialing"}
        assert made.records() == []


@HALVES
def test_a_contact_that_does_not_count_is_left_alone(dsn: str, half: Half) -> None:
    """Byte for byte; it is neither cancelled, nor dialled, nor waited for."""
    with tables(dsn, KEPT) as made:
        with_deletions(made)
        made.add_job("job", "running", {"a": "pending", "b": "pending", "c": "busy"})
        made.rows("UPDATE batch_contacts SET \"deleted at\" = now() WHERE label = 'b'")
        made.rows("UPDATE batch_contacts SET hidden = true WHERE label = 'c'")
        before = made.rows("SELECT xmin, ctid, * FROM batch_contacts WHERE label <> 'a'")
        uow = PostgresUnitOfWork(lambda: psycopg.connect(dsn), KEPT)
        assert claim_contacts("job", uow=uow, limit=9) == ["a"]
        made.rows("UPDATE batch_contacts SET status = 'pending' WHERE label = 'a'")
        assert half.cancel(half.uow(dsn, KEPT), "job").contacts_cancelled == 1
        assert made.rows("SELECT xmin, ctid, * FROM batch_contacts WHERE label <> 'a'") == before
        assert made.contacts("job") == {"a": "cancelled", "b": "pending", "c": "busy"}
        assert not inspect(uow=uow, scheduler=MemoryScheduler()).is_found

        made.rows("UPDATE batch_jobs SET status = 'running'")
        assert finish_job("job", uow=uow)
        made.rows("UPDATE batch_jobs SET status = 'running'")
        made.rows("UPDATE batch_contacts SET status = 'dialing'")
        assert settle_contact("job", "b", ContactStatus.COMPLETED, uow=uow) is None
        assert made.contacts("job")["b"] == "dialing"


# Row-level security ------------------------------------------------------------------------------


@pytest.fixture
def tenants(dsn: str, postgres_server: PostgresServer) -> Iterator[tuple[Tables, str]]:
    """Yield tables whose rows a role sees only for the tenant that its session is set to."""
    with tables(dsn, OURS) as made:
        namespace = made.rows("SELECT current_schema()")[0][0]
        role = f"tenant_{namespace}"
        made.rows(
            f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {namespace} TO {role};"
            f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA {namespace} TO {role};"
            "ALTER TABLE batch_jobs ENABLE ROW LEVEL SECURITY;"
            "CREATE POLICY own ON batch_jobs"
            " USING (organization_id = current_setting('app.tenant'));"
            "ALTER TABLE batch_contacts ENABLE ROW LEVEL SECURITY;"
            "CREATE POLICY own ON batch_contacts"
            " USING (EXISTS (SELECT FROM batch_jobs WHERE id = batch_job_id));"
            "ALTER TABLE batch_cancellations ENABLE ROW LEVEL SECURITY;"
            "CREATE POLICY own ON batch_cancellations"
            " USING (organization_id = current_setting('app.tenant'))"
        )
        for tenant in ("a", "b"):
            made.add_job(f"job {tenant}", "running", {f"c{tenant}": "pending"}, tenant)
        yield made, role
        made.rows(f"DROP OWNED BY {role}; DROP ROLE {role}")


@HALVES
def test_row_level_security_is_kept(tenants: tuple[Tables, str], half: Half) -> None:
    """A tenant cancels its own jobs, and finds no other, whatever organization it names."""
    made, role = tenants
    uow = half.uow(with_options(made.dsn, f"role={role}", "app.tenant=a"), OURS)
    for organization in ("a", "b", None):
        with pytest.raises(JobNotFound):
            half.cancel(uow, "job b", organization_id=organization)
    result = half.cancel(uow, "job a", organization_id="a", operation_id="op")
    assert result.contacts_cancelled == 1
    assert half.cancel(uow, "job a", organization_id="a", operation_id="op").replayed
    assert (made.status("job a"), made.contacts("job a")) == ("cancelled", {"ca": "cancelled"})
    assert (made.status("job b"), made.contacts("job b")) == ("running", {"cb": "pending"})
    assert made.records() == [("a", "job a", "op")]


@HALVES
def test_a_policy_that_hides_the_job_from_its_update_undoes_the_cancel(
    tenants: tuple[Tables, str], half: Half
) -> None:
    """Nothing is half cancelled."""
    made, role = tenants
    made.rows(
        "CREATE POLICY frozen ON batch_cancellations AS RESTRICTIVE FOR INSERT WITH CHECK (false)"
    )
    uow = half.uow(with_options(made.dsn, f"role={role}", "app.tenant=a"), OURS)
    with pytest.raises(CancelFailed) as failure:
        half.cancel(uow, "job a", organization_id="a")
    assert failure.value.outcome == "unchanged"
    assert (made.status("job a"), made.contacts("job a")) == ("running", {"ca": "pending"})


@HALVES
def test_a_policy_that_fails_is_not_taken_for_a_job_that_is_not_there(
    tenants: tuple[Tables, str], half: Half
) -> None:
    """It looks like an id that is no uuid; but no id was at fault."""
    made, role = tenants
    made.rows(
        "CREATE POLICY broken ON batch_jobs AS RESTRICTIVE"
        " USING (current_setting('app.tenant')::uuid IS NOT NULL)"
    )
    uow = half.uow(with_options(made.dsn, f"role={role}", "app.tenant=a"), OURS)
    with pytest.raises(CancelFailed) as failure:
        half.cancel(uow, "job a", organization_id="a")
    assert failure.value.outcome == "unchanged"


@HALVES
def test_nor_is_a_constant_that_an_enum_lacks(dsn: str, half: Half) -> None:
    """What counts is told wrongly: that is nobody's id."""
    with tables(dsn, OURS) as made:
        made.rows("CREATE TYPE kind AS ENUM ('voice'); ALTER TABLE batch_jobs ADD kind kind")
        made.add_job("job", "running", {"c": "pending"})
        uow = half.uow(dsn, attrs.evolve(OURS, job_where={"kind": "voise"}))
        with pytest.raises(CancelFailed) as failure:
            half.cancel(uow, "job")
        assert failure.value.outcome == "unchanged"
