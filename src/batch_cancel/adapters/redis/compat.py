"""The differences between the versions of redis-py, from 5.0 on."""

from __future__ import annotations

import contextlib
from importlib.metadata import version
from typing import Any, Final

_VERSION: Final = tuple(int(number) for number in version("redis").split(".")[:2])

CONNECTION_ARGUMENTS: Final[tuple[str, ...]] = ("EVALSHA",) if _VERSION < (5, 3) else ()
"""For a pool's `get_connection`: before 5.3 it needed a command, which it ignored."""

NO_MAINTENANCE_NOTICES: Final[dict[str, Any]] = {}
"""For a pool: disable maintenance notifications, which relax the timeouts."""

with contextlib.suppress(ImportError):  # Before 6.4 there are none.
    from redis.maint_notifications import MaintNotificationsConfig

    NO_MAINTENANCE_NOTICES["maint_notifications_config"] = MaintNotificationsConfig(enabled=False)
