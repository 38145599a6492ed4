"""
The pending removals of a store, as two gauges.

Rule: a collection of metrics never fails because of the store: without an answer, no value.
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
class PendingRemovals:
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

    def _look(self) -> tuple[CancellationRecord, ...] | None:
        """Return the records; None if the store does not answer, or offers no inspection."""
        if time.monotonic() - self._read_at > _SAME_READ_SECONDS:
            self._seen = None
            with suppress(Exception), opened(self.uow) as repositories:  # The rule.
                if repositories.inspection is not None:
                    self._seen = repositories.inspection.look(
                        self.limit, CANCELLABLE_CONTACTS, CALL_AGE_SUSPECT
                    ).removals_pending
            self._read_at = time.monotonic()
        return self._seen
