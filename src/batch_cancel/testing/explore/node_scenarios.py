"""The scenarios in which each actor is on a node of its own, and row locks are local to a node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from batch_cancel.testing.explore import actors as it
from batch_cancel.testing.explore.actor_state import Actor
from batch_cancel.testing.explore.rows import START
from batch_cancel.testing.explore.state import Scenario


def _scenario(
    name: str,
    says: str,
    *actors: Actor,
    status: str = "running",
    contacts: Sequence[str] = ("pending",),
    faults: str = "",
    deferred_id: str | None = START,
    one_by_one: bool = False,
) -> Scenario:
    guarded = [attrs.evolve(actor, writes_job=True) for actor in actors]
    return Scenario(
        name,
        says,
        guarded,
        it.reconcile_pass,
        status,
        contacts,
        deferred_id,
        faults,
        one_by_one,
        locks_are_local=True,
    )


NODES: Final = (
    _scenario(
        "node-small",
        "on two nodes a call ends while its job is cancelled",
        it.cancel(suffers=""),
        it.settle(),
        contacts=("dialing",),
        one_by_one=True,
    ),
    _scenario(
        "node-append",
        "on three nodes a contact is added, and a worker thinks that nothing is left",
        it.cancel(suffers=""),
        it.append(),
        it.finish(),
        contacts=("completed",),
        deferred_id=None,
    ),
    _scenario(
        "node-settle",
        "on three nodes a call ends, and its contact is taken again",
        it.cancel(suffers=""),
        it.settle(),
        it.claim(),
        contacts=("dialing",),
    ),
    _scenario(
        "node-expire",
        "on three nodes a call is ended as a dead worker's, while its worker is alive",
        it.cancel(suffers=""),
        it.expire(),
        it.settle("completed", "c0"),
        contacts=("dialing",),
    ),
    _scenario(
        "node-claims",
        "on three nodes two workers want the same contact, and a cancel too",
        it.cancel(suffers=""),
        it.claim(),
        it.claim("claim-2"),
        contacts=("queued", "completed"),
    ),
    _scenario(
        "node-start",
        "the deferred start fires on another node than the cancels'",
        it.cancel(suffers=""),
        it.cancel("other", "op-2", suffers=""),
        it.start(),
        status="scheduled",
    ),
    _scenario(
        "node-lost",
        "a node is killed while it commits; the client asks again at another",
        it.cancel(is_stubborn=True, suffers="kl"),
        it.append(),
        faults="kl",
    ),
    _scenario(
        "node-reconcile",
        "two passes of reconcile on other nodes than the cancel's, and one is killed",
        it.cancel(suffers="kl", is_announced=True),
        it.reconcile(suffers="k"),
        it.reconcile("reconcile-2", suffers=""),
        status="scheduled",
        faults="k",
    ),
)
