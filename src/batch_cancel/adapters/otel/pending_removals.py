"""
The pending removals of one or more stores, as two gauges.

Rule 1: a collection of metrics never fails because of a store: without an answer, no value.
Rule 2: the gauges have no labels, so several stores are one sum and one age. If one of them does
        not answer, there is no value: the sum of the others would look like a recovery.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

import attrs
from opentelemetry.metrics import CallbackOptions, Observation

from batch_cancel.domain.defaults import CALL_AGE_SUSPECT
from batch_cancel.domain.job import CancellationRecord
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS
from batch_cancel.ports import UnitOfWork
from batch_cancel.use_cases.kinds import opened

_SAME_READ_SECONDS: Final = 1.0
"""How long a read serves: the gauges of one collection are asked one after the other."""


@attrs.define
class WatchedStore:
    """
    The pending removals of a store, read once for both gauges.

    Arguments:
        uow: the store.
        limit: how many are counted at most.
    """

    uow: UnitOfWork
    limit: int
    _read_at: float = attrs.field(default=-math.inf, init=False)
    _seen: tuple[CancellationRecord, ...] | None = attrs.field(default=None, init=False)

    def look(self) -> tuple[CancellationRecord, ...] | None:
        """Return the records; None if the store does not answer, or offers no inspection."""
        if time.monotonic() - self._read_at > _SAME_READ_SECONDS:
            self._seen = None
            with suppress(Exception), opened(self.uow) as repositories:  # Rule 1.
                if repositories.inspection is not None:
                    self._seen = repositories.inspection.look(
                        self.limit, CANCELLABLE_CONTACTS, CALL_AGE_SUSPECT
                    ).removals_pending
            self._read_at = time.monotonic()
        return self._seen


@attrs.define
class PendingRemovals:
    """The pending removals of all stores that are watched."""

    _stores: dict[int, WatchedStore] = attrs.field(factory=dict[int, WatchedStore], init=False)

    def watch(self, uow: UnitOfWork, limit: int) -> bool:
        """Watch a store, too; return whether it is the first one."""
        is_first = not self._stores
        self._stores[id(uow)] = WatchedStore(uow, limit)  # Once, however often it is named.
        return is_first

    def number(self, _options: CallbackOptions) -> Iterator[Observation]:
        """Report how many there are."""
        pending = self._look()
        if pending is not None:
            yield Observation(len(pending))

    def age(self, _options: CallbackOptions) -> Iterator[Observation]:
        """Report for how long the oldest is pending; 0 if there is none."""
        pending = self._look()
        if pending is not None:
            now = datetime.now(UTC)
            since = min((record.cancelled_at for record in pending), default=now)
            yield Observation(max(0.0, (now - since).total_seconds()))

    def _look(self) -> list[CancellationRecord] | None:
        """Return the records of all stores; None if one of them has no answer."""
        found = list[CancellationRecord]()
        for store in tuple(self._stores.values()):  # A program may name another one meanwhile.
            seen = store.look()
            if seen is None:
                return None
            found += seen
        return found
