"""The scenarios in which two jobs are cancelled at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from batch_cancel.domain.bulk import JobFilter
from batch_cancel.testing.explore import actors as it
from batch_cancel.testing.explore.actor_state import Actor
from batch_cancel.testing.explore.rows import KEY, SECOND, First
from batch_cancel.testing.explore.state import Scenario

_LATER: Final = First("scheduled", ("queued", "busy"), "start-of-second")
"""The second job waits for its start, which is not due."""


def _scenario(
    name: str,
    says: str,
    *actors: Actor,
    status: str = "running",
    contacts: Sequence[str] = ("pending",),
    faults: str = "",
    second: First = _LATER,
    one_by_one: bool = False,
) -> Scenario:
    return Scenario(
        name,
        says,
        actors,
        it.reconcile_pass,
        status,
        contacts,
        faults=faults,
        second=second,
        one_by_one=one_by_one,
    )


BULKS: Final = (
    _scenario(
        "bulk",
        "two jobs are cancelled in one transaction beside a single cancel of one; a crash",
        it.cancel_many(),
        it.cancel("other", "op-2", suffers=""),
        status="scheduled",
        faults="k",
    ),
    _scenario(
        "bulk-finish",
        "two jobs are cancelled while a worker thinks that nothing is left of one",
        it.cancel_many(suffers=""),
        it.finish(suffers=""),
        contacts=("completed",),
        second=First("running", ("pending",), None),
        one_by_one=True,
    ),
    _scenario(
        "bulk-slices",
        "two jobs are cancelled slice by slice beside a single cancel of one; a crash",
        it.cancel_many(has_bulk=False),
        it.cancel("other", "op-2", suffers=""),
        status="scheduled",
        faults="k",
    ),
    _scenario(
        "bulk-workers",
        "two jobs are cancelled beside workers that take and end calls of one; a crash",
        it.cancel_many(),
        it.claim(suffers=""),
        it.settle(contact_id="c1", suffers=""),
        contacts=("pending", "dialing"),
        faults="k",
    ),
    _scenario(
        "bulk-start",
        "two jobs are cancelled while the start of one fires; a crash and a lost answer",
        it.cancel_many(suffers="kl"),
        it.start(suffers=""),
        status="scheduled",
        faults="kl",
    ),
    _scenario(
        "bulk-everybody",
        "a bulk, a single cancel, the start and a worker at once; a crash",
        it.cancel_many(),
        it.cancel("other", "op-2", suffers=""),
        it.start(suffers=""),
        it.claim(suffers=""),
        status="scheduled",
        faults="k",
    ),
    _scenario(
        "bulk-two",
        "two bulks over the same jobs, their ids in opposite orders; a crash",
        it.cancel_many(),
        it.cancel_many("bulk-2", "op-2", jobs=(SECOND.batch_job_id, KEY.batch_job_id), suffers=""),
        status="scheduled",
        faults="k",
    ),
    _scenario(
        "bulk-same",
        "the same operation twice, overlapping, and an answer is lost",
        it.cancel_many(suffers="l"),
        it.cancel_many("retry", suffers=""),
        faults="l",
    ),
    _scenario(
        "bulk-reconcile",
        "reconcile beside a bulk that died",
        it.cancel_many(suffers="ko"),
        it.reconcile(suffers="k"),
        status="scheduled",
        faults="ko",
    ),
    _scenario(
        "bulk-conflict",
        "the store reports conflicts, more than a slice bears: it goes on job by job",
        it.cancel_many(suffers="c"),
        contacts=(),
        faults="cccc",
        second=First("running", (), None),
    ),
    _scenario(
        "bulk-lost",
        "answers are lost, more than a slice bears: it goes on job by job",
        it.cancel_many(suffers="l"),
        it.cancel("other", "op-2", suffers=""),
        contacts=(),
        faults="ll",
        second=First("running", ("pending",), None),
    ),
    _scenario(
        "bulk-halved",
        "the jobs of a filter have too many contacts for one transaction; a crash",
        it.cancel_many(jobs=JobFilter(organization_id="ours"), is_stubborn=False, sweep_above=2),
        it.claim(suffers=""),
        faults="k",
    ),
)
"""The second job has two contacts to cancel, so that its count is not the first one's."""
