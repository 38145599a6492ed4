"""
A telephone that only pretends to call. Put your provider's in its place.

What your provider raises is an outcome, too, such as `ContactStatus.CARRIER_ERROR`: an exception
would end the worker, and its contact would be dialing until it is older than the longest call.
"""

from __future__ import annotations

import random
import time
from typing import Final

import psycopg

from batch_cancel import ContactStatus

_OUTCOMES: Final = (
    *[ContactStatus.COMPLETED] * 5,
    *[ContactStatus.NO_ANSWER] * 3,
    ContactStatus.BUSY,
    ContactStatus.INVALID_NUMBER,
)


def dial(rows: psycopg.Connection, phone: object) -> ContactStatus:
    """Call a number, wait for the end of the call, and return how it ended."""
    rows.execute("INSERT INTO calls (phone) VALUES (%s)", [phone])
    time.sleep(random.uniform(0, 0.05))  # noqa: S311  # No secret.
    return random.choice(_OUTCOMES)  # noqa: S311
