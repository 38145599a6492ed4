"""The commands on jobs: their options, answers and exit codes."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated
from uuid import uuid4

import typer

from batch_cancel import (
    BatchCancelError,
    JobKey,
    JobNotFound,
    Removal,
)
from batch_cancel.cli import options, output, reports
from batch_cancel.cli.calls import Pass
from batch_cancel.cli.durations import duration, interval, lease_time
from batch_cancel.cli.exits import (
    FINDINGS,
    NOT_FOUND,
    SILENT,
    STILL_PENDING,
    code_of,
    faults_reported,
    what_to_do,
)
from batch_cancel.cli.imports import UsageError
from batch_cancel.cli.options import wiring
from batch_cancel.cli.passes import Loop
from batch_cancel.cli.program import program
from batch_cancel.domain.defaults import CALL_AGE_SUSPECT, LOOK_LIMIT, RECONCILE_LEASE
from batch_cancel.domain.worker_rules import CLAIM_LIMIT_MAX
from batch_cancel.http.response import Response, present, present_error

_LEASE = f"{RECONCILE_LEASE // timedelta(seconds=1)}s"


@program.command()
def cancel(
    context: typer.Context,
    job_id: Annotated[str, typer.Argument(metavar="JOB_ID", help="The job to cancel.")],
    *,
    app: options.App = None,
    store: options.Store = None,
    scheduler: options.Scheduler = None,
    schema: options.Names = None,
    organization: options.Organization = None,
    operation_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Names this cancellation: the same one asked again gets the same answer.",
        ),
    ] = None,
    actor: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Who cancels, kept in the record.")
    ] = None,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why, kept in the record.")
    ] = None,
) -> None:
    """
    Cancel one job permanently.

    The answer is one JSON object on stdout, whether it succeeded or not; errors are on stderr. A
    password in a URL is visible to all users of this machine; give the URL in the environment
    instead (BATCH_CANCEL_STORE, BATCH_CANCEL_SCHEDULER).

    \b
    Exit codes:
      0  cancelled
      2  the command line is wrong; nothing was done
      3  this organization has no such job
      4  the job has already ended: completed, failed or cancelled
      5  failed; stderr says whether anything was changed
    """  # noqa: D301  # \b is a character here: it keeps the list from being wrapped.
    if operation_id is None:
        operation_id = uuid4().hex
    key = JobKey(job_id, organization)
    named = {"operation_id": operation_id, "actor": actor, "reason": reason}
    with faults_reported():
        wired = wiring(context, app=app, store=store, scheduler=scheduler, schema=schema)
        try:
            done = wired.perform(lambda calls: calls.cancel(key, named))
        except ValueError as error:
            raise UsageError(str(error)) from error
        except BatchCancelError as error:
            _answer(present_error(error))
            output.complain(what_to_do(error, organization, operation_id))
            raise typer.Exit(code_of(error)) from error
    _answer(present(done.result))
    if done.result.removal is Removal.PENDING:
        output.complain(
            "the job is cancelled, but the scheduler did not confirm the removal of its deferred "
            f"start ({done.fault}); once it answers, run `batch-cancel reconcile`"
        )
    if done.hook_fault is not None:
        output.complain(
            f"the job is cancelled, but on_cancelled failed ({done.hook_fault}); "
            "`batch-cancel reconcile` calls it again"
        )


@program.command()
def reconcile(
    context: typer.Context,
    *,
    app: options.App = None,
    store: options.Store = None,
    scheduler: options.Scheduler = None,
    schema: options.Names = None,
    limit: Annotated[
        int,
        typer.Option(
            min=1,
            max=CLAIM_LIMIT_MAX,
            metavar="N",
            help="How many cancellations to take at most.",
        ),
    ] = LOOK_LIMIT,
    lease: Annotated[
        timedelta,
        typer.Option(
            parser=lease_time,
            show_default=False,
            metavar="DURATION",
            help="How long a cancellation is left to its own process or to another reconcile: "
            f"seconds, or 90s, 45m; {_LEASE} by default. 0 takes all at once.",
        ),
    ] = _LEASE,  # type: ignore[assignment]  # typer parses it.
    loop: Annotated[
        timedelta | None,
        typer.Option(
            parser=interval,
            metavar="DURATION",
            help="Make a pass again and again, with a pause of so long (seconds, or 90s, 45m), "
            "until SIGTERM or SIGINT.",
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """
    Finish what cancels left pending: sweeps of contacts, and removals of deferred starts.

    Run it from anywhere, as often as you like, beside live cancels and beside itself. With --app,
    its on_cancelled is called where that is pending; without a hook, it stays pending and is not
    counted.

    With --loop, each pass is one line. A signal ends it before the scheduler or the hook
    is called again, with exit code 0. A pass that fails, because the store or the scheduler is
    down, is reported, and the next one tries again.

    \b
    Exit codes:
      0  no removal and no sweep is left pending, and no hook failed
      2  the command line is wrong; nothing was done
      5  failed; stderr says why
      6  something is still pending; run it again
    """  # noqa: D301  # \b is a character here: it keeps the list from being wrapped.
    with faults_reported():
        wired = wiring(context, app=app, store=store, scheduler=scheduler, schema=schema)
        if loop is not None:
            passes = Loop(
                loop.total_seconds(),
                limit,
                lease,
                lambda it: _line(it, limit, as_json=as_json),
            )
            with passes.on_signals():
                while not passes.is_stopping:
                    wired.perform(passes.run)
            return
        done = wired.perform(lambda calls: calls.reconcile(limit, lease))
        report = _report(done, limit)
    output.answer(report.json() if as_json else report.text())
    for fault in _faults(done):
        output.complain(fault)
    if report.is_pending:
        output.complain(report.advice(lease))
        raise typer.Exit(STILL_PENDING)


def _report(done: Pass, limit: int) -> reports.Reconciled:
    return reports.Reconciled(
        done.results,
        done.removals_pending,
        done.sweeps_pending,
        limit,
        done.hooks_failed,
        done.set_back,
    )


def _faults(done: Pass) -> list[str]:
    """Return what went wrong in a pass, in sentences."""
    faults: list[str] = []
    if done.fault is not None:
        faults.append(f"the scheduler did not confirm every removal ({done.fault})")
    if done.hook_fault is not None:
        faults.append(f"on_cancelled failed ({done.hook_fault})")
    return faults


def _line(done: Pass, limit: int, *, as_json: bool) -> None:
    """Print one of many passes, as one line."""
    report, faults = _report(done, limit), _faults(done)
    if not as_json:
        output.answer(report.line(*faults))
        return
    output.answer(report.json())
    for fault in faults:
        output.complain(fault)


@program.command()
def inspect(
    context: typer.Context,
    *,
    app: options.App = None,
    store: options.Store = None,
    scheduler: options.Scheduler = None,
    schema: options.Names = None,
    limit: Annotated[
        int,
        typer.Option(
            min=1,
            max=CLAIM_LIMIT_MAX,
            metavar="N",
            help="How many pending removals, scheduled jobs and cancelled jobs to read.",
        ),
    ] = LOOK_LIMIT,
    calls_older_than: Annotated[
        timedelta,
        typer.Option(
            parser=duration,
            metavar="DURATION",
            help="How long a call may be live: seconds, or 90s, 45m, 4h, 2d.",
        ),
    ] = f"{CALL_AGE_SUSPECT // timedelta(hours=1)}h",  # type: ignore[assignment]  # typer parses it.
    as_json: options.Json = False,
) -> None:
    """
    Report where database and scheduler have drifted apart, without a change.

    It names pending removals and sweeps, deferred starts of cancelled jobs that still wait,
    scheduled jobs without a waiting start, open contacts of cancelled jobs, and jobs with calls
    that have been live for too long. Work in progress can appear as drift; real drift persists:
    run it again.

    \b
    Exit codes:
      0  no drift in what was read; stderr says if a limit was met
      1  drift was found
      2  the command line is wrong
      5  failed; stderr says why
      7  the scheduler did not answer; what the store knows is reported
    """  # noqa: D301  # \b is a character here: it keeps the list from being wrapped.
    with faults_reported():
        wired = wiring(context, app=app, store=store, scheduler=scheduler, schema=schema)
        drift = wired.perform(lambda calls: calls.inspect(limit, calls_older_than))
        report = reports.Inspected(drift, calls_older_than)
    output.answer(report.json() if as_json else report.text())
    if report.drift.is_partial:
        output.complain(f"only {limit} of each kind were read: see --limit")
    if report.drift.scheduler_fault is not None:
        raise typer.Exit(SILENT)
    if report.drift.is_found:
        raise typer.Exit(FINDINGS)


@program.command()
def expire_calls(
    context: typer.Context,
    job_id: Annotated[str, typer.Argument(metavar="JOB_ID", help="The job.")],
    *,
    older_than: Annotated[
        timedelta,
        typer.Option(
            parser=duration,
            metavar="DURATION",
            help="End the calls that have been live for longer: seconds, or 90s, 45m, 4h, 2d. "
            "Choose more than any call lasts.",
        ),
    ],
    app: options.App = None,
    store: options.Store = None,
    schema: options.Names = None,
    organization: options.Organization = None,
    as_json: options.Json = False,
) -> None:
    """
    End the calls of a job that have been live for too long: those of dead workers.

    Their contacts become timeout, and are dialled again; in a cancelled job they become cancelled.
    A worker that is alive after all can no longer settle such a call. `inspect` names the jobs
    that have such calls.

    \b
    Exit codes:
      0  they are ended, or the job has no such call
      2  the command line is wrong; nothing was done
      3  this organization has no such job
      5  failed; stderr says why
    """  # noqa: D301  # \b is a character here: it keeps the list from being wrapped.
    with faults_reported():
        wired = wiring(context, app=app, store=store, schema=schema)
        key = JobKey(job_id, organization)
        try:
            ended = wired.perform_on_store(lambda calls: calls.expire(key, older_than))
        except JobNotFound as error:
            output.complain(what_to_do(error, organization, ""))
            raise typer.Exit(NOT_FOUND) from error
        report = reports.Expired(key, ended)
    output.answer(report.json() if as_json else report.text())


def _answer(response: Response) -> None:
    output.answer(f"{response.content.decode()}\n")
