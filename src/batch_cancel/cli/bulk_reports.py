"""The reports of `cancel-many`, in sentences or as JSON lines; no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from batch_cancel import BulkResult, JobNotFound, Preview
from batch_cancel.cli.job_reports import json_line
from batch_cancel.domain.errors import shown


@attrs.frozen
class Bulk:
    """What became of many jobs, or what has become of them so far."""

    result: BulkResult

    def json(self, *, is_final: bool) -> str:
        """Return it as one JSON object; the final one has each failure."""
        it = self.result
        failures = [
            {"batchJobId": failure.key.batch_job_id, "error": str(failure)}
            for failure in it.failures
        ]
        return json_line(
            {
                "operationId": it.operation_id,
                "jobs": it.jobs,
                "left": it.left,
                "cancelled": it.cancelled,
                "replayed": it.replayed,
                "refused": {status.value: number for status, number in it.refused.items()},
                "notFound": it.not_found,
                "failed": it.failed,
                "contactsCancelled": it.contacts_cancelled,
                "removals": {removal.value: number for removal, number in it.removals.items()},
                **({"failures": failures} if is_final else {}),
            }
        )

    def text(self) -> str:
        """Return it in sentences."""
        return "".join(f"{sentence}\n" for sentence in self._sentences())

    def _sentences(self) -> Iterator[str]:
        it = self.result
        yield (
            f"operation {shown(it.operation_id)}: {it.cancelled} of {it.jobs} jobs cancelled; "
            f"contacts cancelled: {it.contacts_cancelled}"
        )
        if it.replayed:
            yield f"cancelled before by this operation: {it.replayed}"
        for status, number in it.refused.items():
            yield f"refused, because they are {status} already: {number}"
        if it.not_found:
            yield f"not found in this organization: {it.not_found}"
        if it.failed:
            yield f"failed: {it.failed}"
        if it.left:
            yield f"not tried: {it.left}"

    def advice(self, fault: str | None) -> Iterator[str]:
        """Yield what is to be done, in sentences; `fault` is why the scheduler did not answer."""
        it = self.result
        for failure in it.failures:
            yield str(failure)
        if it.removals_pending:
            yield (
                f"{it.removals_pending} deferred starts were not confirmed to be removed "
                f"({fault}): once the scheduler answers, run `batch-cancel reconcile`"
            )
        again = f"by the same command and --operation-id {it.operation_id}"
        if it.left:
            yield f"go on with the rest {again}"
        elif it.failed:
            yield f"fix the cause, and try those that failed again {again}"


@attrs.frozen
class Dry:
    """
    What cancelling many jobs would do.

    Arguments:
        jobs: how many jobs there are.
        looked_at: what a cancel of each of the first of them would do.
    """

    jobs: int
    looked_at: Sequence[Preview | JobNotFound]

    @property
    def _is_partial(self) -> bool:
        return self.jobs > len(self.looked_at)

    @property
    def _previews(self) -> list[Preview]:
        return [it for it in self.looked_at if isinstance(it, Preview)]

    @property
    def _jobs_to_cancel(self) -> int:
        return sum(it.would_cancel for it in self._previews)

    @property
    def _contacts_to_cancel(self) -> int:
        return sum(it.contacts_to_cancel for it in self._previews)

    @property
    def _starts_to_remove(self) -> int:
        return sum(it.removes_start for it in self._previews)

    @property
    def _refused(self) -> int:
        return sum(it.refusal is not None for it in self._previews)

    @property
    def not_found(self) -> int:
        """How many of those looked at this organization does not have."""
        return len(self.looked_at) - len(self._previews)

    def json(self) -> str:
        """Return it as one JSON object."""
        return json_line(
            {
                "dryRun": True,
                "jobs": self.jobs,
                "lookedAt": len(self.looked_at),
                "exact": not self._is_partial,
                "jobsToCancel": self._jobs_to_cancel,
                "contactsToCancel": self._contacts_to_cancel,
                "startsToRemove": self._starts_to_remove,
                "refused": self._refused,
                "notFound": self.not_found,
            }
        )

    def text(self) -> str:
        """Return it in sentences."""
        at_least = "at least " if self._is_partial else ""
        lines = [
            f"jobs: {self.jobs}; nothing was changed",
            f"jobs that would be cancelled: {at_least}{self._jobs_to_cancel}",
            f"contacts that would be cancelled: {at_least}{self._contacts_to_cancel}",
            f"deferred starts that would be removed: {at_least}{self._starts_to_remove}",
        ]
        if refused := self._refused:
            lines.append(f"jobs that would be refused: {at_least}{refused}")
        if not_found := self.not_found:
            lines.append(f"not found in this organization: {at_least}{not_found}")
        if self._is_partial:
            lines.append(f"only {len(self.looked_at)} of the jobs were looked at")
        return "".join(f"{line}\n" for line in lines)
