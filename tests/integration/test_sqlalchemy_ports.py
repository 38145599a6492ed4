"""
What the ports of SQLAlchemy answer when they are asked directly, by each driver.

Where the bulk port fails, `cancel_jobs` cancels the jobs of a slice one by one, with the same
answers; so what the port does is seen here alone.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from batch_cancel import ContactStatus, JobFilter, JobKey
from batch_cancel.domain.cancellation import CancelRequest, plan_cancellation
from batch_cancel.domain.history import Wanted
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS
from tests.data_layers import TABLES, Layer
from tests.integration.own_tables import Asyncio, Blocking
from tests.integration.sqlalchemy_layers import DONE, layer, statuses

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["layer"]

KEYS = [JobKey("j1"), JobKey("j2")]


def begun(layer: Layer, story: Callable[[Callable[..., Any], Any], None]) -> None:
    """Begin a transaction, and let a story call its repositories."""
    half = Blocking() if layer.asyncio_engine is None else Asyncio()
    half.begun(layer.uow(TABLES), story)


def test_jobs_are_found_locked_and_cancelled_together(layer: Layer) -> None:
    """Each with the number of its contacts."""

    def story(call: Any, repositories: Any) -> None:
        of, wanted = repositories.bulk, JobFilter(statuses=["running"])
        assert call(of.find, wanted, None, 1) == KEYS[:1]
        assert call(of.find, wanted, KEYS[0], 9) == KEYS[1:]
        locked = call(of.lock, [*KEYS, JobKey("none")])
        assert {key: job.status for key, job in locked.items()} == dict.fromkeys(KEYS, "running")
        assert call(of.cancel, KEYS, CANCELLABLE_CONTACTS) == dict.fromkeys(KEYS, 1)
        plans: list[Any] = [
            plan_cancellation(CancelRequest(key, "op"), job) for key, job in locked.items()
        ]
        call(of.mark_cancelled, [it.record(1) for it in plans])
        records = [job.cancellation for job in call(of.lock, KEYS).values()]
        assert [it.operation_id for it in records] == ["op", "op"]

    begun(layer, story)
    assert statuses(layer.engine) == dict.fromkeys(("j1", "j2"), DONE)


@pytest.mark.parametrize(
    ("status", "is_there"),
    [(ContactStatus.PENDING, True), (ContactStatus.DIALING, False), (None, False)],
)
def test_contacts_are_those_of_a_job_that_is_there(
    layer: Layer, status: ContactStatus | None, *, is_there: bool
) -> None:
    """In one of the statuses."""

    def story(call: Any, repositories: Any) -> None:
        asked = set() if status is None else {status}
        assert call(repositories.work.has_contacts, KEYS[0], asked) is is_there
        assert call(repositories.work.has_contacts, JobKey("none"), asked) is False

    begun(layer, story)


def test_no_more_contacts_are_claimed_than_are_asked_for(layer: Layer) -> None:
    """With what is read of them."""
    layer.execute(
        "INSERT INTO batch_contacts (id, batch_job_id, status) VALUES (7, 'j1', 'pending')"
    )

    def story(call: Any, repositories: Any) -> None:
        claim, open_ones = repositories.work.claim_returning, CANCELLABLE_CONTACTS
        first = call(claim, KEYS[0], open_ones, 1, ["batch_job_id"])
        rest = call(claim, KEYS[0], open_ones, 9, ["batch_job_id"])
        assert [len(first), len(rest)] == [1, 1]
        assert {values["batch_job_id"] for _, values in [*first, *rest]} == {"j1"}

    begun(layer, story)


# The history -------------------------------------------------------------------------------------


EARLIER = pytest.mark.parametrize("has_earlier", [True, False])


def cancelled(layer: Layer, *, has_earlier: bool) -> None:
    """Cancel both jobs and tell of it; without a table for earlier records if so."""
    if not has_earlier:
        layer.execute("DROP TABLE batch_cancellations_earlier")
    for job_id in ("j1", "j2"):
        layer.call("cancel_rows", job_id, tables=TABLES, operation_id=f"of {job_id}")


def asked(layer: Layer, method: str, *arguments: Any) -> Any:
    """Call a method of the history in a transaction, and return what it answers."""
    answers = list[Any]()
    begun(
        layer,
        lambda call, its: answers.append(call(getattr(its.history, method), *arguments)),
    )
    return answers[0]


@EARLIER
def test_a_page_has_as_many_records_as_are_asked_for(layer: Layer, *, has_earlier: bool) -> None:
    """The newest, also where there is no table for earlier ones."""
    cancelled(layer, has_earlier=has_earlier)
    for limit, names in ((1, ["of j2"]), (2, ["of j2", "of j1"]), (3, ["of j2", "of j1"])):
        page = asked(layer, "page", Wanted(None), limit)
        assert [it.operation_id for it in page] == names


@EARLIER
def test_as_many_records_are_forgotten_as_are_asked_for(
    layer: Layer, *, has_earlier: bool
) -> None:
    """The oldest first; the port says how many they were."""
    cancelled(layer, has_earlier=has_earlier)
    later, at_once = datetime.now(UTC) + timedelta(days=1), timedelta(days=-1)
    left = [["of j2"], [], []]
    for number, names in zip((1, 1, 0), left, strict=True):
        assert asked(layer, "forget", later, at_once, 1) == number
        assert [it.operation_id for it in asked(layer, "page", Wanted(None), 9)] == names
