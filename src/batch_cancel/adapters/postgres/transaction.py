"""
A transaction on Postgres, ours or a savepoint in the caller's, with the fewest round trips.

Rule 1: no statement is sent before an answer is needed. A statement without an answer is held
        back; it is sent with the next one that has one, or with the end of the transaction.
Rule 2: what is sent together is one string of the simple protocol. Each statement in it has a
        snapshot of its own, so one that follows a lock sees what was committed before the lock.
Rule 3: after an error Postgres executes no later statement of a string. What must be true before
        the commit is a statement that fails otherwise, in the string of the commit.
Rule 4: where each call may be committed by itself, it is one string if no answer is needed before
        COMMIT; it demands the tables whose facts are known. What Postgres refuses is asked again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Final, Self

import attrs
import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from batch_cancel.adapters.postgres.connection_checks import (
    check_committed,
    check_encoding,
    has_unread,
)
from batch_cancel.adapters.postgres.cursors import AnyConnection
from batch_cancel.adapters.postgres.errors import Progress
from batch_cancel.adapters.postgres.ground import EXPECTED, Ground, expected, opened_with
from batch_cancel.adapters.postgres.notes import Notes
from batch_cancel.adapters.postgres.queries import Queries
from batch_cancel.adapters.postgres.rows import Row
from batch_cancel.adapters.postgres.sender import Answer, AnySender, Parameters
from batch_cancel.adapters.postgres.transaction_settings import ANOTHER_CONTEXT, Frame
from batch_cancel.adapters.postgres_transactions import check_isolation
from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.job import CancellationRecord

Explain = Callable[[psycopg.Error], StoreFailed | None]
"""Returns what an error of a held statement means; None if it is an error like any other."""


def _no_meaning(_: psycopg.Error) -> None:
    return None


@attrs.frozen
class _Held:
    """A statement that is not sent yet."""

    text: str
    explain: Explain = _no_meaning


@attrs.define
class Transaction:
    """
    A transaction that its first statement begins; an async context manager.

    A clean exit ends it, an exception undoes it.

    Arguments:
        sender: over its connection.
        queries: the statements of its schema; those about records fit our own table once the
            transaction is begun.
        frame: how it begins and ends.
        progress: how far it got.
        sweep_above: how many contacts of a job it changes at most; None for all.
        is_autocommit: whether each call may be committed by itself.
    """

    sender: AnySender
    queries: Queries
    frame: Frame
    progress: Progress
    sweep_above: int | None = None
    is_autocommit: bool = attrs.field(default=False, init=False)
    _ground: Ground | None = attrs.field(default=None, init=False)
    _held: list[_Held | Notes] = attrs.field(factory=list[Any], init=False)
    _is_begun: bool = attrs.field(default=False, init=False)
    _had_autocommit: bool = attrs.field(default=True, init=False)

    @property
    def is_begun(self) -> bool:
        """Whether anything was sent."""
        return self._is_begun

    @property
    def connection(self) -> AnyConnection:
        """Its connection."""
        return self.sender.connection

    async def ground(self) -> Ground:
        """
        Return the context of the transaction, which is begun if it is not.

        Raises:
            StoreFailed: its isolation is not READ COMMITTED, or its encoding is unknown.
        """
        if self._ground is None:
            await self._exchange()
        return self._checked_ground()

    def hold(self, query: sql.SQL, parameters: Parameters, explain: Explain = _no_meaning) -> None:
        """
        Send a statement with the next one, or with the end.

        Arguments:
            query: the statement, or several.
            parameters: its values.
            explain: returns what an error of the string means.
        """
        self._held.append(_Held(self.sender.rendered(query, parameters), explain))

    def hold_note(self, record: CancellationRecord) -> None:
        """Note the progress in a record with the next statement; notes in a row become one."""
        last = self._held[-1] if self._held else None
        if isinstance(last, Notes) and last.add(record):
            return
        notes = Notes()
        notes.add(record)
        self._held.append(notes)

    async def ask(self, query: sql.SQL, parameters: Parameters) -> Answer:
        """
        Execute a statement, together with all that is held back.

        The answer must have no times: as text they depend on the connection's DateStyle.
        """
        if self._ground is not None and not self._held:
            return await self.sender.send(query, parameters, binary=True)
        text, is_first = self.sender.rendered(query, parameters), not self._is_begun
        try:
            answer = await self._exchange(text)
            self._checked_ground()
        except (psycopg.DataError, psycopg.errors.SerializationFailure) as error:
            is_isolated = isinstance(error, psycopg.errors.SerializationFailure)
            if not is_first or (is_isolated and not self.frame.is_joined):
                raise
            # Asked again by itself, after the isolation is known: the error for a value that a
            # column cannot hold names a parameter, but no literal.
            await self.begin_again()
            return await self.send(query, parameters, binary=True)
        return answer

    async def send(
        self, query: sql.SQL, parameters: Parameters = None, *, binary: bool = False
    ) -> Answer:
        """Execute a statement by itself, after all that is held back."""
        await self.ground()
        if self._held:
            await self._exchange()
        return await self.sender.send(query, parameters, binary=binary)

    @property
    def may_commit_next(self) -> bool:
        """Whether the next statement may be sent in one string with the beginning and COMMIT."""
        return self.is_autocommit and not (self._is_begun or self._held)

    def expected(self) -> Ground | None:
        """Return the context that it will most likely have; None if it can't be expected."""
        opened = opened_with(self.connection, self.frame)
        context = EXPECTED.get(opened)
        return None if context is None else expected(self.queries, opened, context)

    async def ask_and_commit(
        self, query: sql.SQL, parameters: Parameters, ground: Ground | None, *settings: str
    ) -> list[Row] | None:
        """
        Execute a statement in a transaction of its own: one string with beginning and COMMIT.

        Arguments:
            query: the statement; it fails if its outcome must not be committed.
            parameters: its values.
            ground: the context without which it is not executed; None for one that only reads.
            settings: statements that set something for it.

        Returns:
            the rows of its answer; None if the string was refused for a reason that only several
            strings can explain. Then nothing was changed. In any case none is begun now.
        """
        check_encoding(self.connection)
        frame = self.frame
        beginning = frame.beginning[:-1] if ground is None else frame.demanding(ground.context)
        beginning = (*beginning, *settings)
        try:
            text = self.sender.rendered(query, parameters)
            self._is_begun = True
            if ground is not None:
                self.progress.phase = frame.last_phase
            answer = await self.sender.send_string("; ".join((*beginning, text, frame.end)))
        except (psycopg.DataError, psycopg.ProgrammingError, UnicodeEncodeError) as error:
            if ground is not None and ANOTHER_CONTEXT in str(error):
                EXPECTED.doubt(ground.opened_with, ground.context)
            self.progress.phase = "working"
            await self._undo()
            return None
        except psycopg.Error:
            self._note_not_ended()
            raise
        check_committed(self.connection)
        self.progress.phase, self._is_begun = "working", False
        await answer.go_to(len(beginning))
        return await answer.rows()

    async def copy(self, query: sql.SQL, rows: Iterable[Sequence[object]]) -> int:
        """Send rows to a COPY statement, after all that is held back; return how many it wrote."""
        await self.ground()
        if self._held:
            await self._exchange()
        return await self.sender.copy(query, rows)

    async def begin_again(self) -> Ground:
        """Undo what was done, and begin again."""
        await self._undo()
        return await self.ground()

    @asynccontextmanager
    async def savepoint(self, *, force_rollback: bool = False) -> AsyncGenerator[None]:
        """Roll back the statements within if one fails, or in any case."""
        await self.ground()
        if self._held:
            await self._exchange()
        async with self.sender.savepoint(force_rollback=force_rollback):
            yield

    async def __aenter__(self) -> Self:
        """Send nothing yet."""
        if not self.frame.is_joined:
            # Else psycopg would send a BEGIN of its own before our first string.
            self._had_autocommit = self.connection.autocommit
            await self.sender.set_autocommit(on=True)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it, or undo it."""
        try:
            if error is None:
                await self._end()
            else:
                await self._undo()
        except BaseException:
            await self._undo()
            raise
        finally:
            await self._give_back()

    async def _end(self) -> None:
        if self._is_begun or self._held:
            await self._send_end()
            if not self.frame.is_joined:
                check_committed(self.connection)
        if not self.frame.is_joined:
            self.progress.phase = "committed"

    async def _send_end(self) -> None:
        if has_unread(self.connection):
            # If the server closed the connection, this raises its reason before COMMIT is sent.
            await self.sender.send_string("SELECT")
        self.progress.phase = self.frame.last_phase
        try:
            await self._exchange(self.frame.end)
        except psycopg.Error:
            self._note_not_ended()
            raise

    def _note_not_ended(self) -> None:
        if not self.frame.is_joined and self._status == TransactionStatus.INERROR:
            self.progress.phase = "working"  # A statement failed; the end was not executed.

    async def _undo(self) -> None:
        """Undo what was sent, if the connection still lives."""
        was_begun, self._is_begun, self._ground = self._is_begun, False, None
        if not was_begun or self._status not in _OPEN:
            return
        with suppress(psycopg.Error):  # The connection is broken; the server undoes it.
            if self.frame.undo is None:
                await self.sender.rollback()
            else:
                await self.sender.send_string(self.frame.undo)

    async def _give_back(self) -> None:
        """Leave the connection as it was."""
        if self._had_autocommit:
            return
        if self._status == TransactionStatus.IDLE:
            await self.sender.set_autocommit(on=False)
        else:
            await self.sender.close()

    @property
    def _status(self) -> TransactionStatus:
        return self.connection.info.transaction_status

    async def _exchange(self, *texts: str) -> Answer:
        """Send all that is held back, and these; the answer is that of the last statement."""
        texts, is_first = (*map(self._text, self._held), *texts), not self._is_begun
        if is_first:
            check_encoding(self.connection)
            texts = (*self.frame.beginning, *texts)
            self._is_begun = True
        try:
            answer = await self.sender.send_string("; ".join(texts))
        except psycopg.Error as error:
            for held in self._held:
                if isinstance(held, _Held) and (failure := held.explain(error)) is not None:
                    raise failure from error
            raise
        self._held.clear()
        if is_first:
            await answer.go_to(len(self.frame.beginning) - 1)
            [row] = await answer.rows()
            _, *context = row
            opened, is_joined = opened_with(self.connection, self.frame), self.frame.is_joined
            self._ground = Ground.of(opened, self.queries, tuple(context), is_joined=is_joined)
            self.queries = self._ground.queries
        await answer.go_to(-1)
        return answer

    def _text(self, held: _Held | Notes) -> str:
        if isinstance(held, _Held):
            return held.text
        return self.sender.rendered(*held.statement(self.queries, is_joined=self.frame.is_joined))

    def _checked_ground(self) -> Ground:
        if self._ground is None:  # pragma: no cover  # The first string reads it.
            raise AssertionError
        check_isolation(self._ground.isolation, is_joined=self.frame.is_joined)
        return self._ground


_OPEN: Final = {TransactionStatus.INTRANS, TransactionStatus.INERROR}
