"""
The description of the endpoint: the OpenAPI document, and at which paths it is found.

Rule 1: the description is generated: statuses, messages, examples and limits come from the domain
        and from the refusals, so that it cannot drift from the endpoint.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from batch_cancel.domain.cancellation import CancelResult
from batch_cancel.domain.errors import AlreadyTerminal, CancelFailed, Fault, JobNotFound
from batch_cancel.domain.job import JobKey
from batch_cancel.domain.statuses import LIVE_JOBS, TERMINAL_JOBS, JobStatus, Removal
from batch_cancel.http.docs_page import Page, docs_page
from batch_cancel.http.request import (
    BODY_BYTES_MAX,
    OPERATION_ID_PATTERN,
    REASON_CHARACTERS_MAX,
    Refusal,
    Refused,
)
from batch_cancel.http.response import Response, present, present_error

DOCUMENT_PATH: Final = "/openapi.json"
PAGE_PATH: Final = "/docs"
JSON: Final = "application/json"
PATH: Final = "/batch/jobs/{batch_job_id}/cancel"

_KEY: Final = JobKey("batch_xyz789")

_Json = dict[str, Any]


def check_path(path: str, part: str, parameter: str) -> None:
    """
    Check that the path of a route has the parameter for the job's id.

    Arguments:
        path: the path, as the framework writes paths.
        part: what the parameter has in it, however it is converted.
        parameter: the parameter as the error names it.

    Raises:
        ValueError: it has none.
    """
    if part not in path:
        msg = f"path must have a parameter {parameter}, got {path!r}"
        raise ValueError(msg)


def page_at(
    path: str,
    method: str,
    base: str,
    retry_after: timedelta | None,
    *,
    ok_if_cancelled: bool = False,
) -> Page | None:
    """
    Return the page at a path; None if there is none.

    Arguments:
        path: below `base`.
        method: of the request.
        base: the decoded path at which the endpoint begins.
        retry_after: when errors worth a retry are to be retried; None if they are 500.
        ok_if_cancelled: whether a job that is cancelled already is a 200.

    Raises:
        Refused: there is a page, but not for this method.
    """
    if path not in {DOCUMENT_PATH, PAGE_PATH}:
        return None
    if method not in {"GET", "HEAD"}:
        raise Refused(Refusal.NO_METHOD, allow="GET, HEAD")
    if path == PAGE_PATH:
        return docs_page()
    # A mount may match any path and decodes it; "//host" would be another host.
    safe = quote(f"/{base.lstrip('/')}".rstrip("/"), errors="surrogateescape")
    document = openapi(safe, retry_after, ok_if_cancelled=ok_if_cancelled)
    return Page({"content-type": JSON}, json.dumps(document).encode())


def openapi(
    base: str = "", retry_after: timedelta | None = None, *, ok_if_cancelled: bool = False
) -> _Json:
    """Return the OpenAPI 3.1 document of the endpoint; the arguments are those of `page_at`."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Cancel batch jobs",
            "version": "1",
            "description": "Cancelling is permanent. Calls in progress complete normally; they "
            "are never hung up. Contacts that wait for a call or a retry become cancelled; every "
            "other contact stays as it is.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": base or "/"}],
        "security": [{"apiKey": []}],
        "paths": {PATH: {"post": _operation(retry_after, ok_if_cancelled=ok_if_cancelled)}},
        "components": {
            "securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Cancelled": _cancelled(ok_if_cancelled=ok_if_cancelled),
                "Error": _object({"detail": {"type": "string"}}, required=["detail"]),
                "Wish": _object(
                    {
                        "reason": {
                            "type": "string",
                            "minLength": 1,
                            "maxLength": REASON_CHARACTERS_MAX,
                            "pattern": r"^[^\u0000]*$",
                            "description": "Why, kept for the audit.",
                        }
                    },
                    required=[],
                ),
            },
        },
    }


def routed_operation(retry_after: timedelta | None, *, ok_if_cancelled: bool) -> _Json:
    """
    Return the operation for the document of a framework; the arguments are those of `page_at`.

    It contains the schema of the request; the schemas of the answers are the framework's models.
    """
    document = openapi("", retry_after, ok_if_cancelled=ok_if_cancelled)
    operation: _Json = document["paths"][PATH]["post"]
    for answer in operation["responses"].values():
        del answer["content"][JSON]["schema"]
    wish = document["components"]["schemas"]["Wish"]
    operation["requestBody"]["content"][JSON]["schema"] = {"title": "CancelReason", **wish}
    return {**operation, "description": document["info"]["description"]}


