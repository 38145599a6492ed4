"""
Deferred starts in a SQLite file.

`domain.deferred_start` decides what becomes of a start; this module reads it and writes it back,
within one transaction that holds the file's write lock.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final, cast
from uuid import uuid4

from batch_cancel.adapters.sqlite.connection import (
    SQL,
    Connection,
    OnFile,
    Value,
    now,
    text_of,
    time_of,
)
from batch_cancel.domain import deferred_start
from batch_cancel.domain.deferred_start import Claimed, Deferred, DeferredState
from batch_cancel.domain.errors import SchedulerUnavailable, StoreFailed
from batch_cancel.domain.job import ID_BYTES_MAX, is_storable

_STARTS_MAX: Final = 1_000
"""The most starts in one transaction, which blocks all other writers of the file."""


def _start(row: tuple[Value, ...]) -> Deferred:
    state, at, payload, token, operation_id = row
    return Deferred(
        DeferredState(cast("str", state)),
        None if at is None else time_of(cast("str", at)),
        cast("bytes", payload),
        cast("str | None", token),
        cast("str | None", operation_id),
    )


def _read(deferred_id: str, connection: Connection) -> Deferred | None:
    row = connection.row(SQL["read_deferred"], (deferred_id,))
    return None if row is None else _start(row)


def _write(deferred_id: str, start: Deferred | None, connection: Connection) -> bool:
    if start is None:
        return False
    connection.execute(
        SQL["write_deferred"],
        (
            deferred_id,
            start.state.value,
            None if start.at is None else text_of(start.at),
            start.payload,
            start.token,
            start.operation_id,
        ),
    )
    return True


class SqliteScheduler(OnFile):
    """
    Deferred starts in a SQLite file, which may be a store's.

    Any number of threads and processes may share it; every step is atomic.

    Arguments:
        path: the file.
        create: whether to create a missing file and its tables on first use.
        busy_timeout_seconds: how long to wait for the write lock.

    Raises:
        ValueError: the path is not valid, or the timeout is negative or longer than a day.
    """

    def schedule(self, deferred_id: str, at: datetime, payload: bytes = b"") -> bool:
        """
        Schedule a start, or move one that still waits.

        Arguments:
            deferred_id: its id.
            at: when to fire, an aware datetime.
            payload: passed to the owner that claims it.

        Returns:
            False if the id was ever cancelled, handed out or finished: then nothing changed.

        Raises:
            ValueError: an id that no store could keep, or a naive datetime.
            SchedulerUnavailable: the file is locked for too long, or cannot be used.
        """
        deferred_start.check_schedulable(deferred_id, at)
        with self._step() as connection:
            start = deferred_start.schedule(_read(deferred_id, connection), at, payload)
            return _write(deferred_id, start, connection)

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """
        Remove the deferred start for good.

        Returns:
            True if this operation removed it before it fired; the same answer on every repeat.

        Raises:
            SchedulerUnavailable: the file is locked for too long, or cannot be used.
        """
        if not is_storable(deferred_id, ID_BYTES_MAX):  # Then none of that id is ever scheduled.
            return False
        with self._step() as connection:
            current = _read(deferred_id, connection)
            cancelled = deferred_start.cancel(current, operation_id)
            _write(deferred_id, cancelled, connection)
            start = cancelled or current
            return start is not None and deferred_start.was_removed_by(start, operation_id)

    def claim(self, limit: int, lease: timedelta) -> list[Claimed]:
        """
        Take the starts that are due, the earliest first, each for the time of `lease`.

        A start that is not acknowledged within its lease is handed out again. Deliver them in
        the order in which they are returned: one that may have ended its last owner comes last.

        Raises:
            SchedulerUnavailable: the file is locked for too long, or cannot be used.
            ValueError: `lease` is negative, or longer than a century.
        """
        deferred_start.check_lease(lease)
        before: list[tuple[str, Deferred]] = []
        tokens: dict[str, str] = {}
        lapses_at = now() + lease  # Afterwards a step would hand out the same starts again.
        while len(before) < limit:
            room, token = min(limit - len(before), _STARTS_MAX), uuid4().hex
            try:
                due = self._claim_some(room, lease, token)
            except SchedulerUnavailable:
                if not before:
                    raise
                break  # What was handed out before must not be lost.
            before += due
            tokens |= dict.fromkeys((deferred_id for deferred_id, _ in due), token)
            if len(due) < room or now() >= lapses_at:
                break
        return [
            Claimed(deferred_id, start.payload, tokens[deferred_id])
            for deferred_id, start in deferred_start.in_delivery_order(before)
        ]

    def _claim_some(self, limit: int, lease: timedelta, token: str) -> list[tuple[str, Deferred]]:
        """Claim starts in one transaction, and return them as they were before."""
        with self._step() as connection:
            at = now()
            rows = connection.rows(SQL["read_deferred_until"], (text_of(at), limit))
            due = [(cast("str", deferred_id), _start(tuple(row))) for deferred_id, *row in rows]
            starts = deferred_start.in_delivery_order(due)
            for starts_after, (deferred_id, start) in enumerate(reversed(starts)):
                ends_at = deferred_start.lease_end(at + lease, starts_after)
                _write(deferred_id, deferred_start.claim(start, at, token, ends_at), connection)
        return due

    def ack(self, deferred_id: str, token: str) -> bool:
        """
        Finish a claimed start; False if the caller no longer has the lease.

        Raises:
            SchedulerUnavailable: the file is locked for too long, or cannot be used.
        """
        if not is_storable(deferred_id, ID_BYTES_MAX):
            return False
        with self._step() as connection:
            start = deferred_start.acknowledge(_read(deferred_id, connection), token)
            return _write(deferred_id, start, connection)

    def waiting(self) -> set[str]:
        """
        Return the ids of the deferred starts that wait to fire.

        Raises:
            SchedulerUnavailable: the file is locked for too long, or cannot be used.
        """
        with _unavailable(), self._file.looking() as connection:
            rows = connection.rows(SQL["look_at_waiting"], (DeferredState.DUE.value,))
            return {cast("str", deferred_id) for (deferred_id,) in rows}

    def waiting_among(self, deferred_ids: AbstractSet[str]) -> set[str]:
        """
        Return those of the deferred starts that wait to fire.

        Raises:
            SchedulerUnavailable: the file is locked for too long, or cannot be used.
        """
        listed = json.dumps(sorted(it for it in deferred_ids if is_storable(it, ID_BYTES_MAX)))
        with _unavailable(), self._file.looking() as connection:
            rows = connection.rows(SQL["look_at_waiting_among"], (listed, DeferredState.DUE.value))
            return {cast("str", deferred_id) for (deferred_id,) in rows}

    @contextmanager
    def _step(self) -> Generator[Connection]:
        with _unavailable(), self._file.transaction() as connection:
            yield connection


@contextmanager
def _unavailable() -> Generator[None]:
    """Raise a store's fault as a scheduler's: no answer."""
    try:
        yield
    except StoreFailed as error:
        raise SchedulerUnavailable(error.reason) from error
