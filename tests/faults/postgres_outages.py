"""Ways to shut Postgres down, and settings of a connection to it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import timedelta

from psycopg.conninfo import conninfo_to_dict

from tests.faults.theatre import Theatre
from tests.servers import PostgresServer

SHORT = timedelta(milliseconds=200)


SHUTDOWNS: dict[str, Callable[[PostgresServer], None]] = {
    "fast": lambda server: server.stop(),
    "immediate": lambda server: server.stop(signal.SIGQUIT),
    "kill -9": lambda server: server.kill(),
}


def options(theatre: Theatre, setting: str) -> str:
    """Add a setting to the options of the theatre's connections."""
    return f"{conninfo_to_dict(theatre.dsn)['options']} -c{setting}"
