"""
The command line: `batch-cancel`.

What it needs beyond the library comes with the extra `cli`; without it, one sentence says so.
`batch-cancel --version` needs none of it, and loads none of it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from batch_cancel.cli import output
from batch_cancel.cli.version import version_line

__all__ = ["main"]

_USAGE_ERROR: Final = 2


def main(
    arguments: Sequence[str] | None = None, *, name: str = "batch-cancel", app: str | None = None
) -> NoReturn:
    """
    Run the command line and exit with its code.

    Arguments:
        arguments: what follows the program's name; None for this process's own.
        name: the program's name in its help.
        app: what counts as `--app` where neither that nor a URL is given, as `module:name`.
    """
    if list(sys.argv[1:] if arguments is None else arguments) == ["--version"]:
        output.answer(version_line())
        sys.exit()
    try:
        from batch_cancel.cli.run import run  # noqa: PLC0415  # May not be installed.
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("batch_cancel"):
            raise
        sys.stderr.write("batch-cancel needs more: pip install 'batch_cancel[cli]'\n")
        sys.exit(_USAGE_ERROR)
    run(arguments, name=name, app=app)
