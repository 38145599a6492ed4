"""The scenarios in which a job is cancelled before its contacts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from batch_cancel.testing.explore import actors as it
from batch_cancel.testing.explore.actor_state import Actor
from batch_cancel.testing.explore.state import Scenario


def _scenario(
    name: str,
    says: str,
    *actors: Actor,
    status: str = "running",
    contacts: Sequence[str] = ("pending", "busy"),
    faults: str = "",
) -> Scenario:
    return Scenario(name, says, actors, it.reconcile_pass, status, contacts, faults=faults)


SWEEPS: Final = (
    _scenario(
        "sweep",
        "a job is cancelled before its contacts, while workers take one and end a call",
        it.cancel(suffers="", sweep_above=1),
        it.claim(),
        it.settle(contact_id="c2"),
        contacts=("pending", "busy", "dialing"),
    ),
    _scenario(
        "sweep-append",
        "contacts are swept while one is added, and a worker thinks that nothing is left",
        it.cancel(suffers="", sweep_above=1),
        it.append(),
        it.finish(),
        contacts=("pending", "queued"),
    ),
    _scenario(
        "sweep-killed",
        "whoever sweeps is killed or gets no answer, and a worker claims meanwhile",
        it.cancel(is_stubborn=True, suffers="kl", sweep_above=1),
        it.claim(suffers=""),
        contacts=("pending", "busy"),
        faults="kl",
    ),
    _scenario(
        "sweep-same",
        "the same operation twice, overlapping, and an answer is lost",
        it.cancel(suffers="l", sweep_above=1),
        it.cancel("retry", suffers="", sweep_above=1),
        status="scheduled",
        contacts=("pending", "busy"),
        faults="l",
    ),
    _scenario(
        "sweep-two",
        "two operations cancel one large job, and a process is killed",
        it.cancel(suffers="k", sweep_above=1),
        it.cancel("other", "op-2", suffers="", sweep_above=1),
        status="scheduled",
        contacts=("pending", "busy"),
        faults="k",
    ),
    _scenario(
        "sweep-reconcile",
        "reconcile sweeps beside the cancel and beside another pass, and a worker claims",
        it.cancel(suffers="kl", is_announced=True, sweep_above=1),
        it.reconcile(suffers="k", sweep_above=1),
        it.claim(suffers=""),
        status="running",
        contacts=("pending", "busy"),
        faults="k",
    ),
)
"""Each cancel changes one contact in a transaction at most."""
