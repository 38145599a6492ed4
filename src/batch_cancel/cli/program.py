"""The program `batch-cancel`, to which the commands are added."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from batch_cancel.cli import output
from batch_cancel.cli.version import version_line

program: Final = typer.Typer(
    name="batch-cancel",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Frames and colours are noise in a log file.
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001  # How typer calls it.
    if wanted:
        output.answer(version_line())
        raise typer.Exit


@program.callback()
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
    Cancel batch calling jobs permanently.

    A cancelled job starts no new call: its waiting contacts become cancelled, and its deferred
    start is removed. Calls in progress end normally. `batch-cancel demo` shows it.
    """
