"""Run the program: import its commands, and exit with their code."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from typing import NoReturn

import rich
import typer.core
import typer.main

from batch_cancel.cli import (
    bulk_commands,
    commands,
    history_commands,
    job_commands,
    output,
    store_commands,
    trial_commands,
)
from batch_cancel.cli.program import program

__all__ = [
    "bulk_commands",
    "commands",
    "history_commands",
    "job_commands",
    "program",
    "rich",
    "run",
    "store_commands",
    "trial_commands",
]
"""
The commands add themselves to the program when they are imported.

Some of them need `rich`: where it is missing, none is there.
"""


def run(arguments: Sequence[str] | None, *, name: str, app: str | None) -> NoReturn:
    """Run one command and exit with its code; the arguments are those of `main`."""
    output.prepare()
    # The library's warnings are for the log of a service; here they are printed as sentences.
    logging.getLogger("batch_cancel").addHandler(logging.NullHandler())
    group = _group()
    group(
        args=None if arguments is None else list(arguments),
        prog_name=name,
        default_map={it: {"app": app} for it in group.commands},
    )
    raise SystemExit


@functools.cache
def _group() -> typer.core.TyperGroup:
    """Read all commands' options, once: it takes longer than most commands."""
    return typer.main.get_group(program)
