"""Durations, times and numbers as command line options."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Final

import typer

from batch_cancel.domain.history import check_retry_window
from batch_cancel.domain.worker_rules import check_age

_UNITS: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}

_WRITTEN: Final = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)(ms|[smhd]?)", re.ASCII)


def span(text: str) -> timedelta:
    """
    Parse a duration: seconds, or a number with a unit, as in 250ms, 90s, 45m, 4h or 2d.

    Raises:
        ValueError: it is not a duration, or longer than a timedelta can be.
    """
    written = _WRITTEN.fullmatch(text)
    if written is None:
        msg = "not a duration: write seconds, or 90s, 45m, 4h, 2d"
        raise ValueError(msg)
    number, unit = written.groups()
    try:
        return timedelta(seconds=float(number) * _UNITS[unit])
    except OverflowError as error:
        msg = "a duration must be shorter"
        raise ValueError(msg) from error


def number(value: float | None) -> float | None:
    """
    Return the number of an option: NaN is within any bounds for click, and thus for older typers.

    Raises:
        typer.BadParameter: it is NaN.
    """
    if value is not None and math.isnan(value):
        msg = "nan is not a number"
        raise typer.BadParameter(msg)
    return value


def duration(text: str) -> timedelta:
    """
    Parse the age of a call.

    Raises:
        typer.BadParameter: it is not a duration, or out of range.
    """
    _check_written(text)
    try:
        age = span(text)
        check_age(age)
    except ValueError as error:
        msg = f"{text!r} must be longer than 0 and at most a century"
        raise typer.BadParameter(msg) from error
    return age


def window(text: str) -> timedelta:
    """
    Parse how long a client may ask again.

    Raises:
        typer.BadParameter: it is not a duration, or out of range.
    """
    _check_written(text)
    try:
        found = span(text)
        check_retry_window(found)
    except ValueError as error:
        msg = f"{text!r} must be 0 to a century"
        raise typer.BadParameter(msg) from error
    return found


def lease_time(text: str) -> timedelta:
    """
    Parse how long a record is left to whoever took it.

    Raises:
        typer.BadParameter: it is not a duration, or longer than a day.
    """
    return _within_a_day(text, timedelta(0))


def interval(text: str) -> timedelta:
    """
    Parse the pause between two passes.

    Raises:
        typer.BadParameter: it is not a duration, shorter than 0.1 s, or longer than a day.
    """
    return _within_a_day(text, timedelta(seconds=0.1))


def _within_a_day(text: str, least: timedelta) -> timedelta:
    _check_written(text)
    msg = f"{text!r} must be {least.total_seconds():g} s to a day"
    try:
        found = span(text)
    except ValueError as error:
        raise typer.BadParameter(msg) from error
    if not least <= found <= timedelta(days=1):
        raise typer.BadParameter(msg)
    return found


def _check_written(text: str) -> None:
    if _WRITTEN.fullmatch(text) is None:
        msg = f"{text!r} is not a duration: write seconds, or 90s, 45m, 4h, 2d"
        raise typer.BadParameter(msg)


def moment(text: str) -> datetime:
    """
    Parse a date or time in ISO 8601, in UTC by default, or a duration: so long ago.

    Raises:
        typer.BadParameter: it is neither.
    """
    try:
        if _WRITTEN.fullmatch(text) is not None and not text.isdecimal():
            return datetime.now(UTC) - span(text)
        read = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        msg = (
            f"{text!r} is not a time: write 2026-01-31, 2026-01-31T08:00+01:00, or 30d for 30 "
            "days ago"
        )
        raise typer.BadParameter(msg) from error
    return read if read.tzinfo is not None else read.replace(tzinfo=UTC)
