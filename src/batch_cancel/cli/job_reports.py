"""The reports of the commands on one job, in sentences or as one JSON object; no I/O."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import attrs

from batch_cancel import ContactStatus, JobKey, Preview, Progress
from batch_cancel.domain.errors import shown


@attrs.frozen
class Previewed:
    """What a cancel would do."""

    preview: Preview

    def json(self) -> str:
        """Return it as one JSON object."""
        it = self.preview
        return json_line(
            {
                **named(JobKey(it.batch_job_id, it.organization_id)),
                "status": it.status,
                "wouldCancel": it.would_cancel,
                "replay": it.is_replay,
                "refusal": None if it.refusal is None else it.refusal.code,
                "removesStart": it.removes_start,
                "contactsToCancel": it.contacts_to_cancel,
                "liveCalls": it.live_calls,
                "contacts": {status.value: number for status, number in it.contacts.items()},
                "contactsUnknown": it.contacts_unknown,
            }
        )

    def text(self) -> str:
        """Return it in sentences."""
        return "".join(f"{sentence}\n" for sentence in self._sentences())

    def _sentences(self) -> Iterator[str]:
        it = self.preview
        yield self._decision()
        if it.removes_start:
            yield "the scheduler would be asked to remove its deferred start"
        if it.would_cancel and it.live_calls:
            yield f"calls in progress, which would end normally: {it.live_calls}"
        yield f"contacts: {_numbers(it.contacts, it.contacts_unknown)}"

    def _decision(self) -> str:
        it = self.preview
        job = job_shown(JobKey(it.batch_job_id, it.organization_id))
        if it.refusal is not None:
            return f"a cancel would be refused: {it.refusal}"
        if it.is_replay:
            return f"{job} was cancelled by this operation: its answer would be returned again"
        return (
            f"{job} is {it.status}: a cancel would succeed; contacts that it would cancel: "
            f"{it.contacts_to_cancel}"
        )


@attrs.frozen
class Progressed:
    """The progress of a job."""

    progress: Progress

    def json(self) -> str:
        """Return it as one JSON object."""
        it = self.progress
        return json_line(
            {
                **named(JobKey(it.batch_job_id, it.organization_id)),
                "status": it.status,
                "drained": it.is_drained,
                "contactsOpen": it.contacts_open,
                "contactsLive": it.contacts_live,
                "contactsEnded": it.contacts_ended,
                "contactsUnknown": it.contacts_unknown,
            }
        )

    def text(self) -> str:
        """Return it in one sentence."""
        it = self.progress
        job = job_shown(JobKey(it.batch_job_id, it.organization_id))
        numbers = (
            f"contacts open: {it.contacts_open}, live: {it.contacts_live}, "
            f"ended: {it.contacts_ended}"
        )
        if it.contacts_unknown:
            numbers += f", in an unknown status: {it.contacts_unknown}"
        status = it.status if it.status is not None else "of no status"
        return f"{job} is {status}{' and drained' if it.is_drained else ''}; {numbers}\n"


def _numbers(contacts: Mapping[ContactStatus, int], unknown: int) -> str:
    some = [f"{number} {status.value}" for status, number in contacts.items() if number]
    if unknown:
        some.append(f"{unknown} in an unknown status")
    return ", ".join(some) or "none"


def job_shown(key: JobKey) -> str:
    """Return the job's ids for a sentence."""
    job = f"batch job {shown(key.batch_job_id)}"
    if key.organization_id is None:
        return job
    return f"{job} of organization {shown(key.organization_id)}"


def named(key: JobKey) -> dict[str, str | None]:
    """Return the job's ids for JSON."""
    return {"batchJobId": key.batch_job_id, "organizationId": key.organization_id}


def json_line(body: object) -> str:
    """Return one JSON object on a line."""
    return f"{json.dumps(body)}\n"
