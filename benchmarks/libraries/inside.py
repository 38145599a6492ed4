"""
What runs in a peer's own environment.

    python inside.py LIBRARY PLACES

A module of this package plugs a peer in:

    class Peer:
        def __init__(self, places): ...      its client; PLACES is {"redis": url, "postgres": dsn}
        def schedule(self, number): ...      schedules so many items, and returns them
        def cancel(self, items): ...         cancels them, one after another, by its public API

It reads a number a line, schedules and cancels so many items, and writes the seconds of the
cancels. Its first line is the version of the library.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

if __name__ == "__main__":  # A program; its own folder must not shadow a library of that name.
    sys.path[:1] = [str(Path(__file__).resolve().parents[2])]


def main() -> None:
    """Serve until the input ends."""
    library, places = sys.argv[1:]
    # What a library prints is not an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    peer = importlib.import_module(f"benchmarks.libraries.{library}").Peer(json.loads(places))
    print(version(library), file=answers, flush=True)
    for line in sys.stdin:
        items = peer.schedule(int(line))
        begun = time.perf_counter()
        peer.cancel(items)
        print(time.perf_counter() - begun, file=answers, flush=True)


if __name__ == "__main__":
    main()
