"""Run a library's campaign in its own environment, and judge what comes back."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from tests.processes import ServerError
from tests.schedulers.rig import python_of
from tests.servers import PostgresServer, RedisServer
from tests.wiring.catalogue import LIBRARIES
from tests.wiring.events import EVENTS
from tests.wiring.verdict import Record, Tally, tally

_NOTHING: Final[Mapping[str, str]] = {}
TOO_SLOW = 75
_INSIDE = Path(__file__).with_name("inside.py")


def run(
    library: str, settings: Sequence[str] | None = None, events: Sequence[str] | None = None
) -> Tally:
    """Run the settings, all unless said otherwise, with the events, all unless said otherwise."""
    known = LIBRARIES[library]
    settings = settings or list[str](_asked(library, "settings", {}))
    together = [it for it in settings if it not in known.environments]
    groups: list[tuple[list[str], Mapping[str, str]]] = [
        (together, {}),
        *(([it], known.environments[it]) for it in settings if it in known.environments),
    ]
    records: list[Record] = []
    for group, environment in groups:
        if group:
            places = {"settings": group, "events": [*(events or EVENTS)]}
            records += _in_time(library, places, environment)
    return tally(records, known.documented)


def _in_time(library: str, places: dict[str, Any], environment: Mapping[str, str]) -> Any:
    """Run a campaign; if the machine was too slow for it, once more with more time."""
    for patience in (1, 3, 9):
        with ExitStack() as stack:
            told = places | {
                "patience": patience,
                "redis": stack.enter_context(RedisServer.own()).url(),
            }
            if LIBRARIES[library].on_postgres:
                told["postgres"] = stack.enter_context(PostgresServer.own()).dsn()
            records = _asked(library, "campaign", told, environment)
        if records is not None:
            return records
    message = f"the machine is too slow for the campaign of {library}"
    raise ServerError(message)


def _asked(
    library: str, role: str, places: dict[str, Any], environment: Mapping[str, str] = _NOTHING
) -> Any:
    """Run a process in the library's environment, and read what it prints; None: too slow."""
    command = [str(python_of(library)), str(_INSIDE), library, role, json.dumps(places)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": "1", **environment},
    )
    if done.returncode == TOO_SLOW:
        return None
    if done.returncode:
        message = f"the {role} of {library} has failed:\n{done.stderr}"
        raise ServerError(message)
    return json.loads(done.stdout)
