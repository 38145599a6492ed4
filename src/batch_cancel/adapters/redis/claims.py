"""
One claim of the native store: as many answers as its limit and its budget allow.

Rule 1: an answer is small enough to arrive within the budget; if it is lost, its starts are leased
        without an owner. So a claim asks several times, and returns what it has if an answer fails
        to come.
Rule 2: after the budget has ended no shard is asked again, and only a claim without a start goes
        on to the next shard. Once the first lease may have ended no shard is asked again either:
        it would hand out the same starts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Final
from uuid import uuid4

from batch_cancel.adapters.redis.encoding import decoded, encoded, number, span
from batch_cancel.domain.deferred_start import Claimed, check_lease

_STARTS_MAX: Final = 1_000
"""The most starts in one answer: the server is blocked while it makes one."""

_BYTES_MAX: Final = 256 * 1024
"""The most bytes in one answer of several starts; a slow network delivers them in time."""

_Keys = Sequence[bytes]
"""The keys of a shard."""


class Claim:
    """
    The limits of one claim, and the starts that it has so far.

    Arguments:
        limit: how many starts to claim at most.
        lease: how long each start is leased.
        budget: how long to keep asking.

    Raises:
        ValueError: the lease is not valid.
    """

    def __init__(self, limit: int, lease: timedelta, budget: timedelta) -> None:
        check_lease(lease)
        self._room = limit
        self._lease = lease
        # A question may be repeated within the budget, and reach the server later.
        self._patience = span(2 * budget)
        began = time.monotonic()
        self._budget_ends_at = began + budget.total_seconds()
        self._lease_ends_at = began + lease.total_seconds()
        self._may_be_more = True
        self._token = ""
        self._first: list[Claimed] = []
        self._last: list[Claimed] = []

    @property
    def starts(self) -> list[Claimed]:
        """The starts, in the order in which they are to be delivered."""
        return self._first + self._last

    def questions(self, shards: Sequence[_Keys]) -> Iterator[_Keys]:
        """Yield the next shard to ask, up to the limit and the budget; add each answer."""
        for keys in shards:
            if self.starts and time.monotonic() >= self._budget_ends_at:
                return
            self._may_be_more = True
            while self._may_be_more and self._room > 0:
                yield keys
                if time.monotonic() >= min(self._budget_ends_at, self._lease_ends_at):
                    break

    def arguments(self) -> Sequence[bytes]:
        """Return the arguments of the script for the next question."""
        self._token = uuid4().hex
        limit = min(self._room, _STARTS_MAX)
        lease, most = span(self._lease), number(_BYTES_MAX)
        return encoded(self._token), number(limit), lease, self._patience, most

    def add(self, answer: tuple[int, list[bytes], list[bytes]]) -> None:
        """Add the starts in the last answer."""
        may_be_more, *parts = answer
        self._may_be_more = bool(may_be_more)
        for starts, part in zip((self._first, self._last), parts, strict=True):
            for deferred_id, payload in zip(part[::2], part[1::2], strict=True):
                starts.append(Claimed(decoded(deferred_id), payload, self._token))
                self._room -= 1
