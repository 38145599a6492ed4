"""Many jobs on Postgres: ids of every kind, filters, triggers, other organizations."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from batch_cancel import (
    BulkResult,
    JobFilter,
    JobKey,
    JobStatus,
    Removal,
    StoreFailed,
    cancel_job,
    cancel_jobs,
    cancellations,
)
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.adapters.postgres import PostgresSchema, joining
from batch_cancel.domain.cancellation import CancelRequest, plan_cancellation
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS
from tests.integration.bulk_tables import ALL, AT, bulk, counted, fill, rows, uow_of
from tests.integration.own_tables import (
    HALVES,
    OTHER_UUID,
    UUID,
    Blocking,
    Half,
    Recorder,
    tables,
)

__all__ = ["rows"]


# Ids ---------------------------------------------------------------------------------------------


@HALVES
def test_ids_that_are_none_are_not_there(postgres_database: str, half: Half) -> None:
    """One that the column cannot hold spoils no other, and two texts of one uuid are one job."""
    with tables(postgres_database, id_type="uuid") as made:
        made.add_job(UUID, "running", {"ann": "pending", "bob": "dialing"})
        made.add_job(OTHER_UUID, "running", {"eve": "busy"})
        ids = ["7", UUID.upper(), "x'\\\"{,}", UUID, "%s", f" {OTHER_UUID}", OTHER_UUID, "NULL"]
        result = bulk(half, half.uow(made.dsn), ids)
        assert (result.cancelled, result.replayed, result.not_found) == (2, 1, 5)
        assert result.contacts_cancelled == 2
        assert made.contacts(UUID) == {"ann": "cancelled", "bob": "dialing"}
        assert bulk(half, half.uow(made.dsn), ["7", "{" + UUID + "}"]).not_found == 2
        assert bulk(half, half.uow(made.dsn), [UUID.upper(), "7"]).replayed == 1


def test_two_texts_of_one_job_ask_for_its_start_once(
    postgres_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """And no removal is logged as skipped."""
    with tables(postgres_database, id_type="uuid") as made:
        made.add_job(UUID, "scheduled", deferred_id="start")
        recorder = Recorder()
        result = cancel_jobs([UUID.upper(), UUID], uow=uow_of(made.dsn), scheduler=recorder)
        assert (result.cancelled, result.replayed) == (1, 1)
        assert result.removals[Removal.REMOVED] == 2
        assert recorder.asked == ["start"]
        assert [it for it in caplog.messages if "skipped" in it] == []


@HALVES
def test_texts_that_differ_are_different_jobs(postgres_database: str, half: Half) -> None:
    """Whatever they look like."""
    with tables(postgres_database) as made:
        for job_id in ("a", "A", "{a,b}", 'q"\\', "NULL", "%(a)s"):
            made.add_job(job_id, "running", {"ann": "pending"})
        ids = ["a", "{a,b}", 'q"\\', "NULL", "%(a)s", "{", "B"]
        result = bulk(half, half.uow(made.dsn), ids)
        assert (result.cancelled, result.contacts_cancelled, result.not_found) == (5, 5, 2)
        assert made.status("A") == "running"
        assert made.contacts("A") == {"ann": "pending"}


@HALVES
def test_contacts_may_refer_to_another_column(postgres_database: str, half: Half) -> None:
    """By the job's key; each contact counts for its own job."""
    schema = PostgresSchema(job_id="public_id", job_key="id", contact_id="label")
    with tables(postgres_database, schema) as made:
        made.rows("ALTER TABLE batch_jobs ADD id bigint UNIQUE")
        made.rows("ALTER TABLE batch_contacts ALTER batch_job_id TYPE bigint USING 0")
        for number, job_id in enumerate(["b", "a"]):
            made.add_job(job_id, "running")
            made.rows("UPDATE batch_jobs SET id = {} WHERE public_id = {}", number, job_id)
            made.rows(
                "INSERT INTO batch_contacts (batch_job_id, status, label) "
                "SELECT {0}, 'pending', n FROM generate_series({0}, 2) AS n",
                number,
            )
        result = bulk(half, half.uow(made.dsn, schema), ["a", "b"])
        assert (result.cancelled, result.contacts_cancelled) == (2, 5)
        found = made.rows("SELECT batch_job_id, contacts_cancelled FROM batch_cancellations")
        assert sorted(found) == [("a", 2), ("b", 3)]


