"""
Inject every fault everywhere, print the table, and fail if anything came out wrong.

    python -m tests.faults             the full form: what `make faults` runs
    python -m tests.faults --every 20  a twentieth of it
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from contextlib import ExitStack

from tests.faults import bulks, cancelled_tasks, cut_connections, kills, one_fault
from tests.faults.counts import Tally
from tests.faults.setups import Lender, Lends, open_stage
from tests.pairs import STORES, pairs

SINGLE_FAULTS_MIN = 5_000
CUT_LINES_MIN = 2_000
KILL_POINTS_MIN = 25

_CUTS_PER_LINE = {"postgres": 500, "postgres-async": 500, "redis": 400, "redis-async": 400}
_AFTER_THE_STORE = frozenset({"Scheduler", "OnCancelled"})


def main() -> int:
    """Run everything, and give the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="run every so many-th case only")
    every: int = parser.parse_args().every
    # What it warns of is what is done to it here.
    logging.getLogger().addHandler(logging.NullHandler())
    begun = time.monotonic()
    tally = Tally()
    with ExitStack() as stack:
        run(Lender(stack), tally, every)
    short = shortcomings(tally) if every == 1 else []
    minutes, seconds = divmod(round(time.monotonic() - begun), 60)
    wrong = len(tally.complaints)
    last = f"{tally.total()} faults, {wrong} wrong, in {minutes} min {seconds} s"
    lines_told = [tally.table(), "", *tally.complaints, *short, last]
    sys.stdout.write("\n".join([*lines_told, ""]))
    return 1 if wrong or short else 0


def run(lender: Lends, tally: Tally, every: int) -> None:
    """Run every campaign."""
    for store, scheduler in pairs():
        _say(f"single faults: {store} + {scheduler}")
        with open_stage(store, scheduler, lender) as stage:
            # A store behaves the same whatever the scheduler is: once is enough.
            roots = None if scheduler == "memory" else _AFTER_THE_STORE
            one_fault.campaign(stage, tally, every=every, only_roots=roots)
    for store, scheduler in bulks.PLACES:
        _say(f"many jobs: {store} + {scheduler}")
        with open_stage(store, scheduler, lender) as stage:
            bulks.campaign(stage, tally, every=every)
    for name in cut_connections.LINES:
        _say(f"cut lines: {name}")
        with cut_connections.open_line(name, lender) as line:
            cut_connections.campaign(line, tally, max(20, _CUTS_PER_LINE[name] // every))
    for store, scheduler in kills.PLACES:
        _say(f"kill -9: {store} + {scheduler}")
        with kills.open_place(store, scheduler, lender) as (place, stage):
            kills.campaign(place, stage, tally, every=every)
            bulks.campaign_of_kills(place, stage, tally, every=every)
    for store, scheduler in pairs():
        if store.endswith("-async"):
            _say(f"tasks called off: {store} + {scheduler}")
            with open_stage(store, scheduler, lender) as stage:
                cancelled_tasks.campaign(stage, tally, every=every)
    _say("tasks called off: postgres-async, on new connections")
    with cut_connections.open_line("postgres-async", lender) as line:
        cancelled_tasks.campaign(line.stage, tally, every=every)


def shortcomings(tally: Tally) -> list[str]:
    """Return what a full run must have done, and this one has not."""
    kill_points = sum(name.startswith(kills.GROUP) for name in tally.seen)
    short = [
        f"only {done} {what}, not {least}"
        for what, done, least in (
            ("single faults", tally.total(one_fault.GROUP), SINGLE_FAULTS_MIN),
            ("cut lines", tally.total(cut_connections.GROUP), CUT_LINES_MIN),
            ("kill points", kill_points, KILL_POINTS_MIN),
        )
        if done < least
    ]
    return short + [f"never seen: {what}" for what in SOMETIMES if not tally.seen[what]]


SOMETIMES = (
    "COMMIT lost, then nothing changed",
    "COMMIT's answer lost, then fully cancelled",
    "line cut to server, then nothing changed",
    "line cut to client, then fully cancelled",
    *(
        f"{cancelled_tasks.GROUP}: {store}, cancel, {state}"
        for store in STORES
        if store.endswith("-async")
        for state in ("nothing changed", "fully cancelled")
    ),
)
"""What must be seen in a full run; "X, then Y" is the state when the cancel was tried again."""


def _say(what: str) -> None:
    sys.stderr.write(f"{what}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
