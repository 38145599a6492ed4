"""What the libraries' modules share."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import redis

PATIENCE = timedelta(seconds=10)


def blocking(places: Mapping[str, Any]) -> redis.Redis:
    """Return a client of ours, beside the library's own."""
    return redis.Redis.from_url(places["redis"])