@HALVES
def test_another_organization_is_neither_found_nor_locked(
    postgres_database: str, half: Half
) -> None:
    """Not by its id, and not by a filter."""
    with tables(postgres_database) as made, psycopg.connect(made.dsn) as other:
        made.rows("ALTER TABLE batch_jobs ADD created_at timestamptz DEFAULT now()")
        made.add_job("ours", "running", {"ann": "pending"}, "org")
        made.add_job("theirs", "running", {"eve": "pending"}, "evil")
        made.add_job("nobody's", "running", {"bob": "pending"})
        other.execute("SELECT FROM batch_jobs WHERE id <> 'ours' FOR UPDATE")
        uow = half.uow(made.dsn)
        result = bulk(half, uow, ["theirs", "nobody's"], organization_id="org")
        assert result.not_found == 2
        wanted = JobFilter(organization_id="org", created_before=AT.replace(year=9000))
        result = bulk(half, uow, wanted)
        assert (result.jobs, result.cancelled) == (1, 1)
        other.rollback()
        assert made.status("theirs") == made.status("nobody's") == "running"
        assert bulk(half, uow, JobFilter(statuses=["running"])).cancelled == 1
        assert made.status("theirs") == "running"
        assert made.records() == [("", "nobody's", "op"), ("org", "ours", "op")]


# Filters -----------------------------------------------------------------------------------------


def test_a_filter_finds_by_status_and_time(
    rows: psycopg.Connection[Any], postgres_schema: str
) -> None:
    """In pages ordered by id; a time without a column is refused."""
    rows.execute("ALTER TABLE batch_jobs ADD starts_at timestamptz")
    for number, (status, day) in enumerate(
        [("running", 1), ("scheduled", 2), ("scheduled", 3), ("completed", 2), ("pending", None)]
    ):
        at = None if day is None else AT.replace(day=day)
        rows.execute(
            "INSERT INTO batch_jobs (id, status, created_at, starts_at) VALUES (%s, %s, %s, %s)",
            [f"j{number}", status, AT.replace(day=1 + number), at],
        )

    def found(limit: int = 10, after: str | None = None, **named: Any) -> list[str]:
        with uow_of(postgres_schema, job_scheduled_at="starts_at").begin() as repositories:
            key = None if after is None else JobKey(after)
            keys = repositories.bulk.find(JobFilter(**named), key, limit)
        return [key.batch_job_id for key in keys]

    assert found(statuses=["scheduled", "pending", "running"]) == ["j0", "j1", "j2", "j4"]
    assert found(2, statuses=["scheduled", "pending", "running"]) == ["j0", "j1"]
    assert found(2, "j1", statuses=["scheduled", "pending", "running"]) == ["j2", "j4"]
    assert found(scheduled_after=AT.replace(day=2)) == ["j1", "j2"]
    assert found(scheduled_before=AT.replace(day=2)) == ["j0"]
    assert found(scheduled_after=AT, scheduled_before=AT.replace(day=3)) == ["j0", "j1"]
    assert found(created_after=AT.replace(day=3)) == ["j2", "j4"]
    assert found(created_before=AT.replace(day=3), statuses=["scheduled"]) == ["j1"]
    assert found(organization_id="org") == []
    wanted = JobFilter(scheduled_after=AT)
    with pytest.raises(StoreFailed, match="name its column with job_scheduled_at"):
        bulk(Blocking(), uow_of(postgres_schema), wanted)
    with pytest.raises(StoreFailed, match="name its column with job_created_at"):
        bulk(
            Blocking(),
            uow_of(postgres_schema, job_created_at=None),
            JobFilter(created_after=AT),
        )


