"""
`manage.py batch_cancel cancel|reconcile|...`: the commands of `batch-cancel`.

Django's own options, such as `--settings`, stand before the command; its own stand after it.
"""

from __future__ import annotations

import sys
from argparse import REMAINDER, ArgumentParser
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from batch_cancel.adapters.django import command_line


class Command(BaseCommand):
    """Pass everything on, and exit with the same codes."""

    help = "Cancel batch calling jobs; without arguments it lists its commands."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take whatever follows."""
        parser.add_argument("arguments", nargs=REMAINDER, help="a command and its options")

    def handle(self, *_: Any, arguments: list[str], **options: Any) -> None:
        """
        Run a command.

        Raises:
            CommandError: it ended with another code than 0, and was called from Python.
            SystemExit: likewise, from the command line.
        """
        out, err = options.get("stdout") or sys.stdout, options.get("stderr") or sys.stderr
        with redirect_stdout(out), redirect_stderr(err):
            code = command_line.run(arguments)
        if code and self._called_from_command_line:
            sys.exit(code)
        if code:
            msg = f"batch_cancel {arguments[0] if arguments else ''} ended with exit code {code}"
            raise CommandError(msg, returncode=code)
