"""
What a store declares, compared with what it has.

A store may lack each of these; it then says so by one word. What it lacks and does not declare is
a mistake, and so is what it has and does not declare: its tests would be skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from batch_cancel.testing.adapter import StoreAdapter


class Capability(NamedTuple):
    """Something that a store may lack: the port, where it is looked for, and the cost of none."""

    port: str
    cost: str
    owner: str = "the repositories"


CAPABILITIES: Final = {
    "records": Capability(
        "outbox", "a retry gets no earlier answer, and a removal that failed is not finished"
    ),
    "inspection": Capability("inspection", "`inspect` and `batch-cancel inspect` fail"),
    "overview": Capability("overview", "`preview_job` and `job_progress` fail"),
    "history": Capability("history", "`cancellations` and `forget` fail"),
    "bulk": Capability("bulk", "`cancel_jobs` cancels one by one, and takes no filter"),
    "retries": Capability(
        "pause",
        "a cancel that meets a deadlock or a lock timeout fails at once, and a lost answer to "
        "COMMIT is an error with the outcome 'unknown'",
        "the unit of work",
    ),
}
"""What a store may lack, by the attribute that declares it."""


def mistakes(store: StoreAdapter, uow: object, repositories: object) -> Sequence[str]:
    """Return a sentence for each declaration that is not true: what to write, what it costs."""
    owners = {"the repositories": repositories, "the unit of work": uow}
    found: list[str] = []
    for name, it in CAPABILITIES.items():
        is_there = getattr(owners[it.owner], it.port, None) is not None
        if is_there and not getattr(store, name):
            found.append(
                f"There is a `{it.port}` in {it.owner}, whose tests would be skipped: declare "
                f"`{name} = True` in your class."
            )
        elif getattr(store, name) and not is_there:
            found.append(
                f"There is no `{it.port}` in {it.owner}: provide it, or declare `{name} = False` "
                f"in your class. Without it {it.cost}."
            )
    return [*found, *_without_work(store, repositories)]


def _without_work(store: StoreAdapter, repositories: object) -> Iterator[str]:
    """Yield a sentence if the kit's own steps of workers are declared, and can't be made."""
    steps = [it for it in sorted(store.guards) if _is_of_the_kit(store, it)]
    if steps and getattr(repositories, "work", None) is None:
        yield (
            "There is no `work` in the repositories, so there are no steps "
            f"{', '.join(map(repr, steps))}: provide it, define these steps in your class, or "
            "declare `guards` without them."
        )


def _is_of_the_kit(store: StoreAdapter, step: str) -> bool:
    own, of_the_kit = getattr(type(store), step, None), getattr(StoreAdapter, step, None)
    return own is of_the_kit
