"""Tables of the adopter's own: types of ids and statuses, and what a column may lack."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import pytest

from batch_cancel import (
    AlreadyTerminal,
    CancelFailed,
    Removal,
    UnknownJobStatus,
)
from batch_cancel.adapters.postgres import (
    PostgresSchema,
)
from tests.integration.own_tables import (
    AFTERWARDS,
    EVERY_CONTACT,
    HALVES,
    OTHER_UUID,
    UUID,
    Half,
    Recorder,
    tables,
)
from tests.servers import PostgresServer


@pytest.fixture
def dsn(postgres_server: PostgresServer) -> Iterator[str]:
    """Yield a schema of the test's own."""
    with postgres_server.schema() as dsn:
        yield dsn


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


# What a table may lack ---------------------------------------------------------------------------


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
def test_an_enum_that_lacks_a_status_is_reported(dsn: str, half: Half, lacking: str) -> None:
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
def test_a_trigger_that_swallows_the_change_is_reported(dsn: str, half: Half) -> None:
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
