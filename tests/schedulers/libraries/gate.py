"""The gate that starts pass, where the library alone cannot tell who was first."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import redis

from batch_cancel.adapters.redis import StartGate

_PATIENCE = timedelta(seconds=10)
_IMPATIENCE = timedelta(milliseconds=200)


def gate(places: Mapping[str, str]) -> StartGate:
    """Return the gate; one that is to be out of reach has a place of its own."""
    if "gate" in places:
        return StartGate(redis.Redis.from_url(places["gate"]), budget=_IMPATIENCE)
    return StartGate(redis.Redis.from_url(places["redis"]), budget=_PATIENCE)


def moment(at: float) -> datetime:
    """Return epoch seconds as what the gate takes."""
    return datetime.fromtimestamp(at, UTC)
