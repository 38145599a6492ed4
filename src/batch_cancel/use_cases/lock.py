"""Lock a job through its port, and check that the answer is a `Job`."""

from __future__ import annotations

from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.job import Job, JobKey
from batch_cancel.ports import AsyncRepositories
from batch_cancel.use_cases.kinds import discard


async def lock(repositories: AsyncRepositories, key: JobKey) -> Job | None:
    """
    Lock the job until the transaction ends, and read it; None if there is none.

    Raises:
        StoreFailed: the store returned something else.
    """
    return _job(await repositories.jobs.lock(key))


def _job(answer: object) -> Job | None:
    if answer is None or isinstance(answer, Job):
        return answer
    discard(answer)
    reason = f"the store returned {type(answer).__name__} instead of a Job"
    raise StoreFailed(reason)
