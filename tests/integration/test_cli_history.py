"""`batch-cancel show` and `history`: records of cancellations, and their exit codes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import typer
from attrs import evolve

from batch_cancel import CancellationPage, CancellationRecord, JobKey, JobStatus, Removal
from batch_cancel.adapters.sqlite import SqliteStore
from batch_cancel.cli.durations import moment
from batch_cancel.cli.history_reports import Listed
from tests.integration.command_line import Done, file, leave_the_log_alone, run, store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["file", "leave_the_log_alone", "run", "store"]


def test_a_record_is_shown(run: Callable[..., Done], file: Path, store: str) -> None:
    """Who, why, when, and what is pending; in sentences or as JSON."""
    run(
        *("cancel", "scheduled", "--store", store, "--operation-id", "op"),
        *("--actor", "ann", "--reason", "wrong list"),
    )
    body = run("show", "scheduled", "--store", store, "--json").body
    at = body["cancelledAt"]
    assert body == {
        "batchJobId": "scheduled",
        "organizationId": None,
        "operationId": "op",
        "cancelledAt": at,
        "previousStatus": "scheduled",
        "contactsCancelled": 2,
        "actor": "ann",
        "reason": "wrong list",
        "deferredId": "start",
        "removal": "removed",
        "announced": True,
        "swept": True,
        "undone": False,
    }
    sentences = (
        f"{at}: batch job 'scheduled' was cancelled by 'ann' from scheduled; contacts cancelled: "
        "2; operation 'op'\n"
        "reason: 'wrong list'\n"
        "deferred start 'start': removed\n"
    )
    assert run("show", "scheduled", "--store", store) == (0, sentences, "")
    with closing(sqlite3.connect(file, isolation_level=None)) as rows:
        rows.execute("UPDATE batch_jobs SET status = 'running' WHERE id = 'scheduled'")
        rows.execute("UPDATE batch_cancellations SET is_announced = 0")
    assert run("show", "scheduled", "--store", store).out.endswith(
        "its on_cancelled hook is still pending\n"
        "the job was set back since: it is not cancelled now\n"
    )


def test_a_job_without_a_record(run: Callable[..., Done], store: str) -> None:
    """Whether it is there or not."""
    for job in ("running", "no"):
        done = run("show", job, "--store", store)
        assert (done.code, done.out) == (3, "")
        assert done.err.splitlines()[0] == (
            f"batch-cancel: there is no record of a cancellation of batch job '{job}'"
        )


def test_the_history_is_listed_page_by_page(run: Callable[..., Done], store: str) -> None:
    """The newest first; stderr names the next page, JSON has it within."""
    for job in ("scheduled", "pending", "running"):
        run("cancel", job, "--store", store, "--operation-id", job)
    run("cancel", "owned", "--store", store, "--organization", "org", "--actor", "ann")
    first = run("history", "--store", store, "--limit", "2")
    assert first.code == 0
    assert [line.partition(": ")[2] for line in first.out.splitlines()] == [
        "batch job 'running' was cancelled from running; contacts cancelled: 2",
        "batch job 'pending' was cancelled from pending; contacts cancelled: 2",
    ]
    token = first.sentence.removeprefix("there are more: --after ")
    rest = run("history", "--store", store, "--limit", "2", "--after", token, "--json")
    assert rest.err == ""
    assert [it["batchJobId"] for it in rest.body["cancellations"]] == ["scheduled"]
    assert rest.body["next"] is None
    assert run("history", "--store", store, "--limit", "2", "--json").body["next"] == token
    owned = run("history", "--store", store, "--organization", "org").out
    assert "batch job 'owned' of organization 'org' was cancelled by 'ann' from running" in owned
    assert run("history", "--store", store, "--organization", "evil") == (
        0,
        "no cancellation\n",
        "",
    )


def test_an_organization_that_was_left_out_is_named(run: Callable[..., Done], store: str) -> None:
    """What is not found may be another organization's."""
    hint = "only jobs of no organization were looked for: name an organization with --organization"
    done = run("show", "owned", "--store", store)
    assert (done.code, done.err.splitlines()[-1]) == (3, f"batch-cancel: {hint}")
    assert hint not in run("show", "owned", "--store", store, "--organization", "org").err
    done = run("history", "--store", store)
    assert (done.out, done.sentence) == ("no cancellation\n", hint)
    none = ("--store", store, "--created-before", "2020-01-01")
    for more in (("--dry-run", "--json"), ("--yes",)):
        done = run("cancel-many", *none, *more)
        assert (done.code, done.sentence) == (0, hint)
        assert run("cancel-many", *none, *more, "--organization", "org").err == ""


