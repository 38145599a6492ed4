"""The commands that report on one job and change nothing: preview, progress."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated, Final

import typer

from batch_cancel import JobKey, JobNotFound, Progress
from batch_cancel.cli import options, output
from batch_cancel.cli.exits import NOT_FOUND, code_of, faults_reported, what_to_do
from batch_cancel.cli.imports import UsageError
from batch_cancel.cli.job_reports import Previewed, Progressed
from batch_cancel.cli.options import wiring
from batch_cancel.cli.program import program

INTERRUPTED: Final = 130
"""The exit code of a program that Ctrl-C has ended, as in shells."""

Job = Annotated[str, typer.Argument(metavar="JOB_ID", help="The job.")]


@program.command()
def preview(
    context: typer.Context,
    job_id: Job,
    *,
    app: options.App = None,
    store: options.Store = None,
    schema: options.Names = None,
    organization: options.Organization = None,
    operation_id: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The cancellation to ask about; left out for a new one."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """
    Show what a cancel would do to a job; nothing is locked or changed.

    The code that cancels decides it. Without a lock, the job may have changed by the time of the
    cancel.

    \b
    Exit codes:
      0  it would be cancelled, or this operation has cancelled it before
      2  the command line is wrong
      3  this organization has no such job
      4  the job has already ended: completed, failed or cancelled
      5  its status is unknown, or the command failed; stderr or stdout says why
    """  # noqa: D301  # \b is a character here: it keeps the list from being wrapped.
    key = JobKey(job_id, organization)
    with faults_reported(), not_found_reported(organization):
        wired = wiring(context, app=app, store=store, schema=schema)
        try:
            found = wired.perform_on_store(lambda calls: calls.preview(key, operation_id))
        except ValueError as error:
            raise UsageError(str(error)) from error
        report = Previewed(found)
    output.answer(report.json() if as_json else report.text())
    if found.refusal is not None:
        raise typer.Exit(code_of(found.refusal))


@program.command()
def progress(
    context: typer.Context,
    job_id: Job,
    *,
    app: options.App = None,
    store: options.Store = None,
    schema: options.Names = None,
    organization: options.Organization = None,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Read it again every 2 seconds until the job is drained, or Ctrl-C."
        ),
    ] = False,
    as_json: options.Json = False,
) -> None:
    """
    Show how many contacts of a job are open, live and ended; nothing is locked or changed.

    A job is drained once it has ended and no contact of it is open or live.

    \b
    Exit codes:
      0  it is shown; with --watch: it is drained
      2  the command line is wrong
      3  this organization has no such job
      5  failed; stderr says why
      130  --watch was interrupted before the job was drained
    """  # noqa: D301  # \b is a character here: it keeps the list from being wrapped.
    key = JobKey(job_id, organization)

    def show(seen: Progress) -> None:
        report = Progressed(seen)
        output.answer(report.json() if as_json else report.text())

    with faults_reported(), not_found_reported(organization):
        wired = wiring(context, app=app, store=store, schema=schema)
        if not watch:
            show(wired.perform_on_store(lambda calls: calls.progress(key)))
            return
        try:
            wired.perform_on_store(lambda calls: calls.watch(key, show))
        except KeyboardInterrupt as error:
            raise typer.Exit(INTERRUPTED) from error


@contextmanager
def not_found_reported(organization: str | None) -> Generator[None]:
    """Print that there is no such job, and exit with the code for that."""
    try:
        yield
    except JobNotFound as error:
        output.complain(what_to_do(error, organization, ""))
        raise typer.Exit(NOT_FOUND) from error
