"""`batch-cancel inspect` and `batch-cancel expire` against real stores and schedulers."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from batch_cancel import cancel_rows
from batch_cancel.adapters.sqlite import SqliteScheduler, SqliteStore
from tests.integration.command_line import Done, leave_the_log_alone, run, store
from tests.integration.operator_commands import file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


__all__ = ["file", "leave_the_log_alone", "run", "store"]


def test_no_drift_is_said(run: Callable[..., Done], store: str) -> None:
    """Exit code 0."""
    done = run("inspect", "--store", store)
    assert done == (0, "no drift: database and scheduler agree\n", "")
    assert run("inspect", "--store", store, "--json").body == {
        "drift": False,
        "partial": False,
        "startsSeen": True,
        "schedulerFault": None,
        "removalsPending": [],
        "sweepsPending": [],
        "startsWaiting": [],
        "startsMissing": [],
        "contactsOpen": [],
        "callsOverdue": [],
    }


@pytest.fixture
def drifted(file: Path) -> Path:
    """Yield a file with one drift of each kind."""
    store, starts = SqliteStore(file), SqliteScheduler(file)
    cancel_rows("a", uow=store, operation_id="op", actor="ann", reason="typo")
    starts.cancel("start-a", "op")
    store.add_job("waits", "cancelled", "org", deferred_id="old")
    starts.schedule("old", datetime.now(UTC) + timedelta(days=1))
    store.add_job("lost", "scheduled", deferred_id="gone")
    store.add_job("nameless", "scheduled")
    store.add_job("open", "cancelled")
    store.add_contacts("open", {"1": "pending", "2": "busy", "3": "dialing"})
    store.add_job("live", "running", "org")
    store.add_contacts("live", {"young": "dialing"}, "org")
    for contact_id, age in (("old", timedelta(hours=5)), ("older", timedelta(days=2))):
        store.add_contacts("live", {contact_id: "dialing"}, "org", since=datetime.now(UTC) - age)
    return file


def test_each_drift_has_its_sentence(run: Callable[..., Done], drifted: Path) -> None:
    """Exit code 1; nothing is changed, so a second look finds the same."""
    before = drifted.read_bytes()
    done = run("inspect", "--store", f"sqlite:///{drifted}")
    assert (done.code, done.err) == (1, "")
    first, *rest = done.out.splitlines()
    assert re.fullmatch(
        r"batch job 'a' was cancelled at \S+, and the removal of its deferred start 'start-a' is "
        r"still pending",
        first,
    )
    assert rest == [
        (
            "batch job 'waits' of organization 'org' is cancelled, but its deferred start 'old' "
            "still waits"
        ),
        (
            "batch job 'lost' is scheduled, but its deferred start 'gone' does not wait: it will "
            "not be started, unless a worker is just starting it"
        ),
        "batch job 'nameless' is scheduled, but names no deferred start: it will not be started",
        "batch job 'open' is cancelled, but 2 contacts are still open",
        (
            "batch job 'live' of organization 'org' has calls that have been live for more than "
            "4:00:00: 2; if their workers are dead, end them with `batch-cancel expire-calls`"
        ),
    ]
    assert run("inspect", "--store", f"sqlite:///{drifted}") == done
    assert drifted.read_bytes() == before


def test_inspect_answers_a_program_with_json(run: Callable[..., Done], drifted: Path) -> None:
    """The wire's names; neither actor nor reason."""
    done = run("inspect", "--store", f"sqlite:///{drifted}", "--json")
    assert (done.code, done.err) == (1, "")
    body = done.body
    assert body["removalsPending"][0].pop("cancelledAt")
    assert body == {
        "drift": True,
        "partial": False,
        "startsSeen": True,
        "schedulerFault": None,
        "removalsPending": [
            {
                "batchJobId": "a",
                "organizationId": None,
                "deferredId": "start-a",
                "operationId": "op",
            }
        ],
        "sweepsPending": [],
        "startsWaiting": [{"batchJobId": "waits", "organizationId": "org", "deferredId": "old"}],
        "startsMissing": [
            {"batchJobId": "lost", "organizationId": None, "deferredId": "gone"},
            {"batchJobId": "nameless", "organizationId": None, "deferredId": None},
        ],
        "contactsOpen": [{"batchJobId": "open", "organizationId": None, "contacts": 2}],
        "callsOverdue": [{"batchJobId": "live", "organizationId": "org", "contacts": 2}],
    }


