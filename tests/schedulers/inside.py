"""
What runs in a library's own environment: its real client, or one of its real workers.

    python inside.py LIBRARY client|worker PLACES

A module of `libraries` plugs a library in:

    class Client:
        def __init__(self, places): ...
        def schedule(self, deferred_id, at): ...   a job that calls `start`, at a time (epoch)
        def cancel(self, deferred_id): ...         the library's own cancel: whether it says so
        def private_names(self): ...               what our adapter assumes, as the library has it
    def work(places): ...                          a worker, as a user runs it; it does not return

PLACES is JSON: {"redis": url, ...}. The client reads a call a line and writes an answer a line:

    {"call": "schedule", "with": ["a", 1.5]}   ->   {"answer": null}   or   {"error": "..."}
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # A program; its own folder must not shadow anything.
    _ROOT = Path(__file__).resolve().parents[2]
    sys.path[:1] = [str(_ROOT), str(_ROOT / "src")]


def start(places: Mapping[str, str], deferred_id: str) -> None:
    """
    Be the deferred start: say that it ran.

    One whose id begins with "held" goes on until it is released.
    """
    import redis

    with redis.Redis.from_url(places["redis"]) as client:
        client.hincrby("ran", deferred_id, 1)
        if deferred_id.startswith("held"):
            client.blpop([f"release:{deferred_id}"], timeout=60)


def _serve(client: Any) -> None:
    # What a library prints is not an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        call = json.loads(line)
        try:
            told = {"answer": getattr(client, call["call"])(*call["with"])}
        except Exception:  # noqa: BLE001  # Told to whoever called.
            told = {"error": traceback.format_exc()}
        print(json.dumps(told), file=answers, flush=True)


def main() -> None:
    """Run as the command line says."""
    library, role, places = sys.argv[1:]
    module = importlib.import_module(f"tests.schedulers.libraries.{library}")
    if role == "worker":
        module.work(json.loads(places))
    else:
        _serve(module.Client(json.loads(places)))


if __name__ == "__main__":
    main()
