"""The commands on the records of cancellations: show, history, forget."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

import typer

from batch_cancel import JobKey
from batch_cancel.cli import options, output
from batch_cancel.cli.durations import moment, window
from batch_cancel.cli.exits import NOT_FOUND, OF_NO_ORGANIZATION, faults_reported
from batch_cancel.cli.history_reports import Forgotten, Listed, Shown
from batch_cancel.cli.imports import UsageError
from batch_cancel.cli.job_reports import job_shown
from batch_cancel.cli.options import wiring
from batch_cancel.cli.program import program
from batch_cancel.cli.store_calls import Asked
from batch_cancel.domain.defaults import PAGE_LIMIT
from batch_cancel.domain.worker_rules import CLAIM_LIMIT_MAX


@program.command()
def show(
    context: typer.Context,
    job_id: Annotated[str, typer.Argument(metavar="JOB_ID", help="The job.")],
    *,
    app: options.App = None,
    store: options.Store = None,
    schema: options.Names = None,
    organization: options.Organization = None,
    as_json: options.Json = False,
) -> None:
    """
    Show the record of a job's cancellation: who, why, when, and what is still pending.

    Of a job that was cancelled several times it is the last one; `history` lists all.

    \b
    Exit codes:
      0  it is shown
      2  the command line is wrong
      3  there is no such record in this organization
      5  failed; stderr says why
    """  # noqa: D301  # \b is a character here: it keeps the list from being wrapped.
    key = JobKey(job_id, organization)
    with faults_reported():
        wired = wiring(context, app=app, store=store, schema=schema)
        record = wired.perform_on_store(lambda calls: calls.cancellation(key))
        if record is None:
            output.complain(f"there is no record of a cancellation of {job_shown(key)}")
            if organization is None:
                output.complain(OF_NO_ORGANIZATION)
            raise typer.Exit(NOT_FOUND)
    report = Shown(record)
    output.answer(report.json() if as_json else report.text())


@program.command()
def history(
    context: typer.Context,
    *,
    app: options.App = None,
    store: options.Store = None,
    schema: options.Names = None,
    organization: options.Organizations = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            parser=moment,
            metavar="TIME",
            help="Only cancellations at this time or later: 2026-01-31, 2026-01-31T08:00+01:00, "
            "or 7d for 7 days ago; UTC by default.",
        ),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(parser=moment, metavar="TIME", help="Only cancellations before this time."),
    ] = None,
    limit: Annotated[
        int,
        typer.Option(min=1, max=CLAIM_LIMIT_MAX, metavar="N", help="How many are listed at most."),
    ] = PAGE_LIMIT,
    after: Annotated[
        str | None,
        typer.Option(metavar="TOKEN", help="The token that the page before this one printed."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """
    List the cancellations of an organization's jobs, the newest first.

    If there are more, stderr names the token of the next page; with --json it is `next`.

    \b
    Exit codes:
      0  they are listed, if there are any
      2  the command line is wrong
      5  failed; stderr says why
    """  # noqa: D301  # \b is a character here: it keeps the list from being wrapped.
    with faults_reported():
        wired = wiring(context, app=app, store=store, schema=schema)
        asked = Asked(
            organization_id=organization, since=since, until=until, limit=limit, after=after
        )
        try:
            page = wired.perform_on_store(lambda calls: calls.history(asked))
        except ValueError as error:
            raise UsageError(str(error)) from error
    report = Listed(page)
    output.answer(report.json() if as_json else report.text())
    if page.next is not None and not as_json:
        output.complain(f"there are more: --after {page.next}")
    if not page.records and organization is None:
        output.complain(OF_NO_ORGANIZATION)


@program.command()
def forget(
    context: typer.Context,
    *,
    before: Annotated[
        datetime,
        typer.Option(
            parser=moment,
            metavar="TIME",
            help="Only cancellations before this time: 2026-01-31, or 365d for a year ago.",
        ),
    ],
    retry_window: Annotated[
        timedelta,
        typer.Option(
            parser=window,
            metavar="DURATION",
            help="How long a client may ask again; younger records are kept.",
        ),
    ] = "30d",  # type: ignore[assignment]  # typer parses it.
    app: options.App = None,
    store: options.Store = None,
    schema: options.Names = None,
    as_json: options.Json = False,
) -> None:
    """
    Delete old records of cancellations, of all organizations, in small slices.

    A record with a pending removal, sweep or hook stays, and so does one that is younger
    than the retry window. The user that connects needs the right to DELETE.

    \b
    Exit codes:
      0  they are deleted, if there were any
      2  the command line is wrong; nothing was done
      5  failed; stderr says why; what is deleted by then stays deleted
    """  # noqa: D301  # \b is a character here: it keeps the list from being wrapped.
    with faults_reported():
        wired = wiring(context, app=app, store=store, schema=schema)
        number = wired.perform_on_store(lambda calls: calls.forget(before, retry_window))
        report = Forgotten(number, retry_window)
    output.answer(report.json() if as_json else report.text())
