"""
The events that must each be seen: a run that never met one has not looked where it matters.

A sighting is a function of a moment that returns whether it just happened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from batch_cancel.domain.deferred_start import DeferredState
from batch_cancel.domain.statuses import Removal
from batch_cancel.testing.explore.moment import Moment
from batch_cancel.testing.explore.rows import CONTACTS, RECORD
from batch_cancel.testing.explore.state import ARRIVES, NEVER_ARRIVES
from batch_cancel.testing.explore.steps import Commit, Lock, Passed

SIGHTINGS: Final[dict[str, tuple[str, Callable[[Moment], bool]]]] = {}
"""By name: at which kind of moment it can be seen, and whether it was."""


def _sighting(name: str, on: str) -> Callable[[Callable[[Moment], bool]], None]:
    def keep(seen: Callable[[Moment], bool]) -> None:
        SIGHTINGS[name] = on, seen

    return keep


@_sighting("start beat cancel", "answer")
def _(it: Moment) -> bool:
    began_scheduled = it.scenario.status == "scheduled"
    return began_scheduled and any(answer.previous == "running" for _, answer in it.succeeded)


@_sighting("cancel beat start between pop and compare-and-set", "rows")
def _(it: Moment) -> bool:
    if not it.is_cancelling or it.rows_before[0][0] != "scheduled":
        return False
    state = dict(it.starts).get(it.rows[0][1])
    return state is not None and state.state is DeferredState.CLAIMED


@_sighting("a claim skipped a locked row", "lock")
def _(it: Moment) -> bool:
    return it.answer is Passed.OVER


@_sighting("a claim found a contact taken back at its second look", "lock")
def _(it: Moment) -> bool:
    return (
        isinstance(it.step, Lock)
        and it.step.says.startswith("takes contact")
        and it.answer is None
        and it.rows[it.step.index][2] == "cancelled"
    )


@_sighting("a finish found a contact added at its second look", "look")
def _(it: Moment) -> bool:
    return it.answer is False and it.step is not None and it.step.says.startswith("looks again")


@_sighting("a call ended retryable after cancel", "rows")
def _(it: Moment) -> bool:
    return any(was[2] == "dialing" and now[2] == "cancelled" for was, now in it.contacts_changed)


@_sighting("a call expired after cancel", "rows")
def _(it: Moment) -> bool:
    return it.actor.startswith("expire") and any(
        was[2] == "dialing" and now[2] == "cancelled" for was, now in it.contacts_changed
    )


@_sighting("a contact whose call expired was taken again", "rows")
def _(it: Moment) -> bool:
    return any(was[2] == "timeout" and now[2] == "dialing" for was, now in it.contacts_changed)


@_sighting("an expiry found a call settled at its second look", "lock")
def _(it: Moment) -> bool:
    return it.answer is False and it.step is not None and it.step.says.startswith("ends call")


@_sighting("a live call kept how it ended after cancel", "rows")
def _(it: Moment) -> bool:
    return it.rows[0][0] == "cancelled" and any(
        was[2] == "dialing" and now[2] == "completed" for was, now in it.contacts_changed
    )


@_sighting("a replay answered", "answer")
def _(it: Moment) -> bool:
    return any(answer.is_replay for _, answer in it.succeeded)


@_sighting("a commit unknown and applied", "adrift")
def _(it: Moment) -> bool:
    return it.how == ARRIVES and isinstance(it.step, Commit) and it.is_cancelling


@_sighting("a commit unknown and lost", "adrift")
def _(it: Moment) -> bool:
    return it.how == NEVER_ARRIVES and isinstance(it.step, Commit) and bool(it.step.writes)


def _removal(removal: Removal) -> Callable[[Moment], bool]:
    return lambda it: any(answer.removal is removal for _, answer in it.succeeded)


for _it in Removal:
    _sighting(f"removal {_it.value}", "answer")(_removal(_it))


@_sighting("reconcile finished another's work", "rows")
def _(it: Moment) -> bool:
    was, now = it.rows_before[RECORD], it.rows[RECORD]
    return it.actor.startswith("reconcile") and bool(was) and was[4:6] != now[4:6]


@_sighting("a cancel was refused because the job was completed", "answer")
def _(it: Moment) -> bool:
    return any(answer.status == "completed" for _, answer in it.answers)


@_sighting("a contact was added and then cancelled", "rows")
def _(it: Moment) -> bool:
    first = CONTACTS + 1 + sum(len(it.scenario.first(job).contacts) for job in it.scenario.jobs)
    return it.is_cancelling and any(row[2] == "cancelled" for row in it.rows[first:])


@_sighting("a cancel took back the start of a job that was started early", "rows")
def _(it: Moment) -> bool:
    record = it.rows[RECORD]
    return bool(record) and record[1] == "running" and record[4] == Removal.REMOVED


@_sighting("a cancel took back a start that was rescheduled", "rows")
def _(it: Moment) -> bool:
    record = it.rows[RECORD]
    is_other = bool(record) and record[3] not in {None, it.scenario.deferred_id}
    return is_other and record[4] == Removal.REMOVED


@_sighting("a sweep was finished by another", "rows")
def _(it: Moment) -> bool:
    is_first = it.actor == "cancel"
    return it.was_sweeping and not it.is_sweeping and not is_first


@_sighting("a claim under way at the flip became a live call", "rows")
def _(it: Moment) -> bool:
    return it.was_sweeping and any(now[2] == "dialing" for _, now in it.contacts_changed)


@_sighting("a chunk found a contact claimed at its second look", "lock")
def _(it: Moment) -> bool:
    return (
        it.was_sweeping
        and isinstance(it.step, Lock)
        and it.step.says.startswith("locks contact")
        and it.answer is False
    )


@_sighting("a cancel was outrun by a commit on another node", "conflict")
def _(it: Moment) -> bool:
    return it.mind.actor.operation is not None


@_sighting("a worker's step was outrun by a commit on another node", "conflict")
def _(it: Moment) -> bool:
    return it.mind.actor.operation is None


ALL: Final = frozenset(SIGHTINGS)
"""What a run of all scenarios must have seen."""

BY_KIND: Final = {
    kind: [(name, seen) for name, (on, seen) in SIGHTINGS.items() if on == kind]
    for kind in {on for on, _ in SIGHTINGS.values()}
}
