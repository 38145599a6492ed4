"""Threads that begin together, and the time until the last of them ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from benchmarks.rounds import timed


def seconds_of(works: Iterable[Callable[[], object]]) -> float:
    """Run each work in a thread of its own, all at once; return the seconds."""
    todo = list(works)
    start = Barrier(len(todo) + 1)

    def begin(work: Callable[[], object]) -> None:
        start.wait()
        work()

    with ThreadPoolExecutor(len(todo)) as threads:
        begun = [threads.submit(begin, work) for work in todo]

        def finish() -> None:
            start.wait()
            for it in begun:
                it.result()

        return timed(finish)
