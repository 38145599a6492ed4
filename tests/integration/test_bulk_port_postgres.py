"""
What the bulk port of Postgres answers when it is asked directly.

Where the port fails, `cancel_jobs` cancels the jobs of a slice one by one, with the same answers;
so what the port does is seen here alone.
"""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from batch_cancel import JobKey
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.adapters.postgres import AsyncPostgresUnitOfWork, PostgresUnitOfWork
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS
from batch_cancel.use_cases.cancel import cancel_job
from tests.integration.bulk_tables import counted, fill, rows
from tests.integration.own_tables import HALVES, UUID, Blocking, Half, tables

__all__ = ["rows"]

KEYS = [JobKey(f"job-{number:04}") for number in range(3)]


def locked(half: Half, uow: Any, keys: list[JobKey]) -> dict[JobKey, Any]:
    """Lock jobs in a transaction, and return what is found."""
    found = dict[JobKey, Any]()

    def story(call: Any, repositories: Any) -> None:
        found.update(call(repositories.bulk.lock, keys))

    half.begun(uow, story)
    return found


@HALVES
def test_an_id_that_the_column_cannot_hold_spoils_no_other(
    postgres_database: str, half: Half
) -> None:
    """They are found out without giving the slice up, wherever they stand."""
    with tables(postgres_database, id_type="bigint") as made:
        for number in (1, 2, 3):
            made.add_job(number, "running")
        for ids in (["x", "1", "2", "3"], ["1", "2", "9" * 30, "3"], ["1", "\0", "2", "3"]):
            found = locked(half, half.uow(made.dsn), [JobKey(it) for it in ids])
            assert sorted(key.batch_job_id for key in found) == ["1", "2", "3"]
        assert locked(half, half.uow(made.dsn), [JobKey("x"), JobKey("y")]) == {}


@HALVES
def test_the_record_of_a_cancelled_job_comes_with_it(postgres_database: str, half: Half) -> None:
    """That of its own organization; one that is not cancelled has none."""
    with tables(postgres_database) as made:
        for organization_id in ("acme", UUID):
            made.add_job(f"old of {organization_id}", "running", {}, organization_id)
            cancel_job(
                f"old of {organization_id}",
                uow=Blocking().uow(made.dsn),
                scheduler=MemoryScheduler(),
                organization_id=organization_id,
                operation_id=f"by {organization_id}",
            )
        made.add_job("new", "running", {}, "acme")
        keys = [JobKey(name, "acme") for name in ("new", "old of acme", f"old of {UUID}")]
        found = locked(half, half.uow(made.dsn), keys)
        records = {key.batch_job_id: job.cancellation for key, job in found.items()}
        assert sorted(records) == ["new", "old of acme"]
        assert records["new"] is None
        assert records["old of acme"].operation_id == "by acme"


@HALVES
@pytest.mark.parametrize(("above", "is_done"), [(5, False), (6, True)])
def test_more_contacts_than_a_sweep_begins_at_are_left_alone(
    rows: psycopg.Connection[Any], postgres_schema: str, half: Half, above: int, *, is_done: bool
) -> None:
    """Those of all jobs count; None says so, and nothing was changed."""
    fill(rows, 3, 2)
    uow: Any
    if isinstance(half, Blocking):
        uow = PostgresUnitOfWork(lambda: psycopg.connect(postgres_schema), sweep_above=above)
    else:
        uow = AsyncPostgresUnitOfWork(
            lambda: psycopg.AsyncConnection.connect(postgres_schema), sweep_above=above
        )

    def story(call: Any, repositories: Any) -> None:
        keys = list(call(repositories.bulk.lock, KEYS))
        counts = call(repositories.bulk.cancel, keys, CANCELLABLE_CONTACTS)
        assert counts == (dict.fromkeys(KEYS, 2) if is_done else None)
        if is_done:  # None are left, and none is no reason to sweep.
            assert call(repositories.bulk.cancel, keys, CANCELLABLE_CONTACTS) == {}

    half.begun(uow, story)
    assert counted(rows, "batch_contacts") == {"cancelled" if is_done else "pending": 6}
