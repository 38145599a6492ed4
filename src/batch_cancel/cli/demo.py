"""The demo: cancel every kind of job, and show what becomes of every kind of contact."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import attrs
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from batch_cancel import BatchCancelError, ContactStatus, JobStatus, cancel_job
from batch_cancel.adapters.sqlite import SqliteScheduler, SqliteStore
from batch_cancel.cli import output
from batch_cancel.http.response import Response, present, present_error

_JOBS: Final = (JobStatus.SCHEDULED, JobStatus.PENDING, JobStatus.RUNNING, JobStatus.COMPLETED)
_CONTACTS: Final = (*(status.value for status in ContactStatus), "voicemail")
"""Every status that the library knows, and one that it does not."""

_START: Final = "start-of-demo-scheduled"


@attrs.frozen
class _World:
    store: SqliteStore
    scheduler: SqliteScheduler

    def fill(self) -> None:
        for status in _JOBS:
            is_scheduled = status is JobStatus.SCHEDULED
            self.store.add_job(
                _job_id(status), status.value, deferred_id=_START if is_scheduled else None
            )
            self.store.add_contacts(
                _job_id(status), {_contact_id(contact): contact for contact in _CONTACTS}
            )
        self.scheduler.schedule(_START, datetime.now(UTC) + timedelta(hours=1))

    def cancel(self, job_id: str) -> Response:
        try:
            return present(cancel_job(job_id, uow=self.store, scheduler=self.scheduler))
        except BatchCancelError as error:
            return present_error(error)

    def contacts(self) -> dict[JobStatus, dict[str, str | None]]:
        return {status: self.store.contacts(_job_id(status)) for status in _JOBS}


def play() -> None:
    """Cancel each job, in a file that is removed afterwards, and print question and answer."""
    console = Console(highlight=False, markup=False, emoji=False)
    with tempfile.TemporaryDirectory(prefix="batch-cancel-demo-") as folder:
        file = Path(folder) / "demo.db"
        world = _World(SqliteStore(file), SqliteScheduler(file))
        world.fill()
        before, waiting_before = world.contacts(), world.scheduler.waiting()
        with console.capture() as shown:
            _announce(
                console, "Four jobs in a new SQLite file, each with a contact in every status."
            )
            _ask(console, world, "scheduled for later", "demo-scheduled")
            _ask(console, world, "waiting for a worker", "demo-pending")
            _ask(console, world, "already calling", "demo-running")
            _ask(console, world, "already ended", "demo-completed")
            _ask(console, world, "cancelled a moment ago", "demo-scheduled")
            _ask(console, world, "unknown here", "demo-missing")
            _show_contacts(console, before, world.contacts())
            _show_waiting(console, waiting_before, world.scheduler.waiting())
    output.answer(shown.get())


def _job_id(status: JobStatus) -> str:
    return f"demo-{status}"


def _contact_id(status: str) -> str:
    return f"contact-{status}"


def _announce(console: Console, sentence: str) -> None:
    console.print(sentence)


def _ask(console: Console, world: _World, what: str, job_id: str) -> None:
    response = world.cancel(job_id)
    console.print()
    console.print(f"A job {what}:", style="bold")
    console.print(f"  POST /batch/jobs/{job_id}/cancel")
    is_cancelled = response.status == 200  # noqa: PLR2004  # HTTP's own number says it best.
    console.print(f"  {response.status}", style="green" if is_cancelled else "yellow")
    body = json.dumps(response.body, indent=2)
    console.print("\n".join(f"  {line}" for line in body.splitlines()))


def _show_contacts(
    console: Console,
    before: dict[JobStatus, dict[str, str | None]],
    after: dict[JobStatus, dict[str, str | None]],
) -> None:
    console.print()
    _announce(
        console,
        "The contacts of each job. A cancel changes those not yet called, or to be called again. "
        "A call in progress is never hung up, what has ended stays as it is, and so does a "
        "status that the library does not know, here voicemail.",
    )
    console.print()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("contact before", overflow="fold")
    for status in _JOBS:
        table.add_column(f"after, {status} job", overflow="fold")
    for contact_id in map(_contact_id, _CONTACTS):
        table.add_row(
            before[JobStatus.SCHEDULED][contact_id],
            *(_change(before[job][contact_id], after[job][contact_id]) for job in _JOBS),
        )
    console.print(table)


def _change(before: str | None, after: str | None) -> Text:
    if before == after:
        return Text("same", style="dim")
    return Text(f"-> {after}", style="bold green")


def _show_waiting(console: Console, before: set[str], after: set[str]) -> None:
    _announce(
        console,
        f"Deferred starts waiting before: {_names(before)}; after: {_names(after)}. "
        "redisJobCancelled: true means that this cancel removed it.",
    )


def _names(deferred_ids: set[str]) -> str:
    return ", ".join(sorted(deferred_ids)) or "none"