@pytest.mark.parametrize("kind", ["timestamp without time zone", "date", "text"])
@pytest.mark.parametrize("about", ["scheduled", "created"])
def test_a_filter_on_a_time_without_a_zone_is_refused(
    rows: psycopg.Connection[Any], postgres_schema: str, about: str, kind: str
) -> None:
    """By the connection's time zone it would find other jobs; a filter on no time is fine."""
    rows.execute(f"ALTER TABLE batch_jobs ADD starts_at {kind}".encode())
    fill(rows, 2, 1)
    other = {"scheduled": "created", "created": "scheduled"}[about]
    rows.execute("ALTER TABLE batch_jobs ADD another_at timestamptz DEFAULT now()")
    before: dict[str, Any] = {f"{about}_before": AT}
    after: dict[str, Any] = {f"{other}_after": AT}
    times = {f"job_{about}_at": "starts_at", f"job_{other}_at": "another_at"}
    uow = uow_of(postgres_schema, **times)
    with pytest.raises(StoreFailed) as refused:
        bulk(Blocking(), uow, JobFilter(**before))
    assert str(refused.value) == (
        f"column starts_at of the jobs is of the type {kind}, and a filter on a time needs "
        "timestamp with time zone: change its type, map another column, or pass the ids of the "
        "jobs"
    )
    assert counted(rows, "batch_jobs") == {"scheduled": 2}
    assert bulk(Blocking(), uow, JobFilter(**after, statuses=["scheduled"])).jobs == 2


def test_an_organization_that_the_column_cannot_hold_has_no_jobs(postgres_database: str) -> None:
    """As an id; nothing fails."""
    with tables(postgres_database, organization_type="uuid") as made:
        made.add_job("job", "running", {}, UUID)
        uow = uow_of(made.dsn)
        assert bulk(Blocking(), uow, JobFilter(organization_id="acme")).jobs == 0
        assert bulk(Blocking(), uow, ["job"], organization_id="acme").not_found == 1
        assert bulk(Blocking(), uow, JobFilter(organization_id=UUID)).cancelled == 1


# What is done together ---------------------------------------------------------------------------


@HALVES
def test_each_job_of_a_slice_has_its_own_answer(
    rows: psycopg.Connection[Any], postgres_schema: str, half: Half
) -> None:
    """Its record, its count, its earlier record, its refusal."""
    fill(rows, 6, 2)
    uow = uow_of(postgres_schema)
    for number, operation_id in enumerate(["op", "other", "before"]):
        cancel_job(
            f"job-000{number}",
            uow=uow,
            scheduler=MemoryScheduler(),
            operation_id=operation_id,
            actor="ann",
        )
    rows.execute("UPDATE batch_jobs SET status = 'running' WHERE id = 'job-0002'")
    rows.execute("UPDATE batch_jobs SET status = 'completed' WHERE id = 'job-0003'")
    rows.execute("UPDATE batch_contacts SET status = 'busy' WHERE batch_job_id = 'job-0002'")
    rows.execute("UPDATE batch_jobs SET scheduled_job_id = NULL WHERE id = 'job-0004'")
    ids = [f"job-000{number}" for number in range(7)]
    result = bulk(half, half.uow(postgres_schema), ids, actor="eve", reason='"quoted" \\ %s é')
    assert result == BulkResult(
        operation_id="op",
        jobs=7,
        left=0,
        cancelled=3,
        replayed=1,
        refused={JobStatus.CANCELLED: 1, JobStatus.COMPLETED: 1},
        not_found=1,
        contacts_cancelled=6,
        removals={
            Removal.REMOVED: 0,
            Removal.ABSENT: 4,
            Removal.PENDING: 0,
            Removal.NOT_APPLICABLE: 0,
        },
    )
    records = {(it.key.batch_job_id, it.operation_id): it for it in cancellations(uow=uow).records}
    assert sorted(records) == [
        ("job-0000", "op"),
        ("job-0001", "other"),
        ("job-0002", "before"),
        ("job-0002", "op"),
        ("job-0004", "op"),
        ("job-0005", "op"),
    ]
    record = records["job-0002", "op"]
    assert (record.actor, record.reason) == ("eve", '"quoted" \\ %s é')
    assert (record.previous_status, record.contacts_cancelled) == (JobStatus.RUNNING, 2)
    assert (record.deferred_id, record.removal) == ("start-0002", Removal.ABSENT)
    assert (records["job-0004", "op"].deferred_id, record.is_announced) == (None, True)
    assert counted(rows, "batch_jobs") == {"cancelled": 5, "completed": 1}


