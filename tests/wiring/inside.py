"""
What runs in a library's own environment: a campaign over some of its settings.

    python inside.py LIBRARY settings PLACES      prints the names of the settings
    python inside.py LIBRARY campaign PLACES      prints a list of records
    python inside.py LIBRARY worker PLACES        its workers, in a process of their own

A module of `libraries` plugs a library in:

    SETTINGS: {name: options}, of what a user of the library can set
    class World:
        def __init__(self, places, name, options): ...
        ours, ours_async(client)            our adapter, its client and queue those of the setting
        def schedule(self, start_id, at): ...   False if the library takes no such id now
        def carry(self): ...        bring what was scheduled to where it waits
        def move(self): ...         bring what is due to the workers' queue
        def work(self): ...         run what is there, with the library's real worker, and end

PLACES is JSON: {"redis": url, "settings": [...], "events": [...], "patience": 1}.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # A program; its own folder must not shadow anything.
    _ROOT = Path(__file__).resolve().parents[2]
    sys.path[:1] = [str(_ROOT), str(_ROOT / "src")]

import redis
import redis.asyncio

from batch_cancel.ports import SchedulerUnavailable

AHEAD_SECONDS = 2.0
TOO_SLOW = 75
"""Ends with this if the machine was: what was to wait was due before it was cancelled."""
DUE_SECONDS = 0.1
"""How long after they are due starts are cancelled, unless a module has its own `SECONDS_DUE`."""

AGAIN_SECONDS = 1.0
"""How long a library waits before it runs again what failed."""


class Retried(Exception):
    """What a job ends with that shall run again."""


def fire(url: str, start_id: str) -> None:
    """Be the deferred start: note that it ran, and do what its id says."""
    with redis.Redis.from_url(url, decode_responses=True) as client:
        runs = client.hincrby("ran", start_id, 1)
        if start_id.startswith(("running", "fails")):
            # Whoever cancels is another program: here, whoever is at the other end of this list.
            client.rpush("cancel", start_id)
            for _ in range(30):
                if client.blpop([f"cancelled:{start_id}"], timeout=1):
                    break
        if start_id.startswith(("failed", "fails")) and runs == 1:
            raise Retried


class Start:
    """One start of one setting."""

    def __init__(self, world: Any, setting: str, event: str, second: str, shared: Any) -> None:
        self.world, self.shared = world, shared
        self.id = f"{event} {second} {setting}".replace(" ", "-")
        self.second = "operation" if second == "same" else "another"
        self.record: dict[str, Any] = {
            "setting": setting,
            "event": event,
            "second": second,
            "answers": [],
            "waited": None,
            "waits": None,
            "ran_before": 0,
            "ran": 0,
            "skipped": False,
            "took": True,
        }

    def schedule(self, after: str = "due") -> bool:
        """Schedule it for a stage."""
        took = self.world.schedule(self.id, self.shared.moments[after])
        self.record["took"] &= took is not False
        return took is not False

    def cancel(self, operation: str) -> None:
        """Cancel it with our adapter: the first time the blocking one, then its asyncio twin."""
        answer: bool | str
        try:
            if self.record["answers"]:
                answer = asyncio.run(self._cancel_async(operation))
            else:
                answer = self.world.ours.cancel(self.id, operation)
        except SchedulerUnavailable as error:
            answer = error.reason
        self.record["answers"].append(answer)
        self.record["waits"] = bool(self.world.ours.waiting_among({self.id}))

    async def _cancel_async(self, operation: str) -> bool:
        async with redis.asyncio.Redis.from_url(self.shared.url) as client:
            return bool(await self.world.ours_async(client).cancel(self.id, operation))

    def look(self) -> None:
        """Note how often it has run, and whether it waits."""
        self.record["ran_before"] = self.shared.ran(self.id)
        self.record["waited"] = bool(self.world.ours.waiting_among({self.id}))

    def skip(self) -> None:
        """Note that there is no such event."""
        self.record["skipped"] = True


class Shared:
    """The clock of the campaign, and what has run."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client: Any = redis.Redis.from_url(url, decode_responses=True)
        self.moments: dict[str, float] = {}
        self.seconds_again = AGAIN_SECONDS
        self.seconds_due = DUE_SECONDS

    def ran(self, start_id: str) -> int:
        """Return how often it has run."""
        return int(self.client.hget("ran", start_id) or 0)


