"""The scenarios: which actors meet, and which faults strike them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from batch_cancel.domain.job import JobKey
from batch_cancel.testing.explore import actors as it
from batch_cancel.testing.explore.actor_state import Actor
from batch_cancel.testing.explore.bulk_scenarios import BULKS
from batch_cancel.testing.explore.node_scenarios import NODES
from batch_cancel.testing.explore.rows import START
from batch_cancel.testing.explore.state import Scenario
from batch_cancel.testing.explore.sweep_scenarios import SWEEPS

_STRANGER: Final = JobKey("job", None)
"""The same id, but of no organization."""


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
    return Scenario(
        name,
        says,
        actors,
        it.reconcile_pass,
        status,
        contacts,
        deferred_id,
        faults,
        one_by_one,
    )


def _scheduled(
    name: str, says: str, *actors: Actor, contacts: Sequence[str] = ("pending",), faults: str = ""
) -> Scenario:
    return _scenario(name, says, *actors, status="scheduled", contacts=contacts, faults=faults)


_SMALL: Final = (
    _scenario(
        "start",
        "the deferred start fires beside a cancel",
        it.cancel(),
        it.start(),
        status="scheduled",
        contacts=("pending", "blocked"),
        one_by_one=True,
    ),
    _scenario(
        "start-killed",
        "whoever is killed, is started again and tries again",
        it.cancel(is_stubborn=True, suffers="k"),
        it.start(is_supervised=True),
        status="scheduled",
        faults="k",
    ),
    _scenario(
        "start-early",
        "the job is started before its time, beside a cancel, and a process is killed",
        it.cancel(suffers="kl"),
        it.start_early(),
        status="scheduled",
        faults="k",
        one_by_one=True,
    ),
    _scenario(
        "two",
        "two operations cancel one job",
        it.cancel(),
        it.cancel("other", "op-2"),
        status="scheduled",
        one_by_one=True,
    ),
    _scenario(
        "same",
        "the same operation twice, overlapping",
        it.cancel(),
        it.cancel("retry"),
        status="scheduled",
        one_by_one=True,
    ),
    _scenario(
        "lost",
        "an answer is lost, and the client asks again",
        it.cancel(is_stubborn=True, suffers="klh"),
        it.claim(),
        faults="lk",
    ),
    _scenario(
        "claim",
        "workers take contacts beside a cancel",
        it.cancel(suffers=""),
        it.claim(limit=2),
        it.settle(contact_id="c1"),
        contacts=("pending", "dialing"),
    ),
    _scenario(
        "two-claims",
        "two workers want the same contact, and a cancel too",
        it.cancel(suffers=""),
        it.claim(),
        it.claim("claim-2"),
        contacts=("queued", "completed"),
    ),
    _scenario(
        "live-calls",
        "calls that were live end after the cancel",
        it.cancel(suffers=""),
        it.settle("busy", "c0"),
        it.settle("completed", "c1", "settle-2"),
        contacts=("dialing", "dialing"),
    ),
    _scenario(
        "expire",
        "calls are ended as those of dead workers, and one of the workers is alive",
        it.cancel(suffers=""),
        it.expire(),
        it.settle("completed", "c0"),
        contacts=("dialing",),
    ),
    _scenario(
        "expire-claim",
        "a call is ended and its contact taken again, and a process is killed",
        it.cancel(suffers="k"),
        it.expire(),
        it.claim(),
        contacts=("dialing",),
        faults="k",
    ),
    _scenario(
        "append",
        "a contact is added, and a worker thinks that nothing is left",
        it.cancel(suffers=""),
        it.append(),
        it.finish(),
        contacts=("completed",),
        deferred_id=None,
        one_by_one=True,
    ),
    _scenario(
        "start-lost",
        "an answer to the cancel is lost while the start fires",
        it.cancel(suffers="l"),
        it.start(),
        status="scheduled",
        faults="l",
        one_by_one=True,
    ),
    _scenario(
        "reconcile-lost",
        "an answer to the cancel is lost while reconcile passes",
        it.cancel(suffers="l", is_announced=True),
        it.reconcile(suffers=""),
        status="scheduled",
        contacts=(),
        faults="l",
        one_by_one=True,
    ),
    _scenario(
        "claim-finish",
        "a worker takes the last contacts, another would finish the job",
        it.cancel(),
        it.claim(limit=2),
        it.finish(),
        contacts=("pending", "busy"),
    ),
    _scenario(
        "settle-finish",
        "the last call ends, and a process is killed",
        it.cancel(suffers="k"),
        it.settle(),
        it.finish(),
        contacts=("dialing",),
        faults="k",
    ),
    _scenario(
        "settle-claim",
        "a call ends and its contact is taken again, and a process is killed",
        it.cancel(suffers="k"),
        it.settle(),
        it.claim(),
        contacts=("dialing",),
        faults="k",
    ),
    _scenario(
        "no-start",
        "a scheduled job that has no deferred start",
        it.cancel(),
        it.cancel("other", "op-2"),
        status="scheduled",
        deferred_id=None,
        one_by_one=True,
    ),
    _scenario(
        "ended",
        "a job that has ended, and one that is not there",
        it.cancel(),
        it.cancel("stranger", "op-2", key=_STRANGER),
        status="failed",
        contacts=("pending", "failed"),
        faults="k",
        one_by_one=True,
    ),
)

_LARGE: Final = (
    _scheduled(
        "start-faults",
        "the deferred start beside a cancel, two faults",
        it.cancel(is_stubborn=True),
        it.start(is_supervised=True),
        contacts=("pending", "queued"),
        faults="klo",
    ),
    _scheduled(
        "two-faults",
        "two operations and the start, answers lost and processes killed",
        it.cancel(suffers="kl"),
        it.cancel("other", "op-2", suffers="kl"),
        it.start(),
        faults="kl",
    ),
    _scheduled(
        "three",
        "three operations cancel one job",
        it.cancel(),
        it.cancel("other", "op-2"),
        it.cancel("third", "op-3"),
        faults="k",
    ),
    _scheduled(
        "same-faults",
        "the same operation twice and its start, answers lost",
        it.cancel(suffers="kl"),
        it.cancel("retry", suffers="kl"),
        it.start(),
        faults="kl",
    ),
    _scenario(
        "workers",
        "a cancel among workers that claim, settle and finish",
        it.cancel(suffers="kl"),
        it.claim(limit=3),
        it.settle(contact_id="c1"),
        it.finish(),
        contacts=("pending", "dialing", "no_answer"),
        faults="k",
    ),
    _scenario(
        "calls",
        "whole calls beside a cancel, and a worker that would finish the job",
        it.cancel(suffers="l"),
        it.call("no_answer"),
        it.call("completed", "call-2"),
        it.finish(),
        contacts=("pending", "timeout"),
        faults="k",
    ),
    _scenario(
        "expire-faults",
        "calls are ended twice while one is settled, answers lost and processes killed",
        it.cancel(suffers="l"),
        it.expire(suffers="kl"),
        it.expire("expire-2", suffers=""),
        it.settle("busy", "c1"),
        contacts=("dialing", "dialing"),
        faults="lk",
    ),
    _scenario(
        "append-faults",
        "contacts are added and taken while the job is cancelled or finished",
        it.cancel(suffers="l"),
        it.append(suffers="k"),
        it.finish(suffers="k"),
        it.claim(suffers="k"),
        contacts=("completed",),
        faults="lk",
    ),
    _scheduled(
        "reschedule",
        "the job is moved to a later time while its start fires and it is cancelled",
        it.cancel(suffers="l"),
        it.reschedule(suffers=""),
        it.start(),
        faults="l",
    ),
    _scheduled(
        "start-early-faults",
        "the job is started before its time while its start fires, and is cancelled",
        it.cancel(suffers="klho"),
        it.start_early(),
        it.start(),
        faults="kl",
    ),
    _scheduled(
        "reschedule-two",
        "the job is moved while two operations cancel it",
        it.cancel(suffers="l"),
        it.cancel("other", "op-2", suffers=""),
        it.reschedule(),
        faults="kl",
    ),
    _scheduled(
        "reconcile",
        "two passes of reconcile beside a live cancel, and beside each other",
        it.cancel(suffers="kl", is_announced=True),
        it.reconcile(suffers="k"),
        it.reconcile("reconcile-2", suffers=""),
        faults="kl",
    ),
    _scheduled(
        "reconcile-start",
        "reconcile beside a cancel that died and a start that fires",
        it.cancel(suffers="klo"),
        it.reconcile(),
        it.start(),
        faults="kl",
    ),
    _scheduled(
        "conflicts",
        "the store reports conflicts, more than a cancel bears",
        it.cancel(suffers="c"),
        it.start(),
        contacts=(),
        faults="cccc",
    ),
    _scheduled(
        "conflict-lost",
        "an answer is lost, and then the store reports a conflict",
        it.cancel(suffers="cl"),
        it.start(),
        faults="cl",
    ),
    _scheduled(
        "hang",
        "an actor that asks the scheduler hangs",
        it.cancel(suffers="h"),
        it.cancel("other", "op-2", suffers="hl"),
        it.start(suffers="h"),
        faults="hhl",
    ),
    _scheduled(
        "called-off",
        "a task is cancelled at any await",
        it.cancel(suffers="o"),
        it.cancel("other", "op-2", suffers="o"),
        it.reconcile(suffers="o"),
        faults="oo",
    ),
    _scheduled(
        "everybody",
        "cancels, the start, a worker and reconcile at once",
        it.cancel(suffers="k"),
        it.cancel("other", "op-2", suffers=""),
        it.start(suffers=""),
        it.claim(suffers=""),
        it.reconcile(suffers=""),
        faults="k",
    ),
)

SCENARIOS: Final = {
    scenario.name: scenario for scenario in (*_SMALL, *SWEEPS, *BULKS, *NODES, *_LARGE)
}
"""All of them, by name."""