@pytest.mark.parametrize("keeps", ["contact", "job", "record", "late"])
def test_one_job_that_a_trigger_keeps_does_not_stop_the_others(
    rows: psycopg.Connection[Any], postgres_schema: str, keeps: str
) -> None:
    """Its slice changes nothing; then it alone fails."""
    fill(rows, 3, 2)
    table, column, when = {
        "contact": ("batch_contacts", "batch_job_id", "BEFORE UPDATE"),
        "job": ("batch_jobs", "id", "BEFORE UPDATE"),
        "record": ("batch_cancellations", "batch_job_id", "BEFORE INSERT"),
        "late": ("batch_jobs", "id", "AFTER UPDATE"),
    }[keeps]
    body = (
        "UPDATE batch_contacts SET status = 'busy' WHERE batch_job_id = 'job-0001'; RETURN NULL;"
        if keeps == "late"
        else "RETURN NULL;"
    )
    rows.execute(
        f"CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {body} END$$".encode()
    )
    kind = "CONSTRAINT TRIGGER" if keeps == "late" else "TRIGGER"
    rows.execute(
        f"CREATE {kind} keep {when} ON {table} "
        f"{'DEFERRABLE INITIALLY DEFERRED ' if keeps == 'late' else ''}FOR EACH ROW "
        f"WHEN (new.{column} = 'job-0001') EXECUTE FUNCTION keep()".encode()
    )
    result = bulk(Blocking(), uow_of(postgres_schema), ALL)
    assert (result.cancelled, result.failed, result.contacts_cancelled) == (2, 1, 4)
    [failure] = result.failures
    assert failure.key == JobKey("job-0001")
    assert counted(rows, "batch_jobs") == {"cancelled": 2, "scheduled": 1}
    assert counted(rows, "batch_contacts") == {"cancelled": 4, "pending": 2}


def test_a_trigger_that_only_looks_is_no_trouble(
    rows: psycopg.Connection[Any], postgres_schema: str
) -> None:
    """Contacts are named and looked at again, job by job."""
    fill(rows, 3, 2)
    rows.execute(
        "CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'"
    )
    for table in ("batch_contacts", "batch_jobs"):
        for when in ("BEFORE", "AFTER"):
            rows.execute(
                f"CREATE TRIGGER {when}_look {when} UPDATE ON {table} FOR EACH ROW "
                "EXECUTE FUNCTION look()".encode()
            )
    result = bulk(Blocking(), uow_of(postgres_schema), ALL)
    assert (result.cancelled, result.contacts_cancelled) == (3, 6)


def test_the_port_serves_in_the_caller_s_transaction(
    rows: psycopg.Connection[Any], postgres_schema: str
) -> None:
    """Whose rollback undoes it; `cancel_jobs` itself refuses it there."""
    fill(rows, 2, 2)
    with psycopg.connect(postgres_schema) as connection:
        connection.execute("SELECT 1")
        uow = joining(connection)
        with pytest.raises(StoreFailed, match="within your own transaction"):
            bulk(Blocking(), uow, ALL)
        with uow.begin() as repositories:
            keys = [JobKey("job-0000"), JobKey("job-0001"), JobKey("no")]
            found = repositories.bulk.lock(keys)
            counts = repositories.bulk.cancel(list(found), CANCELLABLE_CONTACTS)
            assert counts == dict.fromkeys(keys[:2], 2)
            requests = [CancelRequest(it, "op") for it in keys[:2]]
            plans: list[Any] = [plan_cancellation(it, found[it.key]) for it in requests]
            records = [plan.record(2) for plan in plans]
            repositories.bulk.mark_cancelled(records)
        assert counted(connection, "batch_jobs") == {"cancelled": 2}
        connection.rollback()
    assert counted(rows, "batch_jobs") == {"scheduled": 2}