class Workers:
    """The workers of all settings, in a process of their own."""

    def __init__(self, library: str, places: dict[str, Any]) -> None:
        pipe = subprocess.PIPE
        command = [sys.executable, __file__, library, "worker", json.dumps(places)]
        # A set is written in another order there.
        environment = os.environ | {"PYTHONHASHSEED": "2"}
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, env=environment
        )

    def do(self, call: str) -> None:
        """Have each of them do it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(call, file=self._process.stdin, flush=True)
        if self._process.stdout.readline() != "done\n":
            message = f"the workers died while they should {call}"
            raise RuntimeError(message)

    def end(self) -> None:
        """Let them go."""
        self._process.communicate()


def serve(module: Any, places: dict[str, Any]) -> None:
    """Be the workers: a call a line."""
    answers, sys.stdout = sys.stdout, sys.stderr
    worlds = _worlds(module, places)
    for line in sys.stdin:
        for world in worlds.values():
            getattr(world, line.strip())()
        print("done", file=answers, flush=True)


def _worlds(module: Any, places: dict[str, Any]) -> dict[str, Any]:
    return {name: module.World(places, name, module.SETTINGS[name]) for name in places["settings"]}


def campaign(module: Any, places: dict[str, Any], workers: Workers) -> list[dict[str, Any]]:
    """Run the settings in step."""
    from tests.wiring.events import EVENTS, STAGES

    shared = Shared(places["redis"])
    shared.seconds_again = getattr(module, "SECONDS_AGAIN", AGAIN_SECONDS)
    shared.seconds_due = getattr(module, "SECONDS_DUE", DUE_SECONDS)
    worlds = _worlds(module, places)
    workers.do("carry")  # They are at work.
    starts = [
        Start(world, name, event, second, shared)
        for name, world in worlds.items()
        for event in places["events"]
        for second in ("same", "another")
    ]
    began = time.time()
    shared.moments = {
        "due": began + places["patience"] * (AHEAD_SECONDS + 0.01 * len(starts)),
        "never": began + 10 * 365 * 86400,
    }
    stop = _cancel_from_outside(shared, {start.id: start for start in starts})
    scripts = [(start, EVENTS[start.record["event"]](start)) for start in starts]
    waits_for = {start.id: next(script, None) for start, script in scripts}
    for stage in STAGES:
        _reach(stage, workers, shared)
        for start, script in scripts:
            if waits_for[start.id] == stage:
                waits_for[start.id] = next(script, None)
    _reach("later", workers, shared)
    stop()
    for start in starts:
        start.record["ran"] = shared.ran(start.id)
    return [start.record for start in starts]


def _reach(stage: str, workers: Workers, shared: Shared) -> None:
    """Do what brings all starts to this stage."""
    match stage:
        case "waiting":
            workers.do("carry")
        case "due":
            if shared.moments["due"] < time.time():
                sys.exit(TOO_SLOW)
            time.sleep(shared.moments["due"] - time.time() + shared.seconds_due)
        case "queued":
            workers.do("move")
        case "ran":
            workers.do("work")
            shared.moments["later"] = time.time() + shared.seconds_again
        case _:
            workers.do("carry")
            time.sleep(max(0.0, shared.moments["later"] - time.time()) + 0.1)
            workers.do("move")
            workers.do("work")


def _cancel_from_outside(shared: Shared, starts: dict[str, Start]) -> Any:
    """Cancel what runs, from a thread of its own, until told to stop."""
    import threading

    def cancel() -> None:
        with redis.Redis.from_url(shared.url, decode_responses=True) as client:
            while True:
                asked = client.blpop(["cancel"], timeout=1)
                if not asked:
                    continue
                if asked[1] == "stop":
                    return
                start = starts[str(asked[1])]
                if not start.record["answers"]:
                    start.look()
                    start.cancel("operation")
                    start.cancel(start.second)
                client.rpush(f"cancelled:{asked[1]}", "go")

    thread = threading.Thread(target=cancel, daemon=True)
    thread.start()

    def stop() -> None:
        shared.client.rpush("cancel", "stop")
        thread.join(60)

    return stop


def main() -> None:
    """Run as the command line says."""
    library, role, given = sys.argv[1:]
    places = json.loads(given)
    module = importlib.import_module(f"tests.wiring.libraries.{library}")
    if role == "settings":
        sys.stdout.write(json.dumps([*module.SETTINGS]))
        return
    if role == "worker":
        serve(module, places)
        return
    answers, sys.stdout = sys.stdout, sys.stderr
    workers = Workers(library, places)
    try:
        print(json.dumps(campaign(module, places, workers)), file=answers, flush=True)
    finally:
        workers.end()


if __name__ == "__main__":
    main()
