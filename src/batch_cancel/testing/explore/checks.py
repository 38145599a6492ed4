"""Where each invariant is checked: at the moments that it speaks of, and once all is at rest."""

from __future__ import annotations

from typing import Final, NamedTuple

from batch_cancel.testing.explore import bulk_invariants
from batch_cancel.testing.explore.invariants import INVARIANTS
from batch_cancel.testing.explore.moment import Moment
from batch_cancel.testing.explore.state import Scenario, State

_BY_KIND: Final = {
    kind: [it for it in INVARIANTS.values() if kind in it.on]
    for kind in (
        *("rows", "starts", "answer", "lock", "look", "ask"),
        *("cancel", "conflict", "adrift", "rest"),
    )
}


class Violation(NamedTuple):
    """An invariant that does not hold, and why."""

    invariant: str
    what: str


def check(moment: Moment) -> Violation | None:
    """Return the first invariant that this moment breaks."""
    jobs = moment.scenario.jobs
    for kind in moment.kinds:
        for invariant in _BY_KIND[kind]:
            for job in jobs:
                what = invariant.broken(moment.about(job))
                if what is not None:
                    return Violation(invariant.name, f"{moment.actor}: {what}")
    if "answer" in moment.kinds and moment.mind.actor.many:
        complained = bulk_invariants.complaint(moment, moment.mind)
        if complained is not None:
            return Violation(complained[0], f"{moment.actor}: {complained[1]}")
    return None


def check_rest(scenario: Scenario, state: State, reconciled: State) -> Violation | None:
    """Return the first invariant that does not hold at rest."""
    for invariant in _BY_KIND["rest"]:
        # Only what is said of a time after reconcile is asked of the state after it.
        at = {"I7": [reconciled], "I21": [reconciled], "I4": [state, reconciled]}
        for it in at.get(invariant.name, [state]):
            for job in scenario.jobs:
                what = invariant.broken(Moment(scenario, it, None, it, job))
                if what is not None:
                    return Violation(invariant.name, f"at rest: {what}")
    moment = Moment(scenario, state, None, state)
    for mind in state.minds:
        if mind.actor.many and (complained := bulk_invariants.complaint(moment, mind)):
            return Violation(complained[0], f"at rest, {mind.actor.name}: {complained[1]}")
    return None
