"""`batch-cancel preview` and `progress`: what they show, their exit codes, and no trace."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from batch_cancel import ContactStatus, settle_contact
from batch_cancel.adapters.sqlite import SqliteStore
from tests.integration.command_line import (
    Done,
    file,
    leave_the_log_alone,
    run,
    status,
    store,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

__all__ = ["file", "leave_the_log_alone", "run", "store"]


def test_a_preview_shows_what_a_cancel_would_do(
    run: Callable[..., Done], file: Path, store: str
) -> None:
    """In sentences; nothing is changed."""
    assert run("preview", "scheduled", "--store", store) == (
        0,
        (
            "batch job 'scheduled' is scheduled: a cancel would succeed; contacts that it would "
            "cancel: 2\n"
            "the scheduler would be asked to remove its deferred start\n"
            "calls in progress, which would end normally: 1\n"
            "contacts: 1 pending, 1 busy, 1 dialing, 1 completed\n"
        ),
        "",
    )
    assert status(file, "scheduled") == "scheduled"
    assert run("preview", "owned", "--store", store, "--organization", "org") == (
        0,
        (
            "batch job 'owned' of organization 'org' is running: a cancel would succeed; contacts "
            "that it would cancel: 0\n"
            "contacts: none\n"
        ),
        "",
    )


def test_a_preview_as_json(run: Callable[..., Done], store: str) -> None:
    """One object."""
    done = run("preview", "running", "--store", store, "--json")
    assert (done.code, done.err) == (0, "")
    contacts = done.body.pop("contacts")
    assert {name: number for name, number in contacts.items() if number} == {
        "pending": 1,
        "busy": 1,
        "dialing": 1,
        "completed": 1,
    }
    body = done.body
    del body["contacts"]
    assert body == {
        "batchJobId": "running",
        "organizationId": None,
        "status": "running",
        "wouldCancel": True,
        "replay": False,
        "refusal": None,
        "removesStart": False,
        "contactsToCancel": 2,
        "liveCalls": 1,
        "contactsUnknown": 0,
    }


def test_a_refusal_is_shown_with_the_exit_code_of_the_cancel(
    run: Callable[..., Done], file: Path, store: str
) -> None:
    """Ended, unknown, and not there."""
    SqliteStore(file).add_contacts("odd", {"1": "voicemail"})
    ended, odd = (run("preview", job, "--store", store) for job in ("completed", "odd"))
    assert (ended.code, ended.err) == (4, "")
    assert ended.out.startswith(
        "a cancel would be refused: batch job 'completed' is already completed\n"
    )
    assert (odd.code, odd.err) == (5, "")
    assert "has the status 'paused', which is mapped to none of" in odd.out
    assert odd.out.endswith("contacts: 1 in an unknown status\n")
    for command in ("preview", "progress"):
        assert run(command, "no", "--store", store) == (
            3,
            "",
            (
                "batch-cancel: there is no batch job 'no' in this organization: name its "
                "organization with --organization, if it has one\n"
            ),
        )


def test_a_replay_is_shown(run: Callable[..., Done], store: str) -> None:
    """Of the same operation; an id that no store can hold is a mistake."""
    run("cancel", "running", "--store", store, "--operation-id", "op")
    again = run("preview", "running", "--store", store, "--operation-id", "op")
    assert again.code == 0
    assert again.out.startswith("batch job 'running' was cancelled by this operation: its answer")
    assert run("preview", "running", "--store", store, "--json", "--operation-id", "op").body[
        "replay"
    ]
    assert run("preview", "running", "--store", store).code == 4
    wrong = run("preview", "running", "--store", store, "--operation-id", "")
    assert (wrong.code, wrong.out) == (2, "")


def test_progress_is_shown(run: Callable[..., Done], file: Path, store: str) -> None:
    """In a sentence or as JSON."""
    assert run("progress", "running", "--store", store) == (
        0,
        "batch job 'running' is running; contacts open: 2, live: 1, ended: 1\n",
        "",
    )
    assert run("progress", "running", "--store", store, "--json").body == {
        "batchJobId": "running",
        "organizationId": None,
        "status": "running",
        "drained": False,
        "contactsOpen": 2,
        "contactsLive": 1,
        "contactsEnded": 1,
        "contactsUnknown": 0,
    }
    SqliteStore(file).add_contacts("odd", {"1": "voicemail"})
    assert run("progress", "odd", "--store", store).out == (
        "batch job 'odd' is paused; contacts open: 0, live: 0, ended: 0, in an unknown status: 1\n"
    )


def test_a_watch_ends_when_the_job_is_drained(
    run: Callable[..., Done], file: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shows a line for each look; the last call ends between two of them."""
    run("cancel", "running", "--store", store)

    def end_the_call(_seconds: float) -> None:
        settle_contact("running", "3", ContactStatus.NO_ANSWER, uow=SqliteStore(file))

    monkeypatch.setattr(time, "sleep", end_the_call)
    assert run("progress", "running", "--store", store, "--watch") == (
        0,
        (
            "batch job 'running' is cancelled; contacts open: 0, live: 1, ended: 3\n"
            "batch job 'running' is cancelled and drained; "
            "contacts open: 0, live: 0, ended: 4\n"
        ),
        "",
    )


def test_a_watch_may_be_interrupted(
    run: Callable[..., Done], store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code is that of Ctrl-C, and nothing is complained of."""

    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    done = run("progress", "running", "--store", store, "--watch", "--json")
    assert (done.code, done.err) == (130, "")
    assert done.body["contactsLive"] == 1
