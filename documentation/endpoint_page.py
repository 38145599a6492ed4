"""The endpoint for those who call it, for docs/endpoint.md, from its own OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from http import HTTPStatus
from textwrap import fill
from typing import Final

from batch_cancel.domain.errors import (
    AlreadyTerminal,
    CancelFailed,
    Fault,
    JobNotFound,
    UnknownJobStatus,
)
from batch_cancel.domain.job import JobKey
from batch_cancel.domain.statuses import TERMINAL_JOBS
from batch_cancel.http.openapi import JSON, PATH, openapi
from batch_cancel.http.request import REASON_CHARACTERS_MAX, Refusal
from batch_cancel.http.response import Response, present_error
from documentation.sections import filled

HOST: Final = "https://api.example.com"
KEY: Final = JobKey("batch_xyz789")

HEADERS: Final = {"retry-after": "Retry-After", "www-authenticate": "WWW-Authenticate"}

FIELDS: Final[Mapping[str, str]] = {
    "success": "Always true.",
    "message": "What the job was doing, in the exact words below.",
    "batchJobId": "The job.",
    "redisJobCancelled": "Whether this cancellation itself removed the deferred start of a "
    "scheduled job, confirmed. False does not mean that the job will start: it is cancelled.",
    "contactsCancelled": "How many contacts this cancellation changed.",
}

DO: Final[Mapping[Refusal, str]] = {
    Refusal.NO_KEY: "Send `Authorization: Bearer` and your key.",
    Refusal.NO_RIGHT: "Use the key of a role that may cancel.",
    Refusal.NO_PAGE: "Correct the path. An id with a slash or a blank is percent-encoded.",
    Refusal.NO_METHOD: "Use the method that `Allow` names: POST.",
    Refusal.TOO_SLOW: "Send the request again. Nothing was changed.",
    Refusal.NO_LENGTH: "Send `Content-Length`, or no body at all.",
    Refusal.TOO_LARGE: "Shorten the reason.",
    Refusal.NO_JSON: "Send `Content-Type: application/json`, without a `Content-Encoding`.",
    Refusal.BAD_BODY: 'Send `{"reason": "..."}` and no other field, or no body.',
    Refusal.BROKEN_BODY: "Send the request again. Nothing was changed.",
    Refusal.BAD_OPERATION_ID: "Use a UUID, for example, and send the header once.",
}


def endpoint_page() -> str:
    """Return the page with what the document says."""
    return filled("endpoint.md", {"endpoint": "\n".join([*_request(), *_answer(), *_errors()])})


def _request() -> Iterator[str]:
    operation = openapi()["paths"][PATH]["post"]
    yield "## Request\n"
    asked = PATH.replace("{batch_job_id}", KEY.batch_job_id)
    example = operation["requestBody"]["content"][JSON]["example"]
    yield _block(
        "text",
        f"curl -X POST \\\n  {HOST}{asked} \\\n"
        "  -H 'Authorization: Bearer YOUR_API_KEY' \\\n"
        "  -H 'Idempotency-Key: 5d0f1c1e' \\\n"
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d '{json.dumps(example)}'",
    )
    yield "| parameter | | |\n| --- | --- | --- |"
    yield "| `Authorization` | header, required | `Bearer` and your API key |"
    for it in operation["parameters"]:
        need = "required" if it["required"] else "optional"
        yield f"| `{it['name']}` | {it['in']}, {need} | {it['description']} |"
    limit = f"{REASON_CHARACTERS_MAX:,} characters at most"
    yield f"| `reason` | body, optional | Why, kept for the audit; {limit}. |"
    yield ""


def _answer() -> Iterator[str]:
    answer = openapi()["paths"][PATH]["post"]["responses"]["200"]
    yield "## Answer\n"
    yield f"The status is 200. {answer['description']}"
    yield "The same `Idempotency-Key` gets the same answer again.\n"
    examples = answer["content"][JSON]["examples"]
    for example in examples.values():
        assert example["value"].keys() == FIELDS.keys()  # Or a field is missing.
    yield _block("json", json.dumps(next(iter(examples.values()))["value"], indent=2))
    yield "| field | |\n| --- | --- |"
    yield from (f"| `{name}` | {about} |" for name, about in FIELDS.items())
    yield ""
    yield "| the job was | `message` |\n| --- | --- |"
    yield from (f"| `{it}` | `{examples[it]['value']['message']}` |" for it in examples)
    yield ""


def _errors() -> Iterator[str]:
    yield "## Errors\n"
    yield 'The body of each is `{"detail": "..."}`, and nothing was changed unless it says so.\n'
    yield from _error(
        AlreadyTerminal.code,
        [present_error(AlreadyTerminal(KEY, it)) for it in TERMINAL_JOBS],
        "The job has already ended. If another operation has cancelled it, nothing more is to be "
        "done: it stays cancelled. A service may answer 200 instead, with the message `Job was "
        "already cancelled`.",
    )
    yield from _error(
        JobNotFound.code,
        [present_error(JobNotFound(KEY))],
        "The organization of the API key has no such job. Another organization's job gives the "
        "same answer.",
    )
    for refusal, advice in DO.items():
        yield from _error(refusal.name.lower(), [refusal.response()], f"{refusal.when} {advice}")
    failed = CancelFailed(KEY, "", "unchanged", Fault.LATE)
    yield from _error(
        CancelFailed.code,
        [present_error(failed), present_error(UnknownJobStatus(KEY, None))],
        "The job was cancelled, or nothing was changed. Of a very large job that was cancelled, "
        "contacts may still be open, which no worker dials. Send the request again with the same "
        "`Idempotency-Key`. If that fails as well, the service has to remove the cause, which is "
        "in its log.",
    )
    for fault, name, about in (
        (Fault.BUSY, "busy", "The service is busy."),
        (
            Fault.LATE,
            "unavailable",
            "The service took too long, or has lost its database.",
        ),
    ):
        response = present_error(CancelFailed(KEY, "", "unchanged", fault), timedelta(seconds=5))
        yield from _error(
            name,
            [response],
            f"{about} Wait as many seconds as `Retry-After` says, and send the request again with "
            f"the same `Idempotency-Key`. A service that does not send {response.status} "
            "answers [cancel_failed](#cancel_failed).",
        )


def _error(name: str, responses: list[Response], about: str) -> Iterator[str]:
    statuses = {it.status for it in responses}
    assert len(statuses) == 1  # Or it is another error.
    [status] = statuses
    yield f"### {name}\n"
    yield fill(f"**{status} {HTTPStatus(status).phrase}.** {about}", 99) + "\n"
    bodies = dict.fromkeys(json.dumps(it.body) for it in responses)
    headers = [
        f"{HEADERS[header]}: {value}"
        for header, value in responses[0].headers.items()
        if header != "content-type"
    ]
    yield _block("text", "\n".join([*headers, *bodies]))


def _block(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```\n"