def test_moments_bound_the_history(run: Callable[..., Done], store: str) -> None:
    """As dates, as times, or as so long ago."""
    run("cancel", "running", "--store", store)
    for bounds, is_listed in (
        (("--since", "1h"), True),
        (("--until", "1h"), False),
        (("--since", "2020-01-31", "--until", "2100-01-01T08:00+01:00"), True),
        (("--since", "2100-01-01"), False),
    ):
        assert ("running" in run("history", "--store", store, *bounds).out) == is_listed


def test_old_records_are_forgotten(run: Callable[..., Done], file: Path, store: str) -> None:
    """None younger than the window in which a client may ask again."""
    run("cancel", "running", "--store", store)
    run("cancel", "pending", "--store", store)
    kept = "records forgotten: 0; kept are those with something pending and those younger than "
    assert run("forget", "--before", "0d", "--store", store) == (
        0,
        f"{kept}30 days\n",
        "",
    )
    with closing(sqlite3.connect(file, isolation_level=None)) as rows:
        rows.execute(
            "UPDATE batch_cancellations SET cancelled_at = '2020-01-01T00:00:00.000000+00:00' "
            "WHERE batch_job_id = 'running'"
        )
    assert run("forget", "--before", "2020-01-01", "--store", store, "--json").body == {
        "forgotten": 0
    }
    assert run("forget", "--before", "365d", "--store", store, "--json").body == {"forgotten": 1}
    assert run("show", "running", "--store", store).code == 3
    assert run(
        "forget", "--before", "0s", "--retry-window", "1ms", "--store", store
    ).out.startswith("records forgotten: 1; ")
    run("cancel", "scheduled", "--store", store)
    assert run("forget", "--before", "0s", "--retry-window", "0", "--store", store).out == (
        "records forgotten: 1; kept are those with something pending\n"
    )
    for wrong in (
        (),
        ("--before", "soon"),
        ("--before", "1d", "--retry-window", "-1"),
        ("--before", "1d", "--retry-window", "soon"),
        ("--before", "1d", "--retry-window", "36526d"),
    ):
        assert run("forget", *wrong, "--store", store).code == 2


def test_a_sweep_that_is_not_finished_is_listed_as_such() -> None:
    """Its number of contacts is not the last."""
    at = datetime(2026, 1, 31, tzinfo=UTC)
    record = CancellationRecord(
        operation_id="op",
        key=JobKey("big"),
        previous_status=JobStatus.RUNNING,
        contacts_cancelled=200,
        actor=None,
        reason=None,
        cancelled_at=at,
        deferred_id=None,
        removal=Removal.NOT_APPLICABLE,
    )
    line = f"{at.isoformat()}: batch job 'big' was cancelled from running; contacts cancelled: 200"
    more = "; its other contacts are still to be cancelled"
    for it, text in ((record, line), (evolve(record, is_swept=False), line + more)):
        assert Listed(CancellationPage((it,), None)).text() == f"{text}\n"


@pytest.mark.parametrize(
    "wrong",
    [("--after", "page2"), ("--since", "yesterday"), ("--until", "12"), ("--limit", "0")],
)
def test_a_wrong_option_is_refused(
    run: Callable[..., Done], store: str, wrong: tuple[str, str]
) -> None:
    """Exit code 2."""
    assert run("history", "--store", store, *wrong).code == 2


def test_a_moment_is_read() -> None:
    """In UTC unless it says otherwise."""
    assert moment("2026-01-31") == datetime(2026, 1, 31, tzinfo=UTC)
    assert moment("2026-01-31T08:00+01:00") == datetime(2026, 1, 31, 7, tzinfo=UTC)
    then = moment("30d")
    ago = datetime.now(UTC) - then
    assert timedelta(days=30) <= ago < timedelta(days=30, minutes=1)
    with pytest.raises(typer.BadParameter):
        moment("999999999999d")


def test_a_file_of_an_earlier_version_has_a_history(
    run: Callable[..., Done], file: Path, store: str
) -> None:
    """Of each job's last record; the doctor names what it lacks, and opening it makes that."""
    with closing(sqlite3.connect(file, isolation_level=None)) as rows:
        rows.execute("DROP TABLE batch_cancellations_earlier")
        rows.execute("DROP INDEX batch_cancellations_by_time")
    revive = "UPDATE batch_jobs SET status = 'running' WHERE id = 'running'"

    def cancelled_twice() -> int:
        for _ in range(2):
            assert run("cancel", "running", "--store", store).code == 0
            with closing(sqlite3.connect(file, isolation_level=None)) as rows:
                rows.execute(revive)
        return len(run("history", "--store", store, "--json").body["cancellations"])

    assert cancelled_twice() == 1
    doctor = run("doctor", "--store", store)
    assert doctor.code == 0
    assert "has no table batch_cancellations_earlier: a job that is cancelled again" in doctor.out
    assert SqliteStore(file).check() == []
    SqliteStore(file).job("running")
    assert "earlier" not in run("doctor", "--store", store).out
    assert cancelled_twice() == 3
