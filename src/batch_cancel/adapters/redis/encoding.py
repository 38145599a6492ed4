"""The encoding of texts, numbers and durations in Redis."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

_RETENTION_MAX: Final = timedelta(days=3_652_500)
"""Ten thousand years: in milliseconds still an exact number in Lua."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def encoded(text: str) -> bytes:
    """Encode a text."""
    return text.encode(errors="surrogatepass")


def decoded(data: bytes) -> str:
    """Decode a text."""
    return data.decode(errors="surrogatepass")


def number(number: int) -> bytes:
    """Encode a number."""
    return b"%d" % number


def moment(at: datetime) -> bytes:
    """Encode an aware datetime, in milliseconds."""
    return number((at - _EPOCH) // _MILLISECOND)


def span(duration: timedelta) -> bytes:
    """Encode a duration in milliseconds, rounded up so that it is never too short."""
    return number(-(-duration // _MILLISECOND))


def lasting(retention: timedelta) -> bytes:
    """
    Encode a retention, in milliseconds.

    Raises:
        ValueError: it is not positive, or longer than ten thousand years.
    """
    check_span("the retention", retention, _RETENTION_MAX, "10,000 years")
    return span(retention)


def check_span(what: str, value: timedelta, longest: timedelta, shown: str) -> None:
    """Check that a duration is positive, and at most `longest`, which is `shown`."""
    if value <= timedelta(0):
        msg = f"{what} must be positive, got {value!r}"
        raise ValueError(msg)
    if value > longest:
        msg = f"{what} must be {shown} at most, got {value!r}"
        raise ValueError(msg)