def test_how_long_a_call_may_be_live_is_the_callers_to_say(
    run: Callable[..., Done], drifted: Path
) -> None:
    """In seconds, or with a unit."""
    for age, contacts in (("1d", 1), ("172000", 1), ("3600s", 2), ("100d", 0)):
        arguments = ["--store", f"sqlite:///{drifted}", "--json", "--calls-older-than", age]
        overdue = run("inspect", *arguments).body["callsOverdue"]
        assert [it["contacts"] for it in overdue] == ([contacts] if contacts else [])


# expire-calls ------------------------------------------------------------------------------------


def test_calls_of_dead_workers_are_ended(run: Callable[..., Done], drifted: Path) -> None:
    """Those alone that are older, and each once."""
    store = ["--store", f"sqlite:///{drifted}"]
    mine = ["expire-calls", "live", "--organization", "org", *store]
    assert run("expire-calls", "a", "--older-than", "4h", *store) == (
        0,
        "batch job 'a' has no call that has been live for that long\n",
        "",
    )
    assert run("expire-calls", "live", "--older-than", "4h", *store) == (
        3,
        "",
        (
            "batch-cancel: there is no batch job 'live' in this organization: name its "
            "organization with --organization, if it has one\n"
        ),
    )
    assert run(*mine, "--older-than", "1d", "--json").body == {
        "batchJobId": "live",
        "organizationId": "org",
        "callsEnded": 1,
    }
    assert run(*mine, "--older-than", "4h").out == (
        "batch job 'live' of organization 'org': calls ended: 1\n"
    )
    assert run(*mine, "--older-than", "4h").code == 0
    assert SqliteStore(drifted).contacts("live", "org") == {
        "old": "timeout",
        "older": "timeout",
        "young": "dialing",
    }


@pytest.mark.parametrize(
    "age", ["", "0", "0h", "-1h", "4 h", "4w", "h", "1e3", "nan", "40000d", "9" * 12 + "d", "٣h"]
)
def test_what_is_no_duration_is_exit_code_2(
    run: Callable[..., Done], store: str, age: str
) -> None:
    """Nothing is asked of the store."""
    for command in (
        ["expire-calls", "a", f"--older-than={age}"],
        ["inspect", f"--calls-older-than={age}"],
    ):
        done = run(*command, "--store", store)
        assert (done.code, done.out) == (2, "")


def test_an_age_must_be_given(run: Callable[..., Done], store: str) -> None:
    """There is no default: it must be longer than any call of the adopter's."""
    done = run("expire-calls", "a", "--store", store)
    assert (done.code, done.out) == (2, "")


def test_a_store_that_does_not_expire_is_exit_code_5(
    run: Callable[..., Done], tmp_path: Path
) -> None:
    """One sentence."""
    missing = f"sqlite:///{tmp_path}/missing.db"
    done = run("expire-calls", "a", "--older-than", "4h", "--store", missing)
    assert (done.code, done.out) == (5, "")
    assert "does not exist" in done.err


def test_a_look_that_met_its_limit_says_so(run: Callable[..., Done], store: str) -> None:
    """On stderr; what was looked at is in order, so the exit code is 0."""
    done = run("inspect", "--store", store, "--limit", "3")
    assert done == (
        0,
        "no drift in what was read\n",
        "batch-cancel: only 3 of each kind were read: see --limit\n",
    )
