"""
Cancel a slice of jobs in the store: together in one transaction, or one by one.

Rule 1: a slice that fails is tried again as a single cancel is, and then job by job: a job that
        fails does not stop the others.
Rule 2: a job whose slice may have been committed, its answer lost, is never reported as unchanged,
        nor as cancelled before.
Rule 3: a slice with more contacts than the store cancels in one transaction is halved. A job that
        is too large by itself is swept, as by a single cancel.
Rule 4: from a store that does not answer, the pass backs off, as it does from a scheduler.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TypeGuard, cast

import attrs

from batch_cancel.domain.bulk import Decision, decide, is_given_up, is_silent, of_another
from batch_cancel.domain.cancellation import Cancellation, CancelPlan, CancelRequest
from batch_cancel.domain.errors import (
    AlreadyTerminal,
    BatchCancelError,
    CancelFailed,
    StoreFailed,
)
from batch_cancel.domain.job import Job, JobKey
from batch_cancel.domain.retry import Attempts, Patience
from batch_cancel.ports import AsyncBulkRepository, AsyncRepositories, AsyncUnitOfWork
from batch_cancel.use_cases.cancel import cancel_in_store
from batch_cancel.use_cases.kinds import discard, opened_async
from batch_cancel.use_cases.run_blocking import repeatable
from batch_cancel.use_cases.store_faults import Progress, faults_named, pause
from batch_cancel.use_cases.sweep import refusal_after_sweep, swept_surely

Outcome = Cancellation | BatchCancelError
"""What became of a job in the store."""


def bulk_of(repositories: AsyncRepositories) -> AsyncBulkRepository | None:
    """Return the bulk port of a store; None if it has none."""
    bulk: AsyncBulkRepository | None = getattr(repositories, "bulk", None)
    return bulk


@attrs.define
class Slices:
    """
    What cancels slices, and remembers how the store answers.

    Arguments:
        request: the request; its key is that of no job.
        uow: the store.
        together: whether the store has the bulk port.
    """

    request: CancelRequest
    uow: AsyncUnitOfWork
    together: bool
    is_given_up: bool = attrs.field(default=False, init=False)
    """Whether the store was silent for so long that no other slice is worth it."""
    _patience: Patience = attrs.field(factory=Patience, init=False)

    async def cancel(self, keys: Sequence[JobKey]) -> dict[JobKey, Outcome]:
        """Cancel the jobs in the store, and return what became of each."""
        outcomes = await self._cancel(keys, set())
        return {key: await self._after_sweep(outcome) for key, outcome in outcomes.items()}

    async def _cancel(
        self, keys: Sequence[JobKey], may_be_done: set[JobKey]
    ) -> dict[JobKey, Outcome]:
        if self.together:
            try:
                outcomes = await self._together(keys, may_be_done)
            except CancelFailed:
                pass  # The job that it is of is not known.
            else:
                if outcomes is not None:
                    return outcomes
                half = len(keys) // 2
                if half:  # Fewer jobs have fewer contacts.
                    first = await self._cancel(keys[:half], may_be_done)
                    return first | await self._cancel(keys[half:], may_be_done)
        return await self._one_by_one(keys, may_be_done)

    async def _after_sweep(self, outcome: Outcome) -> Outcome:
        """Sweep what an earlier cancellation has left."""
        if isinstance(outcome, AlreadyTerminal):
            return await refusal_after_sweep(outcome, self.uow)
        if not isinstance(outcome, Cancellation) or outcome.record.is_swept:
            return outcome
        try:
            return attrs.evolve(outcome, record=await swept_surely(outcome.record, self.uow))
        except CancelFailed as failure:
            return failure

    def _request(self, key: JobKey) -> CancelRequest:
        return attrs.evolve(self.request, key=key)

    # Together ------------------------------------------------------------------------------------

    async def _together(
        self, keys: Sequence[JobKey], may_be_done: set[JobKey]
    ) -> dict[JobKey, Outcome] | None:
        attempts = Attempts()
        while True:
            progress, planned = Progress(), list[JobKey]()
            try:
                await pause(keys[0], attempts.made, self.uow)
                outcomes = await self._in_transaction(keys, may_be_done, planned, progress)
            except CancelFailed as failure:
                if failure.outcome == "unknown":
                    may_be_done.update(planned)
                if repeatable(self.uow) is None:
                    raise
                attempts = attempts.failed(failure)
            else:
                self._patience = Patience()
                return outcomes

    async def _in_transaction(
        self,
        keys: Sequence[JobKey],
        may_be_done: set[JobKey],
        planned: list[JobKey],
        progress: Progress,
    ) -> dict[JobKey, Outcome] | None:
        """Return None, and change nothing, if the jobs have too many contacts together."""
        possible = [key for key in keys if key.can_exist]
        with faults_named(keys[0], progress), suppress(_TooMany):
            async with opened_async(self.uow) as repositories:
                bulk = cast("AsyncBulkRepository", bulk_of(repositories))
                found = await _locked(bulk, possible)
                decided = {
                    key: decide(self._request(key), found.get(key), _tried(key in may_be_done))
                    for key in keys
                }
                planned += [key for key, it in decided.items() if isinstance(it, CancelPlan)]
                outcomes = await _carry_out(bulk, decided)
                progress.outcome = "unknown"
            return outcomes
        return None

    # One by one ----------------------------------------------------------------------------------

    async def _one_by_one(
        self, keys: Sequence[JobKey], may_be_done: set[JobKey]
    ) -> dict[JobKey, Outcome]:
        outcomes = dict[JobKey, Outcome]()
        left, is_answered, was_answered = list(keys), True, False
        failure: CancelFailed | None = None
        while left and is_answered:  # The store answers again, so the skipped ones are tried too.
            skipped, is_answered = list[JobKey](), False
            for key in left:
                if self._patience.skips:
                    skipped.append(key)
                    self._patience = self._patience.after_skipping()
                    continue
                outcome = outcomes[key] = await self._one(key, is_tried=key in may_be_done)
                if isinstance(outcome, CancelFailed) and is_silent(outcome):
                    failure, self._patience = outcome, self._patience.after_silence()
                else:
                    self._patience, is_answered, was_answered = Patience(), True, True
            left = skipped
        self.is_given_up = is_given_up(self._patience) and not was_answered
        for key in left:
            outcomes[key] = of_another(
                cast("CancelFailed", failure), key, may_be_done=key in may_be_done
            )
        return {key: outcomes[key] for key in keys}

    async def _one(self, key: JobKey, *, is_tried: bool) -> Outcome:
        try:
            return await cancel_in_store(self._request(key), self.uow, _tried(is_tried))
        except BatchCancelError as error:
            return error


class _TooMany(Exception):  # It stays in this module.
    """The jobs have too many contacts together: the transaction is rolled back."""


def _tried(may_be_done: bool) -> Attempts:  # noqa: FBT001  # The value is the whole of it.
    """Return the attempts at a job whose slice may have been committed, or was not."""
    return Attempts(may_be_done=may_be_done, may_be_ours=may_be_done)


async def _locked(bulk: AsyncBulkRepository, keys: Sequence[JobKey]) -> Mapping[JobKey, Job]:
    if not keys:
        return {}
    answer = cast("object", await bulk.lock(keys))
    if _is_of_jobs(answer):
        return answer
    discard(answer)
    reason = f"the store returned {type(answer).__name__} instead of a dict of Jobs by their keys"
    raise StoreFailed(reason)


def _is_of_jobs(answer: object) -> TypeGuard[Mapping[JobKey, Job]]:
    if not isinstance(answer, Mapping):
        return False
    found = cast("Mapping[object, object]", answer)
    return all(isinstance(it, Job) for it in found.values())


async def _carry_out(
    bulk: AsyncBulkRepository, decided: Mapping[JobKey, Decision]
) -> dict[JobKey, Outcome]:
    """
    Cancel the jobs that have a plan; two keys may be of one job, which is cancelled once.

    Raises:
        _TooMany: they have too many contacts together.
    """
    plans = dict[JobKey, CancelPlan]()
    for decision in decided.values():
        if isinstance(decision, CancelPlan):
            plans.setdefault(decision.job.key, decision)
    outcomes = {
        key: decision for key, decision in decided.items() if not isinstance(decision, CancelPlan)
    }
    if not plans:
        return dict(outcomes)
    [statuses] = {plan.contact_statuses for plan in plans.values()}
    counts = await bulk.cancel(list(plans), statuses)
    if counts is None:
        raise _TooMany
    records = {key: plan.record(counts.get(key, 0)) for key, plan in plans.items()}
    await bulk.mark_cancelled(list(records.values()))
    return {
        key: Cancellation(
            records[decision.job.key], replayed=decision is not plans[decision.job.key]
        )
        if isinstance(decision, CancelPlan)
        else decision
        for key, decision in decided.items()
    }
