"""What the attempts at a cancellation share: how a store's fault is named, and the pause after."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import attrs

from batch_cancel.domain.errors import (
    BatchCancelError,
    CancelFailed,
    Fault,
    Outcome,
    StoreFailed,
)
from batch_cancel.domain.job import JobKey
from batch_cancel.ports import AsyncUnitOfWork
from batch_cancel.use_cases import kinds
from batch_cancel.use_cases.run_blocking import repeatable
from batch_cancel.use_cases.unexpected import described, original


@attrs.define
class Progress:
    """
    How far an attempt got; it decides the outcome of an unexpected fault.

    Arguments:
        outcome: what a fault now leaves.
        is_replay: whether it found the job cancelled by this operation.
    """

    outcome: Outcome = "unchanged"
    is_replay: bool = False


@contextmanager
def faults_named(key: JobKey, progress: Progress) -> Generator[None]:
    """Turn every fault of a store into `CancelFailed` for this job."""
    try:
        yield
    except StoreFailed as error:
        raise CancelFailed(key, error.reason, error.outcome, error.fault) from error
    except (BatchCancelError, kinds.WrongKind):
        raise
    except Exception as error:  # noqa: BLE001  # It is raised again as CancelFailed.
        reason = f"the store raised {described(error)}"
        fault = Fault.INTERRUPTED if progress.outcome == "unknown" else Fault.REFUSED
        raise CancelFailed(key, reason, progress.outcome, fault) from original(error)


async def pause(key: JobKey, made: int, uow: AsyncUnitOfWork) -> None:
    """Wait before another attempt, if `made` attempts were made before."""
    if made and (pausing := repeatable(uow)) is not None:
        with faults_named(key, Progress()):
            await pausing.pause(made)
