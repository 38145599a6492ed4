"""
Find what `module:name` names on the command line: an application's wiring, or its table names.

Rule 1: the current directory is importable, as for uvicorn, celery and gunicorn.
Rule 2: whatever is wrong with a module is one sentence: what it raised, and no traceback. A text
        that may hold a secret is left out.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager

from batch_cancel.use_cases.unexpected import with_text


class UsageError(Exception):
    """What the command line names cannot be used; nothing was done."""


@contextmanager
def importable() -> Generator[None]:
    """Let modules in the current directory be imported, for as long as a command runs."""
    folder = os.getcwd()  # noqa: PTH109  # As sys.path holds it.
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def found(option: str, path: str) -> object:
    """
    Import what `path` names.

    Arguments:
        option: what named it, for the message.
        path: `module:name`; the name may have dots.

    Raises:
        UsageError: it is not of that form, there is no such module or name, or the module raised.
    """
    module, separator, name = path.partition(":")
    if not (separator and module and name):
        msg = f"{option} must be module:name, for example myapp.wiring:app"
        raise UsageError(msg)
    value: object = _imported(option, module)
    for part in name.split("."):
        try:
            value = getattr(value, part)
        except AttributeError as error:
            msg = f"{option}: the module {module!r} has no {name!r}"
            raise UsageError(msg) from error
    return value


def _imported(option: str, module: str) -> object:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            msg = (
                f"{option}: there is no module {error.name!r} in the current directory or where "
                "Python looks for modules"
            )
            raise UsageError(msg) from error
        raise _raised(option, module, error) from error
    except (Exception, SystemExit) as error:
        raise _raised(option, module, error) from error


def _raised(option: str, module: str, error: BaseException) -> UsageError:
    return UsageError(f"{option}: importing the module {module!r} raised {with_text(error)}")