def _operation(retry_after: timedelta | None, *, ok_if_cancelled: bool) -> _Json:
    return {
        "operationId": "cancelBatchJob",
        "summary": "Cancel a batch job permanently",
        "parameters": [
            {
                "name": "batch_job_id",
                "in": "path",
                "required": True,
                "schema": {"type": "string"},
                "example": _KEY.batch_job_id,
                "description": "The job to cancel; percent-encoded where need be.",
            },
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "schema": {"type": "string", "pattern": f"^{OPERATION_ID_PATTERN}$"},
                "description": "The name of this cancellation: a retry with the same key gets the "
                "same answer. Only the key counts: a retry with another reason is the same "
                "cancellation, and the first reason is kept.",
            },
        ],
        "requestBody": {
            "required": False,
            "description": f"Optional; {BODY_BYTES_MAX} bytes at most.",
            "content": {
                JSON: {
                    "schema": {"$ref": "#/components/schemas/Wish"},
                    "example": {"reason": "the customer withdrew"},
                }
            },
        },
        "responses": _responses(retry_after, ok_if_cancelled=ok_if_cancelled),
    }


def _responses(retry_after: timedelta | None, *, ok_if_cancelled: bool) -> _Json:
    cancelled, refused = _ended(ok_if_cancelled=ok_if_cancelled)
    answers = {
        "200": _answer(
            "Cancelled permanently.", "Cancelled", _examples([*_results(), *cancelled])
        ),
        "400": _answer(
            "The job has already ended; nothing was changed.", "Error", _examples(refused)
        ),
    }
    for refusal in Refusal:
        answer = answers.setdefault(str(refusal.status), _answer(refusal.when, "Error", {}))
        answer["content"][JSON]["examples"][refusal.name.lower()] = {
            "value": refusal.response().body
        }
    answers["404"]["description"] = "The organization of the API key has no such job."
    answers["404"]["content"][JSON]["examples"]["job"] = {
        "value": present_error(JobNotFound(_KEY)).body
    }
    for status, header, meaning in (
        ("401", "WWW-Authenticate", "The kind of key that is needed."),
        ("405", "Allow", "The methods that this path has."),
    ):
        answers[status]["headers"] = _header(header, meaning)
    failures = {str(_failure(fault, retry_after).status): fault for fault in Fault}
    for status, fault in failures.items():
        answers[status] = _answer(
            "The job was cancelled, or nothing was changed. Retry with the same Idempotency-Key.",
            "Error",
            _examples([("failed", _failure(fault, retry_after))]),
        )
        if "retry-after" in _failure(fault, retry_after).headers:
            answers[status]["headers"] = _header("Retry-After", "When to retry, in seconds.")
    return dict(sorted(answers.items()))


def _ended(
    *, ok_if_cancelled: bool
) -> tuple[list[tuple[str, Response]], list[tuple[str, Response]]]:
    """Return the answers for jobs that have ended: those that are a 200, and the others."""
    answers = [
        (str(it), present_error(AlreadyTerminal(_KEY, it), ok_if_cancelled=ok_if_cancelled))
        for it in TERMINAL_JOBS
    ]
    return (
        [(name, response) for name, response in answers if response.status == HTTPStatus.OK],
        [(name, response) for name, response in answers if response.status != HTTPStatus.OK],
    )


def _results() -> Iterable[tuple[str, Response]]:
    now = datetime(1970, 1, 1, tzinfo=UTC)  # The time is not part of the answer.
    for status in LIVE_JOBS:
        is_scheduled = status is JobStatus.SCHEDULED
        removal = Removal.REMOVED if is_scheduled else Removal.NOT_APPLICABLE
        contacts = 100 if is_scheduled else 58
        result = CancelResult(
            _KEY.batch_job_id, status, contacts, removal, "", now, replayed=False
        )
        yield status, present(result)


def _failure(fault: Fault, retry_after: timedelta | None) -> Response:
    return present_error(CancelFailed(_KEY, "", "unchanged", fault), retry_after)


def _cancelled(*, ok_if_cancelled: bool) -> _Json:
    cancelled, _ = _ended(ok_if_cancelled=ok_if_cancelled)
    bodies = [response.body for _, response in (*_results(), *cancelled)]
    properties: _Json = {name: {"type": _type(value)} for name, value in bodies[0].items()}
    properties["message"]["enum"] = [body["message"] for body in bodies]
    properties["contactsCancelled"]["minimum"] = 0
    properties["redisJobCancelled"]["description"] = (
        "Whether this cancellation itself removed the deferred start of a scheduled job, "
        "confirmed."
    )
    return _object(properties, required=list(properties))


def _type(value: object) -> str:
    match value:
        case bool():  # A bool is an int, too.
            return "boolean"
        case int():
            return "integer"
        case _:
            return "string"


def _object(properties: _Json, *, required: list[str]) -> _Json:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _header(name: str, description: str) -> _Json:
    return {name: {"description": description, "required": True, "schema": {"type": "string"}}}


def _examples(answers: Iterable[tuple[str, Response]]) -> _Json:
    return {str(name): {"value": response.body} for name, response in answers}


def _answer(description: str, schema: str, examples: _Json) -> _Json:
    reference = {"$ref": f"#/components/schemas/{schema}"}
    content = {JSON: {"schema": reference, "examples": examples}}
    return {"description": description, "content": content}
