"""The reports of the commands on records, in sentences or as one JSON object; no I/O."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

import attrs

from batch_cancel import CancellationPage, CancellationRecord
from batch_cancel.cli.job_reports import job_shown, json_line, named
from batch_cancel.domain.errors import shown

_UNSWEPT: Final = "its other contacts are still to be cancelled"


@attrs.frozen
class Shown:
    """The record of a job's cancellation."""

    record: CancellationRecord

    def json(self) -> str:
        """Return it as one JSON object."""
        return json_line({**_body(self.record), "undone": self.record.is_undone})

    def text(self) -> str:
        """Return it in sentences."""
        return "".join(f"{sentence}\n" for sentence in self._sentences())

    def _sentences(self) -> Iterator[str]:
        it = self.record
        yield f"{_cancelled(it)}; operation {shown(it.operation_id)}"
        if it.reason is not None:
            yield f"reason: {shown(it.reason)}"
        if it.deferred_id is not None:
            yield f"deferred start {shown(it.deferred_id)}: {it.removal}"
        if not it.is_swept:
            yield _UNSWEPT
        if not it.is_announced:
            yield "its on_cancelled hook is still pending"
        if it.is_undone:
            yield "the job was set back since: it is not cancelled now"


@attrs.frozen
class Listed:
    """A page of the history."""

    page: CancellationPage

    def json(self) -> str:
        """Return it as one JSON object."""
        records = [_body(record) for record in self.page.records]
        return json_line({"cancellations": records, "next": self.page.next})

    def text(self) -> str:
        """Return one line for each record."""
        lines = [
            _cancelled(it) if it.is_swept else f"{_cancelled(it)}; {_UNSWEPT}"
            for it in self.page.records
        ] or ["no cancellation"]
        return "".join(f"{line}\n" for line in lines)


@attrs.frozen
class Forgotten:
    """
    How many records were forgotten.

    Arguments:
        records: how many.
        retry_window: younger records are kept, whatever was asked.
    """

    records: int
    retry_window: timedelta

    def json(self) -> str:
        """Return it as one JSON object."""
        return json_line({"forgotten": self.records})

    def text(self) -> str:
        """Return it in a sentence."""
        window = str(self.retry_window).removesuffix(", 0:00:00")
        younger = f" and those younger than {window}" if self.retry_window else ""
        return (
            f"records forgotten: {self.records}; kept are those with something pending{younger}\n"
        )


def _cancelled(record: CancellationRecord) -> str:
    by = "" if record.actor is None else f" by {shown(record.actor)}"
    return (
        f"{record.cancelled_at.isoformat()}: {job_shown(record.key)} was cancelled{by} from "
        f"{record.previous_status}; contacts cancelled: {record.contacts_cancelled}"
    )


def _body(record: CancellationRecord) -> dict[str, object]:
    return {
        **named(record.key),
        "operationId": record.operation_id,
        "cancelledAt": record.cancelled_at.isoformat(),
        "previousStatus": record.previous_status.value,
        "contactsCancelled": record.contacts_cancelled,
        "actor": record.actor,
        "reason": record.reason,
        "deferredId": record.deferred_id,
        "removal": record.removal.value,
        "announced": record.is_announced,
        "swept": record.is_swept,
    }
