"""The machine and its load, by what matters for a figure: no name of a host, no path."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from statistics import median
from typing import Final

from benchmarks.findings import number
from benchmarks.place import SETTINGS, Place
from benchmarks.rounds import timed

BUSY: Final = 0.5
"""The load for each core from which figures mean little."""

_COMMITS: Final = 100
_PACKAGES: Final = ("psycopg", "psycopg-pool", "redis")


def load() -> float:
    """Return how many processes were running or waiting for a core or a disk, on average."""
    return os.getloadavg()[0]


def is_busy(load_average: float) -> bool:
    """Check whether others are at work on the machine."""
    return load_average > BUSY * (os.cpu_count() or 1)


def described(place: Place, load_before: float) -> dict[str, str]:
    """
    Return what a reader must know of the machine.

    Arguments:
        place: where it is measured.
        load_before: the load before anything was started.
    """
    settings = ", ".join(f"{name} = {value}" for name, value in SETTINGS.items())
    return {
        "cores": f"{os.cpu_count()}, {platform.machine()}, {platform.system()}",
        "load before": f"{load_before:.2f}" + (" (BUSY)" if is_busy(load_before) else ""),
        "Python": platform.python_version(),
        "Postgres": f"{place.server.version}, fsync = {place.server.query('SHOW fsync')}",
        "settings": settings,
        "one commit": f"{number(_commit_seconds(place) * 1000)} ms",
        "Valkey": place.redis_server.version,
        "drivers": ", ".join(f"{it} {version(it)}" for it in _PACKAGES),
        "other contacts": f"{place.sizes.other_contacts:,}",
    }


def _commit_seconds(place: Place) -> float:
    """Return how long a commit of one row takes, which is mostly the disk's."""
    place.execute("CREATE TABLE one_row AS SELECT 1 AS number")
    update = "UPDATE one_row SET number = number + 1"
    return median(timed(lambda: place.execute(update)) for _ in range(_COMMITS))
