"""The reports of the operator's commands, in sentences or as one JSON object; no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import assert_never

import attrs

from batch_cancel import CancelResult, Drift, JobKey, Removal
from batch_cancel.cli.job_reports import job_shown, json_line, named
from batch_cancel.domain.diagnosis import Diagnosis
from batch_cancel.domain.drift import CancelledJob, DeferredStart
from batch_cancel.domain.errors import shown


@attrs.frozen
class Reconciled:
    """
    What a pass of reconcile did.

    Arguments:
        results: of the cancellations that were taken.
        removals_pending: how many removals are pending after it, up to `limit`.
        sweeps_pending: how many cancellations have contacts still to be swept, up to `limit`.
        limit: how many were counted at most.
        hooks_failed: how many calls of the application's hook failed; None if it has no hook.
        set_back: the jobs that are not cancelled any more.
    """

    results: Sequence[CancelResult]
    removals_pending: int
    sweeps_pending: int
    limit: int
    hooks_failed: int | None
    set_back: Sequence[JobKey] = ()

    @property
    def is_pending(self) -> bool:
        """Whether a removal or a sweep is still pending, or a hook failed."""
        return bool(self.removals_pending or self.sweeps_pending or self.hooks_failed)

    def json(self) -> str:
        """Return it as one JSON object."""
        done = [
            {
                "batchJobId": it.batch_job_id,
                "operationId": it.operation_id,
                "cancelledAt": it.cancelled_at.isoformat(),
                "removal": it.removal.value,
            }
            for it in self.results
        ]
        return json_line(
            {
                "reconciled": done,
                "removalsPending": self.removals_pending,
                "sweepsPending": self.sweeps_pending,
                "hooksFailed": self.hooks_failed or 0,
                "setBack": [*map(named, self.set_back)],
            }
        )

    def text(self) -> str:
        """Return it in sentences."""
        keys = (JobKey(it.batch_job_id, it.organization_id) for it in self.results)
        set_back = {*self.set_back}
        done = (
            _set_back(key) if key in set_back else _finished(it)
            for key, it in zip(keys, self.results, strict=True)
        )
        return _text([*done, *self._rest()])

    def line(self, *faults: str) -> str:
        """Return it as one line, with what went wrong."""
        taken = f"{len(self.results)} taken"
        return "; ".join([taken, *self._rest(), *faults]) + "\n"

    def advice(self, lease: timedelta) -> str:
        """Return what to do about what is still pending."""
        pending = self.removals_pending + self.sweeps_pending
        if not self.hooks_failed and pending <= len(self.set_back):
            return (
                "another pass changes nothing: cancel again what has been set back, or delete the "
                "record of its cancellation"
            )
        if len(self.results) < self.limit and lease:
            return (
                f"cancellations made or taken less than {lease.total_seconds():g} s ago are left "
                "to the process that did it: run it again later, or with --lease 0"
            )
        return "run it again"

    def _rest(self) -> Iterator[str]:
        if not self.is_pending:
            # Hooks that another process has in hand were not read.
            hooks = "" if self.hooks_failed is None else ", and no hook failed"
            yield f"no removal is left pending{hooks}"
        if self.removals_pending:
            at_least = "at least " if self.removals_pending >= self.limit else ""
            yield f"{at_least}{_number(self.removals_pending, 'removal')} still pending"
        if self.sweeps_pending:
            at_least = "at least " if self.sweeps_pending >= self.limit else ""
            yield f"{at_least}{_number(self.sweeps_pending, 'sweep')} still pending"
        if self.hooks_failed:
            hooks = _number(self.hooks_failed, "hook")
            yield f"{hooks} still pending: on_cancelled failed"
        if self.set_back:
            yield f"{_number(len(self.set_back), 'job')} not cancelled any more"


def _set_back(key: JobKey) -> str:
    return (
        f"{job_shown(key)} is not cancelled any more, so its deferred start and its contacts were "
        "left alone: find what has set its status back, and cancel it again"
    )


def _finished(result: CancelResult) -> str:
    job = f"batch job {shown(result.batch_job_id)}"
    match result.removal:
        case Removal.REMOVED:
            return f"{job}: its deferred start was removed"
        case Removal.ABSENT | Removal.NOT_APPLICABLE:
            return f"{job}: there was no deferred start left to remove"
        case Removal.PENDING:
            return f"{job}: its deferred start could not be removed yet"
        case _:
            assert_never(result.removal)


@attrs.frozen
class Inspected:
    """
    The findings of inspect.

    Arguments:
        drift: how far database and scheduler have drifted apart.
        calls_older_than: how long a call may be live.
    """

    drift: Drift
    calls_older_than: timedelta

    def json(self) -> str:
        """Return it as one JSON object."""
        drift = self.drift
        return json_line(
            {
                "drift": drift.is_found,
                "partial": drift.is_partial,
                "startsSeen": drift.starts_seen,
                "schedulerFault": drift.scheduler_fault,
                "removalsPending": [
                    {
                        **named(it.key),
                        "deferredId": it.deferred_id,
                        "operationId": it.operation_id,
                        "cancelledAt": it.cancelled_at.isoformat(),
                    }
                    for it in drift.removals_pending
                ],
                "sweepsPending": [
                    {
                        **named(it.key),
                        "operationId": it.operation_id,
                        "cancelledAt": it.cancelled_at.isoformat(),
                        "contactsCancelled": it.contacts_cancelled,
                    }
                    for it in drift.sweeps_pending
                ],
                "startsWaiting": [_start(it) for it in drift.starts_waiting],
                "startsMissing": [_start(it) for it in drift.starts_missing],
                "contactsOpen": [
                    {**named(it.key), "contacts": it.contacts_open} for it in drift.contacts_open
                ],
                "callsOverdue": None
                if drift.calls_overdue is None
                else [{**named(it.key), "contacts": it.contacts} for it in drift.calls_overdue],
            }
        )

    def text(self) -> str:
        """Return it in sentences."""
        sentences = list(self._sentences())
        if self.drift.starts_seen:
            agree = "no drift: database and scheduler agree"
            none = "no drift in what was read" if self.drift.is_partial else agree
            return _text(sentences or [none])
        if self.drift.scheduler_fault is not None:
            unseen = f"the scheduler did not answer ({self.drift.scheduler_fault})"
            return _text([*sentences, f"{unseen}: which deferred starts wait is not known"])
        rest = sentences or ["no drift in the database"]
        unseen = "this scheduler cannot report which deferred starts wait: they were not checked"
        return _text([*rest, unseen])

    def _sentences(self) -> Iterator[str]:
        for record in self.drift.removals_pending:
            yield (
                f"{job_shown(record.key)} was cancelled at {record.cancelled_at.isoformat()}, and "
                f"the removal of its deferred start {shown(record.deferred_id)} is still pending"
            )
        for record in self.drift.sweeps_pending:
            yield (
                f"{job_shown(record.key)} was cancelled at {record.cancelled_at.isoformat()}, and "
                f"{record.contacts_cancelled} of its contacts so far: the sweep of the others is "
                "still pending"
            )
        for start in self.drift.starts_waiting:
            yield (
                f"{job_shown(start.key)} is cancelled, but its deferred start "
                f"{shown(start.deferred_id)} still waits"
            )
        for start in self.drift.starts_missing:
            yield f"{job_shown(start.key)} is scheduled, but {_why_missing(start)}"
        for job in self.drift.contacts_open:
            yield f"{job_shown(job.key)} is cancelled, but {_contacts(job)} still open"
        for calls in self.drift.calls_overdue or ():
            yield (
                f"{job_shown(calls.key)} has calls that have been live for more than "
                f"{self.calls_older_than}: {calls.contacts}; if their workers are dead, end them "
                "with `batch-cancel expire-calls`"
            )


def _why_missing(start: DeferredStart) -> str:
    if start.deferred_id is None:
        return "names no deferred start: it will not be started"
    return (
        f"its deferred start {shown(start.deferred_id)} does not wait: it will not be started, "
        "unless a worker is just starting it"
    )


def _contacts(job: CancelledJob) -> str:
    return _number(job.contacts_open, "contact")


@attrs.frozen
class Expired:
    """
    The calls that were ended.

    Arguments:
        key: the job.
        calls: how many.
    """

    key: JobKey
    calls: int

    def json(self) -> str:
        """Return it as one JSON object."""
        return json_line({**named(self.key), "callsEnded": self.calls})

    def text(self) -> str:
        """Return it in sentences."""
        if not self.calls:
            return _text([f"{job_shown(self.key)} has no call that has been live for that long"])
        return _text([f"{job_shown(self.key)}: calls ended: {self.calls}"])


@attrs.frozen
class Checked:
    """
    What is missing, and what deserves review.

    Arguments:
        store: what the store misses.
        scheduler: what the scheduler misses.
        notes: what deserves review, or was not checked.
        fault: why the scheduler did not answer; None if it did, or cannot be asked.
    """

    store: Sequence[str]
    scheduler: Sequence[str]
    notes: Sequence[str] = ()
    fault: str | None = None

    @property
    def is_fit(self) -> bool:
        """Whether nothing is missing."""
        return not (self.store or self.scheduler or self.fault)

    def json(self) -> str:
        """Return it as one JSON object."""
        problems = {"store": list(self.store), "scheduler": list(self.scheduler)}
        return json_line(
            {
                "fit": self.is_fit,
                **problems,
                "notes": list(self.notes),
                "schedulerFault": self.fault,
            }
        )

    def text(self) -> str:
        """Return it in sentences."""
        # A file that is both store and scheduler reports the same twice.
        lines = list(dict.fromkeys((*self.store, *self.scheduler)))
        if self.fault is not None:
            lines.append(f"the scheduler did not answer ({self.fault})")
        lines = lines or ["store and scheduler are fit"]
        if self.notes:
            lines += ["Worth a look:", *(f"  {note}" for note in self.notes)]
        return _text(lines)


@attrs.frozen
class Doctored:
    """The findings of the doctor."""

    diagnosis: Diagnosis

    @property
    def is_fit(self) -> bool:
        """Whether all that a cancel needs is there."""
        return not self.diagnosis.problems

    def json(self) -> str:
        """Return it as one JSON object."""
        found = attrs.asdict(self.diagnosis)
        return json_line({"fit": self.is_fit, **found})

    def text(self) -> str:
        """Return it in sentences."""
        found = self.diagnosis
        headed = (
            ("Fits:", found.fits),
            ("Missing:", found.missing),
            ("Slow:", found.slow),
            ("Missing for workers only:", found.workers),
            ("Worth a look:", found.notes),
        )
        lines = [
            line
            for heading, sentences in headed
            if sentences
            for line in (heading, *(f"  {sentence}" for sentence in sentences))
        ]
        return _text(lines)


def _start(start: DeferredStart) -> dict[str, str | None]:
    return {**named(start.key), "deferredId": start.deferred_id}


def _number(number: int, noun: str) -> str:
    return f"{number} {noun} is" if number == 1 else f"{number} {noun}s are"


def _text(sentences: Sequence[str]) -> str:
    return "".join(f"{sentence}\n" for sentence in sentences)
