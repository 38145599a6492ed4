"""
What this app has of the command line: its commands, and the application that a setting names.

    BATCH_CANCEL_APP = "mysite.wiring:app"

Rule 1: the setting is what `--app` is, and what the variable of that name in the environment is,
        which counts more. What is typed counts most.
Rule 2: this module alone imports `batch_cancel.cli`, which is a floor above: `manage.py` is a
        command line, but Django looks for its commands in the app.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from django.conf import settings

from batch_cancel.adapters.django.unit_of_work import DjangoUnitOfWork
from batch_cancel.cli import apps, main
from batch_cancel.cli.calls import Calls
from batch_cancel.cli.imports import UsageError, found
from batch_cancel.domain.diagnosis import Diagnosis
from batch_cancel.use_cases.run_blocking import own

SETTING: Final = "BATCH_CANCEL_APP"


def run(arguments: Sequence[str]) -> int:
    """Run a command, and return its exit code."""
    try:
        main(arguments, name="manage.py batch_cancel", app=_setting())
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)


def unusable() -> str | None:
    """Return why the application of the setting cannot be used; None if nothing is known."""
    path = _setting()
    if path is None:
        return f"the setting {SETTING} is missing"
    try:
        found(SETTING, path)
    except UsageError as error:
        return str(error)
    return None


def examined(databases: Collection[str]) -> Diagnosis:
    """
    Examine the store of the application, if it is in one of these databases of Django's.

    A store on a connection of its own is left to `manage.py batch_cancel check`. A setting that
    names nothing is `unusable`, and nothing is said of it here.
    """
    path = _setting()
    if path is None or unusable() is not None:
        return Diagnosis()
    try:
        return apps.perform(path, lambda calls: _examine(calls, databases))
    except UsageError as error:
        # No option was typed.
        return Diagnosis(missing=(f"{SETTING}{str(error).removeprefix('--app')}",))


async def _examine(calls: Calls, databases: Collection[str]) -> Diagnosis:
    uow = own(calls.uow)
    is_asked = isinstance(uow, DjangoUnitOfWork) and uow.using in databases
    return await calls.examine() if is_asked else Diagnosis()


def _setting() -> str | None:
    path: Any = getattr(settings, SETTING, None)
    return path if path is None else str(path)
