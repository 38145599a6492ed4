"""How long something takes, as it is written on a command line."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

import typer

from batch_cancel.domain.guards import check_age

_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}

_WRITTEN: Final = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)([smhd]?)", re.ASCII)


def duration(text: str) -> timedelta:
    """
    Read a duration: seconds, or a number with a unit, as in 90s, 45m, 4h or 2d.

    Raises:
        typer.BadParameter: it is none, or not the age of a call.
    """
    written = _WRITTEN.fullmatch(text)
    if written is None:
        msg = f"{text!r} is no duration: write seconds, or 90s, 45m, 4h, 2d"
        raise typer.BadParameter(msg)
    number, unit = written.groups()
    try:
        age = timedelta(seconds=float(number) * _UNITS[unit])
        check_age(age)
    except (OverflowError, ValueError) as error:
        msg = f"{text!r} must be longer than 0 and at most a century"
        raise typer.BadParameter(msg) from error
    return age
