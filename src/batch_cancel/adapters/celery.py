"""
Celery tasks that pass the start gate before they run.

Celery hands a task with an ETA to a worker at once, which keeps it in its memory, where it cannot
be removed. So the gate decides when the task starts; pass it as the scheduler:

    gate = StartGate(redis.Redis())

    @app.task(base=gated(gate))
    def start_campaign(job_id): ...

    gate.arm(task_id, at)
    start_campaign.apply_async((job_id,), task_id=task_id, eta=at)

    cancel_job(job_id, uow=uow, scheduler=gate)

The id of a deferred start is the task's id. An id is used once.

Arm every task with this base, also one without an ETA, unless the gate is made with
`armed_only=False`.
"""

# Celery has no types, and need not be installed where this is checked.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from batch_cancel.adapters.missing_extra import missing_extra

try:
    from celery import Task
    from celery.exceptions import Ignore
except ModuleNotFoundError as _missing:
    raise missing_extra(__name__, "celery", _missing) from _missing

from batch_cancel.adapters.redis import StartGate
from batch_cancel.ports import SchedulerUnavailable

__all__ = ["gated"]


def gated(gate: StartGate) -> type[Any]:
    """
    Return the base class of tasks that run only if the gate lets them pass.

    A cancelled task is ignored. If the gate does not answer, or does not know the task, the task
    is retried by its own `max_retries` and `default_retry_delay`, and then fails with
    `SchedulerUnavailable`.
    """

    class GatedTask(Task):  # type: ignore[misc]
        abstract = True

        def before_start(
            self, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]
        ) -> None:
            try:
                may_start = gate.may_start(task_id)
            except SchedulerUnavailable as error:
                raise self.retry(exc=error) from error
            if not may_start:
                raise Ignore
            super().before_start(task_id, args, kwargs)

    return GatedTask
