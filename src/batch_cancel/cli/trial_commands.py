"""The commands to try the library: demo and serve."""

from __future__ import annotations

from typing import Annotated

import typer

from batch_cancel import (
    BatchCancelError,
)
from batch_cancel.cli import output
from batch_cancel.cli.exits import (
    FAILED,
    USAGE_ERROR,
)
from batch_cancel.cli.program import program


@program.command()
def demo() -> None:
    """Cancel jobs of every kind in a SQLite file of its own, and show what changes."""
    # No other command needs the SQLite store and the endpoint's answers.
    from batch_cancel.cli.demo import play  # noqa: PLC0415

    try:
        play()
    except (OSError, BatchCancelError) as error:
        output.complain(f"the demo needs a writable temporary folder: {error}")
        raise typer.Exit(FAILED) from error


@program.command()
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
