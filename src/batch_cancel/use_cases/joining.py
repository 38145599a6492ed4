"""
Check whether the caller's transaction is still open, and whether it was committed.

Several drivers and frameworks raise no error when Postgres answers COMMIT with ROLLBACK, as it
does after a failed statement. So only the record proves a commit, not the end of the caller's
block.
"""

from __future__ import annotations

from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.job import CancellationRecord, Job, JobKey
from batch_cancel.ports import AsyncUnitOfWork
from batch_cancel.use_cases.kinds import opened_async
from batch_cancel.use_cases.lock import lock
from batch_cancel.use_cases.run_blocking import own


def is_joined(uow: AsyncUnitOfWork) -> bool:
    """
    Check whether `begin()` would open a savepoint in the caller's transaction.

    Raises:
        StoreFailed: the store returned something else.
    """
    # `is_joined` is a property; an isinstance check would read it a second time.
    answer: object = getattr(own(uow), "is_joined", False)
    if isinstance(answer, bool):
        return answer
    reason = f"the store returned {type(answer).__name__} instead of a bool"
    raise StoreFailed(reason)


async def find(uow: AsyncUnitOfWork, key: JobKey) -> CancellationRecord | Job | None:
    """
    Read the committed state of the job's cancellation, in a transaction of its own.

    Returns:
        its record, None if there is none; the job, if the store keeps no records.

    Raises:
        StoreFailed: the store returned something else.
    """
    async with opened_async(uow) as repositories:
        if repositories.outbox is None:
            return await lock(repositories, key)
        return read_record(await repositories.outbox.find(key))


def read_record(answer: object) -> CancellationRecord | None:
    """
    Check what an outbox has returned, and return it.

    Raises:
        StoreFailed: it is neither a record nor None.
    """
    if answer is None or isinstance(answer, CancellationRecord):
        return answer
    reason = f"the store returned {type(answer).__name__} instead of a CancellationRecord"
    raise StoreFailed(reason)
