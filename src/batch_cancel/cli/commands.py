"""The commands: what they are called with, what they tell, and with which code they exit."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib import metadata, resources
from typing import Annotated, Final, NoReturn
from uuid import uuid4

import typer

from batch_cancel import (
    AlreadyTerminal,
    BatchCancelError,
    CancelFailed,
    JobNotFound,
    Removal,
    cancel_job,
)
from batch_cancel.cli import output, urls
from batch_cancel.cli.demo import play
from batch_cancel.presenter import Response, present, present_error

USAGE_ERROR: Final = 2
NOT_FOUND: Final = 3
ALREADY_TERMINAL: Final = 4
FAILED: Final = 5

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
    job_id: Annotated[str, typer.Argument(metavar="JOB_ID", help="The job to cancel.")],
    *,
    store: Annotated[
        str,
        typer.Option(
            metavar="URL",
            envvar="BATCH_CANCEL_STORE",
            help=f"Where the jobs are ({urls.STORES}). A SQLite file must exist.",
        ),
    ],
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="BATCH_CANCEL_SCHEDULER",
            help=f"Where the deferred starts wait ({urls.SCHEDULERS}). "
            "May be left out with a SQLite store: then it is the same file.",
        ),
    ] = None,
    organization: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Whose job it is; left out for a job of none."),
    ] = None,
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

    The answer is one JSON object on stdout, whether it succeeded or not; what went wrong is said
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
    try:
        uow = urls.store_at(store)
        starts = urls.scheduler_at(scheduler, store)
        result = cancel_job(
            job_id,
            uow=uow,
            scheduler=starts,
            organization_id=organization,
            operation_id=operation_id,
            actor=actor,
            reason=reason,
        )
    except (urls.UnusableUrl, ValueError) as error:
        output.complain(str(error))
        raise typer.Exit(USAGE_ERROR) from error
    except BatchCancelError as error:
        _answer(present_error(error))
        output.complain(_what_to_do(error, organization, operation_id))
        raise typer.Exit(_code(error)) from error
    _answer(present(result))
    if result.removal is Removal.PENDING:
        output.complain(
            "the job is cancelled, but the scheduler did not confirm that its deferred start was "
            f"taken back ({starts.fault}); run the same command again once it answers"
        )


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
) -> None:
    """Print the SQL for what the library needs in Postgres: batch-cancel schema | psql."""
    folder = resources.files("batch_cancel.adapters").joinpath("postgres")
    names = ["schema.sql"]
    names += ["reference.sql"] if reference else []
    names += ["guards.sql"] if guards else []
    output.answer("\n".join(folder.joinpath(name).read_text("utf-8") for name in names))


@_app.command()
def demo() -> None:
    """Cancel jobs of every kind in a SQLite file of its own, and show what changes."""
    try:
        play()
    except (OSError, BatchCancelError) as error:
        output.complain(f"the demo needs a temporary folder that it can write to: {error}")
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
