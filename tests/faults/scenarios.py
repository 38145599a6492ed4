"""
The situations of the job that faults are injected into, and what a cancel answers in each.

What a cancel must leave is written here by hand, from the contract.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final, cast
from unittest.mock import patch

import attrs

from batch_cancel import (
    AlreadyTerminal,
    CancelFailed,
    CancelResult,
    JobNotFound,
    UnknownJobStatus,
)
from batch_cancel.domain.errors import StoreFailed

OURS: Final = "our operation"
THEIRS: Final = "their operation"

CONTACTS: Final[dict[str, str | None]] = {
    "not yet called": "pending",
    "waiting for retry": "queued",
    "will be retried, 1": "no_answer",
    "will be retried, 2": "busy",
    "will be retried, 3": "timeout",
    "on the phone": "dialing",
    "done": "completed",
    "blocked": "blocked",
    "from the future": "voicemail",
    "nothing": None,
}
CONTACTS_CANCELLED: Final = CONTACTS | {
    "not yet called": "cancelled",
    "waiting for retry": "cancelled",
    "will be retried, 1": "cancelled",
    "will be retried, 2": "cancelled",
    "will be retried, 3": "cancelled",
}
CONTACTS_CHANGED: Final = 5


def small_slices() -> Any:
    """Return a context in which two jobs are a slice of a cancel of many."""
    return patch("batch_cancel.domain.bulk.BULK_SLICE", 2)


class Verb(Enum):
    """What is done on the stage."""

    CANCEL = "cancel"
    RECONCILE = "reconcile"
    REMOVE = "remove"
    """The rest of a cancel that was a part of the caller's own transaction, after its commit."""

    BULK = "bulk"
    """A cancel of many jobs, in slices of two."""


@attrs.frozen
class Scenario:
    """
    One job in one situation, and what is to be done about it.

    Arguments:
        name: of the situation.
        status: the job's status before anybody cancels it.
        usually: the answer if nothing goes wrong, as `described`.
        has_start: whether a deferred start waits for it.
        cancelled_by: the operation that has cancelled it already, and was interrupted right after
            its commit.
        verb: what is done.
        exists: whether there is such a job at all.
    """

    name: str
    status: str | None
    usually: str
    has_start: bool = False
    cancelled_by: str | None = None
    verb: Verb = Verb.CANCEL
    exists: bool = True

    @property
    def operation_id(self) -> str | None:
        """The operation that will have cancelled the job in the end; None if none may."""
        if self.cancelled_by is not None:
            return self.cancelled_by
        return OURS if self.usually.startswith("200") else None


SCENARIOS: Final = (
    Scenario("a scheduled job", "scheduled", "200 removed", has_start=True),
    Scenario("a scheduled job without a start", "scheduled", "200"),
    Scenario("a pending job", "pending", "200"),
    Scenario("a running job", "running", "200"),
    Scenario("a completed job", "completed", "400 completed"),
    Scenario("a failed job", "failed", "400 failed"),
    Scenario("a job cancelled by others", "cancelled", "400 cancelled"),
    Scenario("a job of an unknown status", "paused", "unknown status"),
    Scenario("a job of no status", None, "unknown status"),
    Scenario("no job", None, "404", exists=False),
    Scenario(
        "our cancel again",
        "scheduled",
        "200 replayed removed",
        has_start=True,
        cancelled_by=OURS,
    ),
    Scenario(
        "their cancel before", "scheduled", "400 cancelled", has_start=True, cancelled_by=THEIRS
    ),
    Scenario(
        "a cancel left unfinished",
        "scheduled",
        "reconciled removed",
        has_start=True,
        cancelled_by=THEIRS,
        verb=Verb.RECONCILE,
    ),
    Scenario(
        "a cancel that joined a transaction",
        "scheduled",
        "200 removed",
        has_start=True,
        cancelled_by=OURS,
        verb=Verb.REMOVE,
    ),
    Scenario(
        "a hook not told",
        "running",
        "reconciled not_applicable",
        cancelled_by=THEIRS,
        verb=Verb.RECONCILE,
    ),
)

MESSAGES: Final = {
    "scheduled": "Scheduled job cancelled successfully",
    "pending": "Pending job cancelled successfully",
    "running": "Job was already running - cancelled remaining contacts",
}


def described(answer: object) -> str:  # noqa: PLR0911  # One for each sort of answer.
    """Return an answer, or an error, as a few words that can be compared."""
    match answer:
        case CancelResult():
            words = ["200"]
            words += ["replayed"] if answer.replayed else []
            words += ["removed"] if answer.redis_job_cancelled else []
            return " ".join(words)
        case AlreadyTerminal():
            return f"400 {answer.status}"
        case JobNotFound():
            return "404"
        case UnknownJobStatus():
            return "unknown status"
        case CancelFailed():
            return f"failed {answer.outcome} {answer.fault}"
        case StoreFailed():
            return f"store failed {answer.fault}"
        case BaseException():
            return f"raised {type(answer).__name__}"
        case list():
            removals = " ".join(result.removal for result in cast("list[CancelResult]", answer))
            return f"reconciled {removals}".strip()
        case _:
            return f"answered {answer!r}"
