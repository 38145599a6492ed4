"""
How far the database and the scheduler have drifted apart, as pure functions.

Rule 1: a cancelled job has no waiting deferred start, no open contact and nothing pending. A
        scheduled job has a waiting deferred start. A call ends.
Rule 2: the two stores cannot be read at one moment. A change between the two reads is no drift: a
        second read of the database must find the same.
Rule 3: what was not read is not called clean: a read that met its limit says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import attrs

from batch_cancel.domain.job import CancellationRecord, JobKey


@attrs.frozen
class DeferredStart:
    """
    A job and the deferred start that it names.

    Arguments:
        key: the job.
        deferred_id: the id of its deferred start; None if it names none.
    """

    key: JobKey
    deferred_id: str | None


@attrs.frozen
class CancelledJob:
    """
    A cancelled job, and what could still start or call it.

    Arguments:
        key: the job.
        deferred_id: the id of its deferred start; None if it names none.
        contacts_open: how many of its contacts are open.
    """

    key: JobKey
    deferred_id: str | None
    contacts_open: int


@attrs.frozen
class OverdueCalls:
    """
    A job with contacts that have been dialing for too long.

    Arguments:
        key: the job.
        contacts: how many.
    """

    key: JobKey
    contacts: int


@attrs.frozen
class Inventory:
    """
    What a store holds at one moment, at most `limit` of each kind.

    Arguments:
        removals_pending: the cancellations whose removal is pending, the oldest first.
        scheduled: the scheduled jobs, those unchanged for longest first.
        cancelled: the cancelled jobs, the last changed first.
        calls_overdue: the jobs with calls that have been live for too long, those with most such
            calls first; None if the store does not know how long a contact has been dialing.
        sweeps_pending: the cancellations with contacts still to be swept, the oldest first.
    """

    removals_pending: tuple[CancellationRecord, ...] = ()
    scheduled: tuple[DeferredStart, ...] = ()
    cancelled: tuple[CancelledJob, ...] = ()
    calls_overdue: tuple[OverdueCalls, ...] | None = None
    sweeps_pending: tuple[CancellationRecord, ...] = ()

    @property
    def deferred_ids(self) -> frozenset[str]:
        """The deferred starts to ask the scheduler about."""
        named = (*self._starts_of_cancelled, *self.scheduled)
        return frozenset(it.deferred_id for it in named if it.deferred_id is not None)

    @property
    def _starts_of_cancelled(self) -> dict[DeferredStart, None]:
        """The starts of cancelled jobs; a job may name another one than its record does."""
        pending = (DeferredStart(it.key, it.deferred_id) for it in self.removals_pending)
        named = (DeferredStart(it.key, it.deferred_id) for it in self.cancelled)
        return dict.fromkeys((*pending, *named))

    def drift(
        self, waiting: AbstractSet[str] | None, limit: int, scheduler_fault: str | None = None
    ) -> Drift:
        """
        Return how far this differs from what the scheduler says.

        Arguments:
            waiting: those of `deferred_ids` that wait to fire; None if that is not known.
            limit: the limit that the store was read with.
            scheduler_fault: why the scheduler did not answer; None if it did, or was not asked.
        """
        known = self.deferred_ids if waiting is None else waiting
        # The start of a job that was set back since its cancellation is among both.
        wanted = {*self.scheduled}
        return Drift(
            removals_pending=self.removals_pending,
            starts_waiting=()
            if waiting is None
            else tuple(
                it
                for it in self._starts_of_cancelled
                if it.deferred_id in waiting and it not in wanted
            ),
            starts_missing=tuple(it for it in self.scheduled if it.deferred_id not in known),
            contacts_open=self._contacts_open,
            calls_overdue=self.calls_overdue,
            is_partial=max(
                map(
                    len,
                    (
                        self.removals_pending,
                        self.scheduled,
                        self.cancelled,
                        self.calls_overdue or (),
                        self.sweeps_pending,
                    ),
                )
            )
            >= limit,
            starts_seen=waiting is not None,
            scheduler_fault=scheduler_fault,
            sweeps_pending=self.sweeps_pending,
        )

    @property
    def _contacts_open(self) -> tuple[CancelledJob, ...]:
        """The cancelled jobs with open contacts, apart from those that are being swept."""
        unswept = {it.key for it in self.sweeps_pending}
        return tuple(it for it in self.cancelled if it.contacts_open and it.key not in unswept)


@attrs.frozen
class Drift:
    """
    How far the database and the scheduler have drifted apart.

    Arguments:
        removals_pending: the cancellations whose removal is pending; reconcile finishes them.
        starts_waiting: deferred starts of cancelled jobs that still wait to fire; harmless if the
            workers start jobs with `start_job`.
        starts_missing: scheduled jobs whose deferred start does not wait, or that name none: they
            will not be started, unless a worker is just starting one.
        contacts_open: cancelled jobs with open contacts that nothing will cancel.
        calls_overdue: jobs with calls that have been live for too long, most likely those of dead
            workers; `expire_calls` ends them. None if the store does not know.
        is_partial: whether a limit was met, so that there may be more that was not read.
        starts_seen: whether the scheduler reported which deferred starts wait. If not,
            `starts_waiting` is empty, and `starts_missing` names only jobs that name no start.
        scheduler_fault: why the scheduler did not answer; None if it did, or if it cannot report
            which deferred starts wait.
        sweeps_pending: the cancellations of very large jobs with contacts still to be swept;
            reconcile finishes them.
    """

    removals_pending: tuple[CancellationRecord, ...] = ()
    starts_waiting: tuple[DeferredStart, ...] = ()
    starts_missing: tuple[DeferredStart, ...] = ()
    contacts_open: tuple[CancelledJob, ...] = ()
    calls_overdue: tuple[OverdueCalls, ...] | None = None
    is_partial: bool = False
    starts_seen: bool = True
    scheduler_fault: str | None = None
    sweeps_pending: tuple[CancellationRecord, ...] = ()

    @property
    def is_found(self) -> bool:
        """Whether there is any drift, or the scheduler did not answer."""
        return any(
            (
                self.removals_pending,
                self.starts_waiting,
                self.starts_missing,
                self.contacts_open,
                self.calls_overdue,
                self.scheduler_fault is not None,
                self.sweeps_pending,
            )
        )

    def confirmed_by(self, later: Inventory) -> Drift:
        """
        Leave out what a second read of the store no longer finds.

        A cancel, a start or a reconcile that ran between the two reads is no drift.
        """
        still_pending = _among(self.removals_pending, later.removals_pending)
        unswept = {it.key for it in later.sweeps_pending}
        done = {it.key for it in self.removals_pending} - {it.key for it in still_pending}
        contacts_open = {it.key: it for it in later.cancelled}
        looked_again = (contacts_open.get(it.key, it) for it in self.contacts_open)
        scheduled = set(later.scheduled)
        return attrs.evolve(
            self,
            removals_pending=tuple(still_pending),
            starts_waiting=tuple(it for it in self.starts_waiting if it.key not in done),
            starts_missing=tuple(it for it in self.starts_missing if it in scheduled),
            contacts_open=tuple(
                it for it in looked_again if it.contacts_open and it.key not in unswept
            ),
            calls_overdue=later.calls_overdue,
            sweeps_pending=tuple(_among(self.sweeps_pending, later.sweeps_pending)),
        )


def _among(
    some: Sequence[CancellationRecord], others: Sequence[CancellationRecord]
) -> list[CancellationRecord]:
    """Return those of the records whose cancellations are among others."""
    named = {(it.key, it.operation_id) for it in others}
    return [it for it in some if (it.key, it.operation_id) in named]
