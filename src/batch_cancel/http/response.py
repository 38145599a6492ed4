"""
The contract's answers, as values: status, headers, body. No framework, no I/O.

A body has the contract's fields, these names, these types and this order, and no others.
Unexpected exceptions get the same body as every other failure; their text never reaches the
client.
"""

from __future__ import annotations

import json
import math
from datetime import timedelta
from typing import Final, cast

import attrs

from batch_cancel.domain.cancellation import Cancellation, CancelResult, conclude
from batch_cancel.domain.errors import (
    FAILED_DETAIL,
    AlreadyTerminal,
    BatchCancelError,
    CancelFailed,
    Fault,
)
from batch_cancel.domain.job import JobKey
from batch_cancel.domain.statuses import JobStatus

ALREADY_CANCELLED: Final = "Job was already cancelled"
"""The message of a 200 that changed nothing."""


@attrs.frozen
class Response:
    """
    An HTTP answer, ready for any framework.

    Arguments:
        status: the HTTP status.
        headers: the headers, names in lower case.
        body: the content of the JSON body.
    """

    status: int
    headers: dict[str, str]
    body: dict[str, object]

    @property
    def content(self) -> bytes:
        """The body's bytes: one JSON object."""
        return json.dumps(self.body).encode()


def present(result: CancelResult | Cancellation) -> Response:
    """
    Return the 200 for a cancel that succeeded, a replayed one included.

    Arguments:
        result: what the cancel returned. Before your own commit there is only the `Cancellation`
            of `cancel_rows`; its answer says `redisJobCancelled: false`, unless an earlier request
            of the same operation has removed the deferred start.
    """
    if isinstance(result, Cancellation):
        result = conclude(result, result.record.removal)
    return _succeeded(
        result.batch_job_id,
        result.message,
        contacts_cancelled=result.contacts_cancelled,
        removed=result.redis_job_cancelled,
    )


def present_error(
    error: BaseException,
    retry_after: timedelta | None = None,
    *,
    ok_if_cancelled: bool = False,
) -> Response:
    """
    Return the 400, 404 or 500 for a cancel that was not carried out.

    Arguments:
        error: the error that was raised.
        retry_after: if given, an error worth a retry is 429 from a busy store, otherwise 503, both
            with this Retry-After. None: the contract's 500 for these errors, too.
        ok_if_cancelled: if true, the answer for a job that another operation has cancelled before
            is a 200 that changes nothing, for an API whose contract demands it. The contract's
            own answer is 400.
    """
    if ok_if_cancelled and (job_id := _cancelled_before(error)) is not None:
        return _succeeded(job_id, ALREADY_CANCELLED, contacts_cancelled=0, removed=False)
    if not isinstance(error, BatchCancelError):
        return _response(500, {"detail": FAILED_DETAIL})
    body: dict[str, object] = {"detail": error.detail}
    if retry_after is None or not error.retryable:
        return _response(error.http_status, body)
    is_busy = isinstance(error, CancelFailed) and error.fault is Fault.BUSY
    response = _response(429 if is_busy else 503, body)
    response.headers["retry-after"] = str(math.ceil(retry_after.total_seconds()))
    return response


def _cancelled_before(error: BaseException) -> str | None:
    """Return the id of the job if the error says that it is cancelled already."""
    if not isinstance(error, AlreadyTerminal) or error.status != JobStatus.CANCELLED:
        return None
    key = cast("object", error.key)  # A text, if the error was restored from its texts.
    return key.batch_job_id if isinstance(key, JobKey) else None


def _succeeded(
    batch_job_id: str, message: str, *, contacts_cancelled: int, removed: bool
) -> Response:
    return _response(
        200,
        {
            "success": True,
            "message": message,
            "batchJobId": batch_job_id,
            "redisJobCancelled": removed,
            "contactsCancelled": contacts_cancelled,
        },
    )


def _response(status: int, body: dict[str, object]) -> Response:
    return Response(status, {"content-type": "application/json"}, body)
