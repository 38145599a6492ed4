"""
Describe an exception that nobody foresaw, without the data that its text may hold.

Rule 1: the text of an exception may hold a host, a password, or the value of a row. It is shown
        only of exceptions by which Python itself reports a mistake in a program, and only if
        nothing in it looks like an address, a secret or a phone number.
Rule 2: of every other exception its type is shown. Drivers' errors quote what they were sent.
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
"""Exact types: a subclass may be a driver's, whose text is not Python's."""

_DATA: Final = re.compile(
    r"://|@|\bdsn\b|passw|pwd|secret|token|api.?key|credential|\d[\d \-().]{3,}\d", re.IGNORECASE
)
_CHARACTERS_MAX: Final = 200


def original(error: BaseException) -> BaseException:
    """Return what was raised: a StopIteration is a RuntimeError once it has left a coroutine."""
    cause = error.__cause__
    is_of_python = str(error) == "coroutine raised StopIteration"
    return cause if isinstance(cause, StopIteration) and is_of_python else error


def described(error: BaseException) -> str:
    """Return the type of an exception and, if it is a mistake in a program, its text."""
    error = original(error)
    if isinstance(error, WrongKind):
        return f"TypeError: {error}"
    if type(error) not in _MISTAKES:
        return type(error).__name__
    return with_text(error)


def with_text(error: BaseException) -> str:
    """Return the type of an exception, and its text if nothing in it looks like data."""
    name = type(error).__name__
    text = " ".join(str(error).split())
    if not text or _DATA.search(text) or not text.isprintable():
        return name
    return f"{name}: {text if len(text) <= _CHARACTERS_MAX else f'{text[:_CHARACTERS_MAX]}...'}"
