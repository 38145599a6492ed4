"""The exit codes of the commands, and the sentence that explains each failure."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import typer

from batch_cancel import AlreadyTerminal, BatchCancelError, CancelFailed, JobNotFound
from batch_cancel.cli import output
from batch_cancel.cli.imports import UsageError
from batch_cancel.use_cases.kinds import WrongKind
from batch_cancel.use_cases.unexpected import described

FINDINGS: Final = 1
USAGE_ERROR: Final = 2
NOT_FOUND: Final = 3
ALREADY_TERMINAL: Final = 4
FAILED: Final = 5
STILL_PENDING: Final = 6
SILENT: Final = 7

OF_NO_ORGANIZATION: Final = (
    "only jobs of no organization were looked for: name an organization with --organization"
)


@contextmanager
def faults_reported() -> Generator[None]:
    """Print an error as one sentence, and exit with its code."""
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
    except SystemExit as error:  # Its own code may be 0.
        output.complain(
            "the application raised SystemExit, so the command did not finish: run reconcile with "
            "an application that does not"
        )
        raise typer.Exit(FAILED) from error
    except Exception as error:
        output.complain(f"unexpected error: {described(error)}")
        raise typer.Exit(FAILED) from error


def code_of(error: BatchCancelError) -> int:
    """Return the exit code for an error."""
    match error:
        case JobNotFound():
            return NOT_FOUND
        case AlreadyTerminal():
            return ALREADY_TERMINAL
        case _:
            return FAILED


def what_to_do(error: BatchCancelError, organization: str | None, operation_id: str) -> str:
    """Return the sentence for an error, with what to do."""
    match error:
        case JobNotFound() if organization is None:
            return f"{error}: name its organization with --organization, if it has one"
        case CancelFailed(outcome="unknown"):
            return f"{error}: --operation-id {operation_id}"
        case _:
            return str(error)
