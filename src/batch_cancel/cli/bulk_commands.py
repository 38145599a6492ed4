"""The command that cancels many jobs: cancel-many."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any, Final, Protocol
from uuid import uuid4

import typer

from batch_cancel import BulkResult, JobFilter, JobKey
from batch_cancel.cli import bulk_calls, options, output
from batch_cancel.cli.bulk_calls import Asked, Many
from batch_cancel.cli.bulk_reports import Bulk, Dry
from batch_cancel.cli.durations import moment, number
from batch_cancel.cli.exits import (
    ALREADY_TERMINAL,
    FAILED,
    NOT_FOUND,
    OF_NO_ORGANIZATION,
    faults_reported,
)
from batch_cancel.cli.imports import UsageError
from batch_cancel.cli.job_commands import INTERRUPTED
from batch_cancel.cli.options import wiring
from batch_cancel.cli.program import program

_BOTH: Final = "name the jobs by their ids, or by a filter, not by both"
_NONE: Final = "name the jobs by their ids, or by --organization, --status or a time"
_GO_ON: Final = (
    ": those that this operation has cancelled are not found again; leave --expect out to go on "
    "with the rest"
)
_NO_TERMINAL: Final = (
    "{} jobs would be cancelled permanently, and stdin is no terminal on which that could be "
    "confirmed; nothing was done: add --yes, after a --dry-run"
)


def _time(which: str) -> Any:  # noqa: ANN401  # typer's own type is private.
    return typer.Option(parser=moment, metavar="TIME", help=f"Only jobs {which}.")


@program.command()
def cancel_many(
    context: typer.Context,
    job_ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[JOB_ID]...", help="The jobs, instead of a filter."),
    ] = None,
    *,
    app: options.App = None,
    store: options.Store = None,
    scheduler: options.Scheduler = None,
    schema: options.Names = None,
    organization: options.Organizations = None,
    status: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STATUS",
            help="Only jobs in this status: scheduled, pending or running. May be repeated.",
        ),
    ] = None,
    scheduled_after: Annotated[
        datetime | None,
        _time(
            "that were to start at this time or later: 2026-01-31, 2026-01-31T08:00+01:00, or 7d "
            "for 7 days ago; UTC by default"
        ),
    ] = None,
    scheduled_before: Annotated[
        datetime | None, _time("that were to start before this time")
    ] = None,
    created_after: Annotated[datetime | None, _time("created at this time or later")] = None,
    created_before: Annotated[datetime | None, _time("created before this time")] = None,
    operation_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Names the operation: with the same one it goes on with the rest."
        ),
    ] = None,
    actor: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Who cancels, kept with each job.")
    ] = None,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why, kept with each job.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.001, callback=number, metavar="N", help="How many jobs a second at most."
        ),
    ] = None,
    expect: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Refuse if it is another number of jobs."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count only; nothing is changed.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """
    Cancel many jobs permanently: those of these ids, or the live ones that a filter finds.

    A filter needs --organization, --status or a time. Which jobs it finds is decided at the
    start. A job that fails does not stop the others. On a terminal a bar shows the progress;
    otherwise, and with --json, stdout has one JSON object for each slice of up to 200 jobs, and
    a last one with the failures.

    \b
    Exit codes:
      0  every job is cancelled; or, with --dry-run, counted
      2  the command line is wrong, it was not confirmed, or --expect differs; nothing was done
      3  this organization does not have some of the jobs
      4  some had already ended: completed, failed or cancelled
      5  some failed or were not tried; stderr says why
      130  interrupted; what is cancelled by then stays cancelled
    """  # noqa: D301  # \b is a character here: it keeps the list from being wrapped.
    with faults_reported():
        many = _many(
            job_ids or [],
            organization,
            {
                "statuses": status or None,
                "scheduled_after": scheduled_after,
                "scheduled_before": scheduled_before,
                "created_after": created_after,
                "created_before": created_before,
            },
        )
        wired = wiring(context, app=app, store=store, scheduler=scheduler, schema=schema)
        asked = Asked(operation_id or uuid4().hex, actor, reason, rate)
        may_go_on = operation_id is not None and many.wanted is not None
        if dry_run:
            jobs, looked_at = wired.perform_on_store(
                lambda calls: bulk_calls.look(calls, many, asked.operation_id)
            )
            _check_expected(jobs, expect, may_go_on=may_go_on)
            dry = Dry(jobs, looked_at)
            output.answer(dry.json() if as_json else dry.text())
            _advise(many, is_all=bool(jobs) and not dry.not_found)
            return
        try:
            with _shown(as_json=as_json) as shower:

                def confirm(jobs: int) -> None:
                    _check_expected(jobs, expect, may_go_on=may_go_on)
                    if jobs and not yes:
                        _ask(jobs)
                    shower.begin(BulkResult(operation_id=asked.operation_id, jobs=jobs, left=jobs))

                done = wired.perform(
                    lambda calls: bulk_calls.cancel(
                        calls, many, asked, confirm=confirm, progress=shower.advance
                    )
                )
            shower.end(done.result)
        except ValueError as error:
            raise UsageError(str(error)) from error
        except KeyboardInterrupt as error:
            # The bar has ended: it would break the line, and the operation id in it.
            output.complain(
                f"interrupted: go on by the same command and --operation-id {asked.operation_id}"
            )
            raise typer.Exit(INTERRUPTED) from error
    result, hook = done.result, done.hook
    _advise(many, is_all=bool(result.jobs) and not result.not_found)
    for sentence in Bulk(result).advice(done.fault):
        output.complain(sentence)
    if hook is not None and hook.failed:
        output.complain(
            f"on_cancelled failed {hook.failed} times, the last time with {hook.fault}; "
            "`batch-cancel reconcile` calls it again"
        )
    _exit(result)


def _advise(many: Many, *, is_all: bool) -> None:
    """Print where jobs may be that were not found."""
    if not is_all and many.organization_id is None:
        output.complain(OF_NO_ORGANIZATION)


def _many(job_ids: list[str], organization: str | None, conditions: dict[str, Any]) -> Many:
    is_filtered = any(it is not None for it in conditions.values())
    if job_ids:
        if is_filtered:
            raise UsageError(_BOTH)
        return Many(None, tuple(JobKey(it, organization) for it in dict.fromkeys(job_ids)))
    if organization is None and not is_filtered:
        raise UsageError(_NONE)
    try:
        return Many(JobFilter(organization_id=organization, **conditions), ())
    except ValueError as error:
        raise UsageError(str(error)) from error


def _check_expected(jobs: int, expect: int | None, *, may_go_on: bool) -> None:
    if expect is not None and jobs != expect:
        how = _GO_ON if may_go_on and jobs < expect else ""
        msg = f"--expect {expect}: there are {jobs} jobs; nothing was done{how}"
        raise UsageError(msg)


def _ask(jobs: int) -> None:
    """Have a person confirm; a pipe is refused."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(_NO_TERMINAL.format(jobs))
    if not typer.confirm(f"Cancel {jobs} jobs permanently?", err=True):
        msg = "not confirmed; nothing was done"
        raise UsageError(msg)


