"""The commands: what they are called with, what they tell, and with which code they exit."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from importlib import metadata
from typing import Annotated, Final, NoReturn
from uuid import uuid4

import typer

from batch_cancel import (
    AlreadyTerminal,
    BatchCancelError,
    CancelFailed,
    JobKey,
    JobNotFound,
    Removal,
)
from batch_cancel.cli import options, output, reports, urls
from batch_cancel.cli.demo import play
from batch_cancel.cli.durations import duration
from batch_cancel.cli.imports import UsageError, importable
from batch_cancel.cli.options import wiring
from batch_cancel.domain.worker_rules import CLAIM_LIMIT_MAX
from batch_cancel.http.response import Response, present, present_error
from batch_cancel.use_cases.kinds import WrongKind
from batch_cancel.use_cases.unexpected import described

FOUND_AMISS: Final = 1
USAGE_ERROR: Final = 2
NOT_FOUND: Final = 3
ALREADY_TERMINAL: Final = 4
FAILED: Final = 5
STILL_PENDING: Final = 6
SILENT: Final = 7

_app: Final = typer.Typer(
    name="batch-cancel",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Frames and colours say nothing in a log file.
)


def run(arguments: Sequence[str] | None) -> NoReturn:
    """Run one command and exit with its code."""
    output.prepare()
    # The library's warnings are for the log of a service; here they are told as sentences.
    logging.getLogger("batch_cancel").addHandler(logging.NullHandler())
    _app(args=None if arguments is None else list(arguments), prog_name="batch-cancel")
    raise SystemExit


def _print_version(wanted: bool) -> None:  # noqa: FBT001  # How typer calls it.
    if wanted:
        output.answer(f"batch-cancel {metadata.version('batch_cancel')}\n")
        raise typer.Exit


@_app.callback()
def _program(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    """
    Cancel batch-calling jobs, for ever.

    A cancelled job starts no new call: its waiting contacts become cancelled, and its deferred
    start is taken back. Calls in progress end normally. `batch-cancel demo` shows it.
    """


@_app.command()
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
        str | None, typer.Option(metavar="TEXT", help="Who cancels, kept with the job.")
    ] = None,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why, kept with the job.")
    ] = None,
) -> None:
    """
    Cancel one job, for ever.

    The answer is one JSON object on stdout, whether it succeeded or not; what went wrong is
    on stderr. A password in a URL is visible to all users of this machine; give the URL in the
    environment instead (BATCH_CANCEL_STORE, BATCH_CANCEL_SCHEDULER).

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
    with _faults_told():
        wired = wiring(context, app=app, store=store, scheduler=scheduler, schema=schema)
        try:
            done = wired.perform(lambda calls: calls.cancel(key, named))
        except ValueError as error:
            raise UsageError(str(error)) from error
        except BatchCancelError as error:
            _answer(present_error(error))
            output.complain(_what_to_do(error, organization, operation_id))
            raise typer.Exit(_code(error)) from error
    _answer(present(done.result))
    if done.result.removal is Removal.PENDING:
        output.complain(
            "the job is cancelled, but the scheduler did not confirm that its deferred start was "
            f"taken back ({done.fault}); once it answers, run `batch-cancel reconcile`, or the "
            "same command again (exit code 4: the job is cancelled already)"
        )
    if done.hook_fault is not None:
        output.complain(
            f"the job is cancelled, but on_cancelled failed ({done.hook_fault}); "
            "`batch-cancel reconcile` calls it again"
        )


