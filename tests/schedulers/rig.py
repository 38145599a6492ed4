"""
One library at work: its real client, its real workers, and a Redis between them.

Each library lives in an environment of its own, made by `make schedulers` beside the one that the
tests run in: they can't be installed together, and we cancel from outside, as users do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import attrs
import redis

from tests.processes import ServerError, ServerProcess, scratch_folder, wait_until

INSIDE = Path(__file__).with_name("inside.py")
ENVIRONMENTS = "BATCH_CANCEL_TEST_SCHEDULERS"


@attrs.frozen
class Library:
    """
    A library, and how its starts are cancelled from outside.

    Arguments:
        name: of its environment and of its module in `libraries`.
        scheduler: gives our blocking adapter for a client of Redis.
        scheduler_async: gives its asyncio twin.
        races: how many cancels `make schedulers` races.
        places: what its client and workers are told beside the URL of Redis.
        has_own_cancel: whether the library has a cancel of its own to compare with.
        reuses_ids: whether an id that was cancelled can be scheduled again.
        lead_seconds: how far ahead a start is scheduled that is to be raced.
        workers: how many processes work.
    """

    name: str
    scheduler: Callable[[Any], Any]
    scheduler_async: Callable[[Any], Any]
    races: int
    places: Mapping[str, str] = {}
    has_own_cancel: bool = True
    reuses_ids: bool = True
    lead_seconds: float = 0.0
    workers: int = 2


class Rig:
    """A library's client and workers. Whoever makes it leaves it, and all of them end."""

    def __init__(self, library: Library, places: Mapping[str, str]) -> None:
        self.library = library
        self.redis = redis.Redis.from_url(places["redis"], decode_responses=True)
        self._places = json.dumps({**library.places, **places})
        self._command = [str(python_of(library.name)), str(INSIDE), library.name]
        self._stack = ExitStack()
        self._workers: list[ServerProcess] = []
        self._client = self._stack.enter_context(_client([*self._command, "client", self._places]))
        self._stack.callback(self.redis.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all processes."""
        self.stop_workers()
        self._stack.close()

    def start_workers(self) -> None:
        """Start the workers, and wait until each of them is likely at work: a job has run."""
        for _ in range(self.library.workers):
            folder = self._stack.enter_context(scratch_folder())
            worker = ServerProcess([*self._command, "worker", self._places], folder)
            worker.spawn()
            self._workers.append(worker)
        self.settle("at-work")

    def stop_workers(self) -> None:
        """End the workers, without ceremony."""
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def ask(self, call: str, *arguments: object) -> Any:
        """Have the library's client do something."""
        assert self._client.stdin is not None
        assert self._client.stdout is not None
        print(json.dumps({"call": call, "with": arguments}), file=self._client.stdin, flush=True)
        line = self._client.stdout.readline()
        if not line:
            message = f"the client of {self.library.name} has died"
            raise ServerError(message)
        told = json.loads(line)
        if "error" in told:
            raise ServerError(told["error"])
        return told["answer"]

    def schedule(self, deferred_id: str, at: float | None = None) -> Any:
        """Schedule a start, at once unless said otherwise."""
        return self.ask("schedule", deferred_id, time.time() if at is None else at)

    def ran(self, deferred_id: str) -> int:
        """Return how often a start has fired."""
        return int(self.redis.hget("ran", deferred_id) or 0)

    def wait_ran(self, deferred_id: str) -> None:
        """Wait until a start has fired."""

        def happened() -> bool:
            for worker in self._workers:
                if not worker.running:
                    message = f"a worker of {self.library.name} has died:\n{worker.log()}"
                    raise ServerError(message)
            return self.ran(deferred_id) > 0

        wait_until(happened, f"{self.library.name} starts {deferred_id}")

    def release(self, deferred_id: str) -> None:
        """Let a start whose id begins with "held" come to its end."""
        self.redis.rpush(f"release:{deferred_id}", "go")

    def settle(self, name: str) -> None:
        """Wait until what was due has been looked at: a start scheduled now has fired."""
        last = f"settled-{name}"
        self.schedule(last)
        self.wait_ran(last)


def python_of(library: str) -> Path:
    """Return the Python of a library's environment."""
    if library == "native":
        return Path(sys.executable)
    folder = Path(os.environ.get(ENVIRONMENTS) or Path(sys.prefix) / "schedulers") / library
    python = folder / "bin" / "python"
    if not python.exists():
        message = f"no environment for {library} in {folder}: make schedulers"
        raise ServerError(message)
    return python


@contextmanager
def _client(command: list[str]) -> Generator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as client:
        yield client  # It ends when its input does.