def _exit(result: BulkResult) -> None:
    if result.failed or result.left:
        raise typer.Exit(FAILED)
    if result.not_found:
        raise typer.Exit(NOT_FOUND)
    if result.refused:
        raise typer.Exit(ALREADY_TERMINAL)


# What is shown meanwhile -------------------------------------------------------------------------


class _Shower(Protocol):
    """What shows the progress."""

    def begin(self, result: BulkResult) -> None:
        """Show that it begins."""
        ...

    def advance(self, result: BulkResult) -> None:
        """Show the result so far."""
        ...

    def end(self, result: BulkResult) -> None:
        """Show the result."""
        ...


class _Lines:
    """JSON lines."""

    def begin(self, result: BulkResult) -> None:
        self.advance(result)

    def advance(self, result: BulkResult) -> None:
        output.answer(Bulk(result).json(is_final=False))

    def end(self, result: BulkResult) -> None:
        output.answer(Bulk(result).json(is_final=True))


class _Bar:
    """A progress bar."""

    def __init__(self, bar: Any) -> None:  # noqa: ANN401  # rich's; it is imported only if needed.
        self._bar = bar
        self._task: Any = None

    def begin(self, result: BulkResult) -> None:
        output.complain(
            "if this is interrupted, go on by the same command and "
            f"--operation-id {result.operation_id}"
        )
        self._bar.start()
        self._task = self._bar.add_task("jobs", total=result.jobs)

    def advance(self, result: BulkResult) -> None:
        self._bar.update(self._task, completed=result.done)

    def end(self, result: BulkResult) -> None:
        output.answer(Bulk(result).text())


@contextmanager
def _shown(*, as_json: bool) -> Generator[_Shower]:
    """Yield what shows the progress: a bar on a terminal."""
    if as_json or sys.stdout is None or not sys.stdout.isatty():
        yield _Lines()
        return
    from rich.console import Console  # noqa: PLC0415  # It takes long to import.
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    try:
        yield _Bar(bar)
    finally:
        bar.stop()