@_app.command()
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
            help="How many cancellations to take up at most.",
        ),
    ] = 1000,
    lease: Annotated[
        float,
        typer.Option(
            min=0,
            max=86_400,
            metavar="SECONDS",
            help="How long whoever cancelled, or another reconcile, may still be at it; "
            "0 takes up everything at once.",
        ),
    ] = 120,
    as_json: options.Json = False,
) -> None:
    """
    Finish the removals of deferred starts that cancellations still owe.

    Run it from anywhere, as often as you like, beside live cancels and beside itself. With --app,
    its on_cancelled is called for the cancellations that are still to be announced; without a
    hook, those stay owed and are not counted.

    \b
    Exit codes:
      0  no removal is left owed, and no hook failed
      2  the command line is wrong; nothing was done
      5  failed; stderr says why
      6  something is still owed; run it again
    """  # noqa: D301  # \b is a character here: it keeps the list from being wrapped.
    with _faults_told():
        wired = wiring(context, app=app, store=store, scheduler=scheduler, schema=schema)
        done = wired.perform(lambda calls: calls.reconcile(limit, timedelta(seconds=lease)))
        report = reports.Reconciled(done.results, done.removals_owed, limit, done.hooks_failed)
    output.answer(report.json() if as_json else report.text())
    if done.fault is not None:
        output.complain(f"the scheduler did not confirm every removal ({done.fault})")
    if done.hook_fault is not None:
        output.complain(f"on_cancelled failed ({done.hook_fault})")
    if report.is_pending:
        output.complain(report.advice(lease))
        raise typer.Exit(STILL_PENDING)


@_app.command()
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
            help="How many pending removals, scheduled jobs and cancelled jobs to look at.",
        ),
    ] = 1000,
    calls_older_than: Annotated[
        timedelta,
        typer.Option(
            parser=duration,
            metavar="DURATION",
            help="How long a call may be live: seconds, or 90s, 45m, 4h, 2d.",
        ),
    ] = "4h",  # type: ignore[assignment]  # typer parses it.
    as_json: options.Json = False,
) -> None:
    """
    Report where database and scheduler have drifted apart; nothing is changed.

    It names removals still owed, deferred starts of cancelled jobs that still wait, scheduled
    jobs that nothing will start, open contacts of cancelled jobs, and jobs with calls that have
    been live for too long. Work in progress can appear as drift; real drift persists: run it
    again.

    \b
    Exit codes:
      0  no drift
      1  drift was found
      2  the command line is wrong
      5  failed; stderr says why
      7  the scheduler did not answer; what the store knows is reported
    """  # noqa: D301  # \b is a character here: it keeps the list from being wrapped.
    with _faults_told():
        wired = wiring(context, app=app, store=store, scheduler=scheduler, schema=schema)
        drift = wired.perform(lambda calls: calls.inspect(limit, calls_older_than))
        report = reports.Inspected(drift, calls_older_than)
    output.answer(report.json() if as_json else report.text())
    if report.drift.is_partial:
        output.complain(f"no more than {limit} of each kind were looked at: see --limit")
    if report.drift.scheduler_fault is not None:
        raise typer.Exit(SILENT)
    if report.drift.is_found:
        raise typer.Exit(FOUND_AMISS)


@_app.command()
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
    with _faults_told():
        wired = wiring(context, app=app, store=store, schema=schema)
        key = JobKey(job_id, organization)
        try:
            ended = wired.perform_on_store(lambda calls: calls.expire(key, older_than))
        except JobNotFound as error:
            output.complain(_what_to_do(error, organization, ""))
            raise typer.Exit(NOT_FOUND) from error
        report = reports.Expired(key, ended)
    output.answer(report.json() if as_json else report.text())


@_app.command()
def check(
    context: typer.Context,
    *,
    app: options.App = None,
    store: options.Store = None,
    scheduler: options.Scheduler = None,
    schema: options.Names = None,
    as_json: options.Json = False,
) -> None:
    """
    Check whether store and scheduler are fit for the library; nothing is changed.

    It looks for tables, columns, keys, indexes, permissions, statuses, versions and settings,
    under the names that PostgresSchema() has, or yours (--schema). What cannot be checked is
    named.

    \b
    Exit codes:
      0  both are fit; what is worth a look may be listed
      1  something is missing; stdout says what
      2  the command line is wrong
      5  failed; stderr says why
      7  the scheduler did not answer; what else was found is reported
    """  # noqa: D301  # \b is a character here: it keeps the list from being wrapped.
    with _faults_told():
        wired = wiring(context, app=app, store=store, scheduler=scheduler, schema=schema)
        found = wired.perform(lambda calls: calls.check())
        notes = [*found.store.notes, *found.notes]
        report = reports.Checked(found.store.problems, found.scheduler, notes, found.fault)
    output.answer(report.json() if as_json else report.text())
    if report.fault is not None:
        raise typer.Exit(SILENT)
    if not report.is_fit:
        raise typer.Exit(FOUND_AMISS)


