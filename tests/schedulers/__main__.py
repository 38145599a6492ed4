"""
`make schedulers`: race cancels on every library, and print what came of it.

    python -m tests.schedulers [LIBRARY ...] [--races N]

Ends with 1 unless every answer of ours was right and the races were close.
"""

from __future__ import annotations

import argparse
import sys

from tests.schedulers import on_postgres
from tests.schedulers.catalogue import LIBRARIES
from tests.schedulers.races import Tally, race, replies_dropped, replies_dropped_async
from tests.schedulers.rig import Rig
from tests.servers import RedisServer

_REPLIES = 200
_OWN_RACES = 200
_LINE = "{:<16} {:>6} {:>6} {:>6} {:>5} {:>5}   {}"


def main() -> int:
    """Race, and say how it went."""
    parser = argparse.ArgumentParser(prog="python -m tests.schedulers")
    parser.add_argument("libraries", nargs="*", choices=[*LIBRARIES, on_postgres.NAME, []])
    parser.add_argument("--races", type=int)
    given = parser.parse_args()
    _tell("(a) said True, and it ran; (b) said False, and it did not run")
    _tell(_LINE.format("", "raced", "True", "False", "(a)", "(b)", "reply dropped: right"))
    chosen = given.libraries or [*LIBRARIES, on_postgres.NAME]
    fine = [
        _run_on_postgres(given.races) if name == on_postgres.NAME else _run(name, given.races)
        for name in chosen
    ]
    return 0 if all(fine) else 1


def _run(name: str, races: int | None) -> bool:
    library = LIBRARIES[name]
    races = races or library.races
    with RedisServer.own() as server, Rig(library, {"redis": server.url()}) as rig:
        rig.start_workers()
        ours = library.scheduler(server.client)
        tally = race(rig, lambda it: ours.cancel(it, f"operation {it}"), races, "ours")
        right = replies_dropped(rig, _REPLIES, "dropped")
        right_async = replies_dropped_async(rig, _REPLIES, "dropped-async")
        _print(name, tally, f"{right} of {_REPLIES}, asyncio {right_async} of {_REPLIES}")
        if library.has_own_cancel:
            own = race(rig, lambda it: rig.ask("cancel", it), min(races, _OWN_RACES), "own")
            _print("  its own cancel", own, "")
    return tally.is_exact and tally.is_fair and right == right_async == _REPLIES


def _run_on_postgres(races: int | None) -> bool:
    races = races or on_postgres.RACES
    with on_postgres.at_work() as rig:
        ours = rig.ours()
        tally = race(rig, lambda it: ours.cancel(rig.ids[it], f"operation {it}"), races, "ours")
        right = rig.replies_dropped(_REPLIES, "dropped")
        _print(on_postgres.NAME, tally, f"{right} of {_REPLIES}")
        own = race(rig, lambda it: rig.ask("cancel", rig.ids[it]), min(races, _OWN_RACES), "own")
        _print("  its own cancel", own, "")
    return tally.is_exact and tally.is_fair and right == _REPLIES


def _print(name: str, tally: Tally, note: str) -> None:
    counts = (tally.raced, tally.taken_back, tally.left, tally.ran_all_the_same, tally.lost)
    _tell(_LINE.format(name, *counts, note))


def _tell(line: str) -> None:
    sys.stdout.write(f"{line.rstrip()}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
