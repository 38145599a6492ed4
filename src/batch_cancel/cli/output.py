"""
The output of a command: answers on stdout, sentences on stderr.

Rule 1: a failed write never fails a command. A job is cancelled or it is not, whether or not the
        answer is read to its end.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress


def prepare() -> None:
    """Show characters that the terminal's encoding lacks as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def answer(text: str) -> None:
    """Write to stdout; a reader that closes it, as `head` does, is no error."""
    if sys.stdout is None:  # Closed by the parent process.
        return
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _close_stdout()
    except OSError as error:
        _close_stdout()
        complain(f"the answer could not be written: {error.strerror}")


def complain(sentence: str) -> None:
    """Write one sentence to stderr."""
    if sys.stderr is not None:
        with suppress(OSError):
            sys.stderr.write(f"batch-cancel: {sentence}\n")


def _close_stdout() -> None:
    # Otherwise the interpreter flushes again at exit, and reports the error.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
