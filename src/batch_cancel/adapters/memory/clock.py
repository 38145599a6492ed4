"""The clock of the memory store and scheduler, which a test may replace."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the time, as an aware datetime."""


def utc_now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)
