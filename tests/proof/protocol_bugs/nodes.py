"""Steps of a worker that lock the job and do not write it, where a lock holds on one node."""

from __future__ import annotations

from batch_cancel.testing.explore import actors
from tests.proof.protocol_bugs.planting import plant

plant(
    "lock alone at an append on another node",
    "I4",
    actors.cancel(suffers=""),
    actors.append(suffers=""),
    contacts=("completed",),
    locks_are_local=True,
)

plant(
    "lock alone at a settle on another node",
    "I4",
    actors.cancel(suffers=""),
    actors.settle(suffers=""),
    contacts=("dialing",),
    locks_are_local=True,
)

plant(
    "lock alone at an expire on another node",
    "I4",
    actors.cancel(suffers=""),
    actors.expire(suffers=""),
    contacts=("dialing",),
    locks_are_local=True,
)
