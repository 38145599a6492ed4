"""The property of cancelling: for any rows before, the rows after are the contract's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch_cancel import AlreadyTerminal, JobKey, UnknownJobStatus
from batch_cancel.presenter import present, present_error

if TYPE_CHECKING:
    from tests.pairs import World

# All by hand, from the contract.
AFTER_CANCEL = {
    "pending": "cancelled",
    "queued": "cancelled",
    "no_answer": "cancelled",
    "busy": "cancelled",
    "timeout": "cancelled",
    "dialing": "dialing",
    "completed": "completed",
    "failed": "failed",
    "blocked": "blocked",
    "invalid_number": "invalid_number",
    "carrier_error": "carrier_error",
    "cancelled": "cancelled",
}
COUNTED = {"pending", "queued", "no_answer", "busy", "timeout"}
MESSAGES = {
    "scheduled": "Scheduled job cancelled successfully",
    "pending": "Pending job cancelled successfully",
    "running": "Job was already running - cancelled remaining contacts",
}
ENDED = ["completed", "failed", "cancelled"]

contact_statuses = st.sampled_from(
    [*AFTER_CANCEL, "paused", "PENDING", "pending ", "no-answer", "", None]
)
job_statuses = st.sampled_from([*MESSAGES, *ENDED, "paused", "SCHEDULED", "", None])
organizations = st.sampled_from([None, "org-a", "org-b"])


@attrs.frozen
class Seed:
    """A job to put into a store; `is_waiting` says whether its deferred start was scheduled."""

    status: str | None
    contacts: list[str | None]
    organization_id: str | None
    has_deferred_id: bool
    is_waiting: bool


seeds = st.builds(
    Seed,
    status=job_statuses,
    contacts=st.lists(contact_statuses, max_size=12),
    organization_id=organizations,
    has_deferred_id=st.booleans(),
    is_waiting=st.booleans(),
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(target=seeds, neighbours=st.lists(seeds, max_size=3))
def test_for_any_rows_before_the_rows_after_are_the_contracts(
    world: World, target: Seed, neighbours: list[Seed]
) -> None:
    """The five statuses become cancelled, the job too; all else is byte for byte as before."""
    world.clear()
    waiting = set()
    for name, seed in [("target", target), *((f"n{i}", n) for i, n in enumerate(neighbours))]:
        deferred_id = f"start-{name}" if seed.has_deferred_id else None
        world.add_job(
            name,
            seed.status,
            seed.contacts,
            organization_id=seed.organization_id,
            deferred_id=deferred_id,
        )
        if deferred_id and seed.is_waiting:
            world.schedule(deferred_id)
            waiting.add(deferred_id)
    key = JobKey("target", target.organization_id)
    before = world.rows()

    answer = _answer(world, target.organization_id)

    after = world.rows()
    if target.status in MESSAGES:
        removed = target.status == "scheduled" and "start-target" in waiting
        assert answer == (
            200,
            {
                "success": True,
                "message": MESSAGES[target.status],
                "batchJobId": "target",
                "redisJobCancelled": removed,
                "contactsCancelled": sum(status in COUNTED for status in target.contacts),
            },
        )
        assert after[key].status == "cancelled"
        assert after[key].deferred_id == before[key].deferred_id
        for label, (status, touched_at) in before[key].contacts.items():
            if status in COUNTED:
                assert after[key].contacts[label][0] == "cancelled"
            else:
                assert after[key].contacts[label] == (status, touched_at)
        assert after[key].statuses == {
            label: AFTER_CANCEL.get(status, status)  # type: ignore[arg-type]  # None stays None
            for label, status in before[key].statuses.items()
        }
        del before[key], after[key]
        waiting -= {"start-target"}
    elif target.status in ENDED:
        assert answer == (400, {"detail": f"Cannot cancel job in '{target.status}' status"})
    else:
        assert answer == (500, {"detail": "Failed to cancel batch job"})
    assert after == before
    assert world.waiting() == waiting


def _answer(world: World, organization_id: str | None) -> tuple[int, dict[str, Any]]:
    try:
        response = present(world.cancel("target", organization_id=organization_id))
    except (AlreadyTerminal, UnknownJobStatus) as error:
        response = present_error(error)
    return response.status, response.body