@_app.command()
def doctor(
    context: typer.Context,
    *,
    app: options.App = None,
    store: options.Store = None,
    schema: options.Names = None,
    as_json: options.Json = False,
) -> None:
    """
    Examine a store: what fits, what is missing, what is slow, what only workers need.

    It reads the database's catalogs and up to 10,000 rows of each table, and has the library's
    statements planned; none of them is run, and nothing is changed.

    \b
    Exit codes:
      0  nothing that a cancel needs is missing or slow; what is worth a look may be listed
      1  something is missing or slow; stdout says what
      2  the command line is wrong
    """  # noqa: D301  # \b is a character here: it keeps the list from being wrapped.
    with _faults_told():
        wired = wiring(context, app=app, store=store, schema=schema)
        report = reports.Doctored(wired.perform_on_store(lambda calls: calls.examine()))
    output.answer(report.json() if as_json else report.text())
    if not report.is_fit:
        raise typer.Exit(FOUND_AMISS)


@_app.command()
def schema(
    *,
    reference: Annotated[
        bool, typer.Option("--reference", help="Add example tables of jobs and contacts.")
    ] = False,
    guards: Annotated[
        bool,
        typer.Option(
            "--guards", help="Add triggers that repair writers who ignore a cancellation."
        ),
    ] = False,
    names: options.Names = None,
) -> None:
    """Print the SQL for what the library needs in Postgres: batch-cancel schema | psql."""
    with _faults_told(), importable():
        text = urls.ddl(names, reference=reference, guards=guards)
    output.answer(text)


@_app.command()
def demo() -> None:
    """Cancel jobs of every kind in a SQLite file of its own, and show what changes."""
    try:
        play()
    except (OSError, BatchCancelError) as error:
        output.complain(f"the demo needs a temporary folder that it can write to: {error}")
        raise typer.Exit(FAILED) from error


@_app.command()
def serve(
    *,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="The address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, metavar="PORT", help="The port; 0 takes a free one.")
    ] = 8000,
) -> None:
    """Serve the HTTP endpoint to try it: seeded jobs in a SQLite file of its own, and a key."""
    try:
        from batch_cancel.cli import serve as server  # noqa: PLC0415  # May not be installed.
    except ModuleNotFoundError as error:
        if error.name != "uvicorn":
            raise
        output.complain("serve needs more: pip install 'batch_cancel[serve]'")
        raise typer.Exit(USAGE_ERROR) from error
    try:
        server.serve(host, port)
    except OSError as error:
        output.complain(f"can't listen on {host}, port {port}: {error.strerror}")
        raise typer.Exit(FAILED) from error


@contextmanager
def _faults_told() -> Generator[None]:
    """Tell of whatever goes wrong in one sentence, and exit with its code."""
    try:
        yield
    except (UsageError, WrongKind) as error:
        output.complain(str(error))
        raise typer.Exit(USAGE_ERROR) from error
    except BatchCancelError as error:
        output.complain(str(error))
        raise typer.Exit(FAILED) from error
    except typer.Exit:
        raise
    except SystemExit as error:  # Its code is that of another program's end, perhaps 0.
        output.complain(
            "the application raised SystemExit, so the command did not finish: run reconcile with "
            "an application that does not"
        )
        raise typer.Exit(FAILED) from error
    except Exception as error:
        output.complain(f"it failed, and nobody foresaw how ({described(error)})")
        raise typer.Exit(FAILED) from error


def _answer(response: Response) -> None:
    output.answer(f"{response.content.decode()}\n")


def _code(error: BatchCancelError) -> int:
    match error:
        case JobNotFound():
            return NOT_FOUND
        case AlreadyTerminal():
            return ALREADY_TERMINAL
        case _:
            return FAILED


def _what_to_do(error: BatchCancelError, organization: str | None, operation_id: str) -> str:
    match error:
        case JobNotFound() if organization is None:
            return f"{error}: name its organization with --organization, if it has one"
        case CancelFailed(outcome="unknown"):
            return f"{error}: --operation-id {operation_id}"
        case _:
            return str(error)
