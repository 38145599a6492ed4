"""
When to try a cancellation again, as pure rules.

Rule 1: a conflict with another transaction is tried again three times, as is a cancel that left
        open contacts, which may have been added meanwhile; a broken connection once. Everything
        else is the caller's to try again.
Rule 2: when the answer to a commit was lost, the cancellation may have happened. The same
        operation is then asked for again, which cannot cancel twice, until the store says which
        it was. But time is bounded: a store that does not answer in time is waited for twice, not
        more.
Rule 3: what may have happened is never reported as "nothing was changed", and is never refused as
        "already cancelled".
Rule 4: a worker's step is not an operation with a name: it is tried again only if it is known not
        to have happened.
Rule 5: a pass over many removals does not wait for a dead scheduler each time. After ten in a row
        without an answer it skips one, then three, seven, and so on. An answer ends that at once,
        and those skipped are then asked about in the same pass; else they come first in the next.
        So removals that can never be answered hold up no other.
"""

from __future__ import annotations

from typing import Final

import attrs

from batch_cancel.domain.cancellation import Cancellation
from batch_cancel.domain.errors import (
    AlreadyTerminal,
    BatchCancelError,
    CancelFailed,
    Fault,
    StoreFailed,
)
from batch_cancel.domain.statuses import JobStatus

ATTEMPTS_MAX: Final = {
    Fault.CONFLICT: 4,
    Fault.INTERRUPTED: 2,
    Fault.BUSY: 1,
    Fault.LATE: 1,
    Fault.REFUSED: 1,
    Fault.INCOMPLETE: 4,
}
"""How many attempts in all a fault is worth."""

ATTEMPTS_MAX_UNKNOWN: Final = {
    Fault.CONFLICT: 6,
    Fault.INTERRUPTED: 6,
    Fault.BUSY: 6,
    Fault.LATE: 2,
    Fault.REFUSED: 1,
    Fault.INCOMPLETE: 4,
}
"""How many attempts in all it is worth, after such a fault, to learn what became of a commit."""


@attrs.frozen
class Attempts:
    """
    What the attempts at one cancellation have come to.

    Arguments:
        made: how many were made.
        may_be_done: whether one of them may have been carried out, its answer lost.
        may_be_ours: whether one of those was more than a replay, which only reads.
    """

    made: int = 0
    may_be_done: bool = False
    may_be_ours: bool = False

    def failed(self, failure: CancelFailed, *, is_replay: bool = False) -> Attempts:
        """
        Count a failed attempt.

        Arguments:
            failure: how it failed.
            is_replay: whether it had found the job cancelled by this operation.

        Raises:
            CancelFailed: another attempt is not worth it.
        """
        is_unknown = failure.outcome == "unknown"
        after = Attempts(
            self.made + 1,
            self.may_be_done or is_unknown,
            self.may_be_ours or (is_unknown and not is_replay),
        )
        attempts_max = ATTEMPTS_MAX_UNKNOWN if after.may_be_done else ATTEMPTS_MAX
        if after.made < attempts_max[failure.fault]:
            return after
        if after.may_be_done:
            raise attrs.evolve(failure, outcome="unknown") from failure
        raise failure

    def succeeded(self, cancellation: Cancellation) -> Cancellation:
        """Return the cancellation, which is no replay if an attempt of ours had carried it out."""
        return attrs.evolve(cancellation, replayed=cancellation.replayed and not self.may_be_ours)

    def refused(self, refusal: AlreadyTerminal) -> BatchCancelError:
        """Return the error for a job found ended, which may have been an attempt of ours."""
        is_recorded = refusal.cancellation is not None
        if not self.may_be_done or refusal.status is not JobStatus.CANCELLED or is_recorded:
            return refusal
        reason = "the job is cancelled, but the store keeps no record of who did it"
        return CancelFailed(refusal.key, reason, "unknown", Fault.INTERRUPTED)


def may_step_again(failure: StoreFailed, made: int) -> bool:
    """
    Check whether a worker's step that failed is worth another attempt.

    Arguments:
        failure: how the last attempt failed.
        made: how many attempts were made.
    """
    return failure.outcome == "unchanged" and made < ATTEMPTS_MAX[failure.fault]


_FIRST_PAUSE_SECONDS: Final = 0.025


def pause_seconds(attempts: int, chance: float) -> float:
    """
    Return how long to wait before the next attempt: exponential back-off with jitter.

    Those who met once should not meet again.

    Arguments:
        attempts: how many were made.
        chance: a random number, 0 to 1.
    """
    longest: float = _FIRST_PAUSE_SECONDS * 2 ** (attempts - 1)
    return longest * (1 + chance) / 2


SILENCES_MAX: Final = 10
"""So often in a row a scheduler may give no answer before it is asked about fewer removals."""


@attrs.frozen
class Patience:
    """
    How a pass over many removals goes on asking a scheduler.

    Arguments:
        silences: how often in a row there was no answer.
        skips: how many removals it is not asked about before the next.
    """

    silences: int = 0
    skips: int = 0

    def after_silence(self) -> Patience:
        """Count that there was no answer."""
        silences = self.silences + 1
        return Patience(silences, 2 ** max(0, silences - SILENCES_MAX + 1) - 1)

    def after_skipping(self) -> Patience:
        """Count a removal that it was not asked about."""
        return Patience(self.silences, self.skips - 1)
