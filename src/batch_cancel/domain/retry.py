"""
When to retry a cancellation, as pure rules.

Rule 1: a conflict with another transaction is retried three times, as is a cancel that left open
        contacts, which may have been added meanwhile; a broken connection is retried once.
        Everything else is for the caller to retry.
Rule 2: if the answer to a commit is lost, the cancellation may have happened. The same operation
        is then repeated, which cannot cancel twice, until the store says which it was. Time is
        bounded: a store that does not answer in time is tried twice, not more.
Rule 3: a cancellation that may have happened is never reported as "nothing was changed", nor as
        "already cancelled".
Rule 4: a worker's step has no operation id: it is retried only if it certainly did not happen.
Rule 5: a pass over many removals backs off from a scheduler that does not answer. After ten
        failures in a row it skips one removal, after the next three, then seven, and so on. An
        answer ends the back-off, and the skipped removals are tried in the same pass; otherwise
        they come first in the next. So removals that always fail do not block others.
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
"""The maximum number of attempts, by fault."""

ATTEMPTS_MAX_UNKNOWN: Final = {
    Fault.CONFLICT: 6,
    Fault.INTERRUPTED: 6,
    Fault.BUSY: 6,
    Fault.LATE: 2,
    Fault.REFUSED: 1,
    Fault.INCOMPLETE: 4,
}
"""The maximum number of attempts, by fault, once the outcome of a commit is unknown."""


@attrs.frozen
class Attempts:
    """
    The state of the attempts at one cancellation.

    Arguments:
        made: how many were made.
        may_be_done: whether one of them may have committed, its answer lost.
        may_be_ours: whether one of those was no replay, which only reads.
    """

    made: int = 0
    may_be_done: bool = False
    may_be_ours: bool = False

    def failed(self, failure: CancelFailed, *, is_replay: bool = False) -> Attempts:
        """
        Count a failed attempt.

        Arguments:
            failure: how it failed.
            is_replay: whether it found the job cancelled by this operation.

        Raises:
            CancelFailed: there is no further attempt.
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
        """Return the cancellation; it is no replay if an earlier attempt may have made it."""
        return attrs.evolve(cancellation, replayed=cancellation.replayed and not self.may_be_ours)

    def refused(self, refusal: AlreadyTerminal) -> BatchCancelError:
        """Return the error for a job that has ended, perhaps by an earlier attempt."""
        is_recorded = refusal.cancellation is not None
        if not self.may_be_done or refusal.status is not JobStatus.CANCELLED or is_recorded:
            return refusal
        reason = "the job is cancelled, but the store keeps no record of the operation"
        return CancelFailed(refusal.key, reason, "unknown", Fault.INTERRUPTED)


def may_step_again(failure: StoreFailed, made: int) -> bool:
    """
    Check whether a failed worker's step is retried.

    Arguments:
        failure: how the last attempt failed.
        made: how many attempts were made.
    """
    return failure.outcome == "unchanged" and made < ATTEMPTS_MAX[failure.fault]


def may_sweep_again(failure: CancelFailed, made: int) -> bool:
    """
    Check whether a failed chunk of a sweep is retried; it may be, even if its commit is unknown.

    Arguments:
        failure: how the last attempt failed.
        made: how many attempts were made at this chunk.
    """
    return made < ATTEMPTS_MAX[failure.fault]


_FIRST_PAUSE_SECONDS: Final = 0.025


def pause_seconds(attempts: int, chance: float) -> float:
    """
    Return the pause before the next attempt in seconds: exponential back-off with jitter.

    The jitter keeps two transactions that met once from meeting again.

    Arguments:
        attempts: how many were made.
        chance: a random number, 0 to 1.
    """
    longest: float = _FIRST_PAUSE_SECONDS * 2 ** (attempts - 1)
    return longest * (1 + chance) / 2


SILENCES_MAX: Final = 10
"""The failures in a row after which a scheduler is asked about fewer removals."""


@attrs.frozen
class Patience:
    """
    The back-off of a pass over many removals.

    Arguments:
        silences: the number of failures in a row.
        skips: how many removals to skip before the next attempt.
    """

    silences: int = 0
    skips: int = 0

    def after_silence(self) -> Patience:
        """Count a failure."""
        silences = self.silences + 1
        return Patience(silences, 2 ** max(0, silences - SILENCES_MAX + 1) - 1)

    def after_skipping(self) -> Patience:
        """Count a skipped removal."""
        return Patience(self.silences, self.skips - 1)
