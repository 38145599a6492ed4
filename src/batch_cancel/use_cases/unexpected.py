"""
Describe an unexpected exception without the data that its text may contain.

Rule 1: the text of an exception may contain a host, a password, or the value of a row. It is shown
        only for exceptions by which Python reports a programming error, and only if it has no word
        that looks like an address, a secret or a phone number.
Rule 2: every other exception is shown by its type alone. Drivers' errors quote values.
"""

from __future__ import annotations

import re
from typing import Final

from batch_cancel.use_cases.kinds import WrongKind

_MISTAKES: Final = frozenset(
    {
        AttributeError,
        ImportError,
        ModuleNotFoundError,
        NameError,
        NotImplementedError,
        RecursionError,
        RuntimeError,
        TypeError,
        UnboundLocalError,
    }
)
"""Exact types: a subclass may be a driver's, whose text may quote values."""

_DATA: Final = re.compile(
    r"://|@|\bdsn\b|passw|pwd|secret|token|api.?key|credential|\d[\d \-().]{3,}\d", re.IGNORECASE
)
_CHARACTERS_MAX: Final = 200


_STOPPED: Final = "coroutine raised StopIteration"


def original(error: BaseException) -> BaseException:
    """
    Return the original exception: a coroutine of ours turns a StopIteration into a RuntimeError.

    A RuntimeError that a coroutine of the caller's has made of one stays as it is. The text of an
    exception is never asked for: its `__str__` may raise.
    """
    cause = error.__cause__
    if type(error) is not RuntimeError or not isinstance(cause, StopIteration):
        return error
    return cause if error.args == (_STOPPED,) and _left_ours(cause) else error


def _left_ours(stopped: StopIteration) -> bool:
    """Check whether the coroutine that a StopIteration has left is one of this package."""
    trace = stopped.__traceback__
    module: object = trace and trace.tb_frame.f_globals.get("__name__")
    return isinstance(module, str) and module.startswith("batch_cancel.")


def described(error: BaseException) -> str:
    """Return the type of an exception and, for a programming error, its text."""
    error = original(error)
    if isinstance(error, WrongKind):
        return f"TypeError: {error}"
    if type(error) not in _MISTAKES:
        return type(error).__name__
    return with_text(error)


def with_text(error: BaseException) -> str:
    """Return the type of an exception, and its text unless it looks like data."""
    name = type(error).__name__
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001  # Its `__str__` is of the caller's, too.
        return name
    if not text or _DATA.search(text) or not text.isprintable():
        return name
    return f"{name}: {text if len(text) <= _CHARACTERS_MAX else f'{text[:_CHARACTERS_MAX]}...'}"
