"""The gate that starts pass, where the library alone cannot tell who was first."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import redis

from batch_cancel.adapters.redis import StartGate

_PATIENCE = timedelta(seconds=10)


def gate(places: Mapping[str, str]) -> StartGate:
    """Give the gate."""
    return StartGate(redis.Redis.from_url(places["redis"]), budget=_PATIENCE)


def moment(at: float) -> datetime:
    """Give epoch seconds as what the gate takes."""
    return datetime.fromtimestamp(at, UTC)
