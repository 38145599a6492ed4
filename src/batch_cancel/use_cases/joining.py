"""
Ask a store whether the caller's transaction is still open, and whether it was committed.

Several drivers and frameworks raise nothing when Postgres answers COMMIT with ROLLBACK, as it does
after a statement has failed. So the end of the caller's block proves nothing; the record does.
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
    Check whether a transaction begun now would be a part of one that the caller will end.

    Raises:
        StoreFailed: the store returned something else.
    """
    # Of a JoiningUnitOfWork, which isinstance would ask as well, and twice is once too often.
    answer: object = getattr(own(uow), "is_joined", False)
    if isinstance(answer, bool):
        return answer
    reason = f"the store returned {type(answer).__name__} instead of a bool"
    raise StoreFailed(reason)


async def find(uow: AsyncUnitOfWork, key: JobKey) -> CancellationRecord | Job | None:
    """
    Read what is committed of the job's cancellation, in a transaction of its own.

    Returns:
        its record, None if there is none; from a store that keeps no records the job.

    Raises:
        StoreFailed: the store returned something else.
    """
    async with opened_async(uow) as repositories:
        if repositories.outbox is None:
            return await lock(repositories, key)
        return read_record(await repositories.outbox.find(key))


def read_record(answer: object) -> CancellationRecord | None:
    """
    Return what an outbox has returned.

    Raises:
        StoreFailed: it is no record, and not None.
    """
    if answer is None or isinstance(answer, CancellationRecord):
        return answer
    reason = f"the store returned {type(answer).__name__} instead of a CancellationRecord"
    raise StoreFailed(reason)
