"""Answers of the endpoint, and how the tests ask."""

from __future__ import annotations

from tests.http.requests import JSON, KEY_A, Asked

NOT_FOUND = b'{"detail": "Batch job not found"}'
FAILED = b'{"detail": "Failed to cancel batch job"}'
CANCELLED = (
    b'{"success": true, "message": "Job was already running - cancelled remaining contacts", '
    b'"batchJobId": "batch_xyz789", "redisJobCancelled": false, "contactsCancelled": 2}'
)


def named(value: object) -> str:
    """Return the id of a test: one with a backslash, nobody can ask for by its id."""
    return ascii(value)[:40].replace("\\", "%")


def with_body(body: bytes, *more: tuple[str, str]) -> Asked:
    """Return a request with this JSON body."""
    return Asked(headers=[KEY_A, JSON, *more], chunks=[body])
