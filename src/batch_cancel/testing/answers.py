"""What a cancel answered, and what changed in the store: checked, and put into words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import attrs

from batch_cancel.domain.cancellation import CancelResult
from batch_cancel.domain.errors import BatchCancelError, CancelFailed, shown
from batch_cancel.domain.job import JobKey
from batch_cancel.testing.adapter import (
    JobRow,
)
from batch_cancel.testing.invariants import PromiseBroken

Answer = CancelResult | BatchCancelError
"""What a cancel came to: its result, or the error that it raised."""


def said(answer: object) -> str:
    """Return the answer of a cancel in a line."""
    if isinstance(answer, CancelResult):
        replayed = ", replayed" if answer.replayed else ""
        count = f"contacts cancelled: {answer.contacts_cancelled}"
        return f"200, {count}, removal {answer.removal}{replayed}"
    if isinstance(answer, BatchCancelError):
        cause = answer.__cause__
        why = f" ({type(cause).__name__}: {cause})" if isinstance(answer, CancelFailed) else ""
        return f"{answer.http_status} {answer.code}: {answer}{why}"
    return repr(answer)


def succeeded(answer: object) -> CancelResult:
    """Return the result of a cancel that had to succeed."""
    if isinstance(answer, CancelResult):
        return answer
    msg = f"the cancel had to succeed, but gave {said(answer)}"
    raise PromiseBroken(msg)


def refused(answer: object, code: str) -> BatchCancelError:
    """Return the error of a cancel that had to be refused."""
    if isinstance(answer, BatchCancelError) and answer.code == code:
        return answer
    msg = f"the cancel had to be refused as {code}, but gave {said(answer)}"
    raise PromiseBroken(msg)


def given_up(answer: object) -> None:
    """Check that a cancel failed for a reason that passes, and that nothing was changed."""
    error = cast("CancelFailed", refused(answer, "cancel_failed"))
    if error.outcome != "unchanged" or not error.retryable:
        msg = (
            "the cancel had to fail with the outcome 'unchanged' and a fault that passes, but "
            f"gave the outcome {error.outcome!r} and the fault {error.fault.value!r}: "
            f"{said(error)}"
        )
        raise PromiseBroken(msg)


def changed(before: Mapping[JobKey, JobRow], after: Mapping[JobKey, JobRow]) -> list[str]:
    """Name what is no longer as it was."""
    lines: list[str] = []
    for key in [*before, *(key for key in after if key not in before)]:
        was, now = before.get(key), after.get(key)
        if was is None or now is None or was == now:
            if was != now:
                lines.append(f"job {key}: {was!r} became {now!r}")
            continue
        if (was.status, was.deferred_id, was.rest) != (now.status, now.deferred_id, now.rest):
            old, new = (attrs.evolve(it, contacts={}) for it in (was, now))
            lines.append(f"job {shown(key.batch_job_id)}: {old!r} became {new!r}")
        lines += [
            f"contact {contact_id!r} of job {shown(key.batch_job_id)}: "
            f"{was.contacts.get(contact_id)!r} became {now.contacts.get(contact_id)!r}"
            for contact_id in sorted({*was.contacts, *now.contacts})
            if was.contacts.get(contact_id) != now.contacts.get(contact_id)
        ]
    return lines


def unchanged(before: Mapping[JobKey, JobRow], after: Mapping[JobKey, JobRow]) -> None:
    """Check that nothing has changed."""
    if lines := changed(before, after):
        msg = "\n".join(["nothing may change, but:", *lines])
        raise PromiseBroken(msg)
