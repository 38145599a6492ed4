"""One contact in each status, and what a cancel makes of it."""

from __future__ import annotations

CONTACTS = {
    "not yet called": "pending",
    "waiting for retry": "queued",
    "will be retried, 1": "no_answer",
    "will be retried, 2": "busy",
    "will be retried, 3": "timeout",
    "on the phone": "dialing",
    "done": "completed",
    "failed": "failed",
    "blocked": "blocked",
    "no such number": "invalid_number",
    "carrier": "carrier_error",
    "cancelled before": "cancelled",
    "from the future": "voicemail",
    "misspelt": "Pending",
    "nothing": None,
}
"""One contact in each of the twelve statuses, and three that the library does not know."""

CONTACTS_CANCELLED = CONTACTS | {
    "not yet called": "cancelled",
    "waiting for retry": "cancelled",
    "will be retried, 1": "cancelled",
    "will be retried, 2": "cancelled",
    "will be retried, 3": "cancelled",
}
