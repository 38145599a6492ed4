"""Bugs of an adapter for a database server, written from the documentation alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest.mock import patch

import psycopg
import pytest

from batch_cancel import Fault, StoreFailed
from batch_cancel.testing.conformance import StoreConformance
from examples import server_adapter, server_adapter_async, server_adapter_kit
from tests.lost_commits import LosingCommits
from tests.proof.broken_adapters.planting import plant


class OnServer(server_adapter_kit.TestCampaigns):
    """The example adapter for a server, with a bug in its transactions."""

    transaction: ClassVar[type] = server_adapter.Transaction

    @pytest.fixture(autouse=True)
    def _database(self, tables_of_class: tuple[str, psycopg.Connection[Any]]) -> Iterator[None]:
        self.dsn, self.beside = tables_of_class
        with patch.object(server_adapter, "Transaction", self.transaction):
            yield


class OnServerAsync(OnServer):
    """The same with its twin."""

    is_async = True

    def uow(self) -> Any:
        return server_adapter_async.AsyncCampaigns(self.dsn)


del server_adapter_kit  # Its tests are run where they are.


class RepeatsAStatementAfterADeadlock(server_adapter.Transaction):
    """As where the server begins another transaction by itself, MySQL without autocommit."""

    def cancel(self, key: Any, statuses: Any, /) -> int:
        try:
            return super().cancel(key, statuses)
        except psycopg.errors.DeadlockDetected:
            self.connection.execute("ROLLBACK")
            self.connection.execute("BEGIN")
            return super().cancel(key, statuses)


class SwallowsALockTimeout(server_adapter.Transaction):
    """As where a lock timeout rolls back the statement alone, MySQL."""

    def cancel(self, key: Any, statuses: Any, /) -> int:
        self.connection.execute("SAVEPOINT before; SET LOCAL lock_timeout = '200ms'")
        try:
            return super().cancel(key, statuses)
        except psycopg.errors.LockNotAvailable:
            self.connection.execute("ROLLBACK TO before")
            return 0


class SwallowsALockTimeoutAndLooksAtNothing(SwallowsALockTimeout):
    def mark_cancelled(self, job: Any, record: Any, /) -> None:
        self.connection.execute(server_adapter.MARK, (job.key.batch_job_id,))


class SkipsContactsInUse(server_adapter.Transaction):
    def cancel(self, key: Any, statuses: Any, /) -> int:
        skip = (
            "UPDATE call SET state = 'cancelled' WHERE id IN (SELECT id FROM call "
            "WHERE campaign = %s AND state = ANY (%s) FOR UPDATE SKIP LOCKED)"
        )
        return self.connection.execute(skip, (key.batch_job_id, list(statuses))).rowcount


class SkipsContactsInUseAndLooksAtNothing(SkipsContactsInUse):
    def mark_cancelled(self, job: Any, record: Any, /) -> None:
        self.connection.execute(server_adapter.MARK, (job.key.batch_job_id,))


class TakesTheLocalTimeOfTheServerForUtc(server_adapter.Transaction):
    def lock(self, key: Any, /) -> Any:
        local = "LOCALTIMESTAMP AT TIME ZONE 'UTC'"
        with patch.object(
            server_adapter, "LOCK", server_adapter.LOCK.replace("clock_timestamp()", local)
        ):
            return super().lock(key)


for _bug, _test in (
    (RepeatsAStatementAfterADeadlock, "test_i5_a_deadlock_ends_the_transaction"),
    (SwallowsALockTimeout, "test_i18_a_contact_that_is_kept_in_use_is_a_failure"),
    (
        SwallowsALockTimeoutAndLooksAtNothing,
        "test_i18_a_contact_that_is_kept_in_use_is_a_failure",
    ),
    (SkipsContactsInUse, "test_i4_a_contact_in_use_is_waited_for"),
    (SkipsContactsInUseAndLooksAtNothing, "test_i4_a_contact_in_use_is_waited_for"),
    (
        TakesTheLocalTimeOfTheServerForUtc,
        "test_i20_the_time_of_a_cancellation_is_that_of_the_clock",
    ),
):
    plant(_bug.__name__, _test, OnServer, StoreConformance, transaction=_bug)


class RaisesOverACancelledTask(server_adapter_async.AsyncCampaigns):
    """As where the driver's connection is unfit within a statement, and a rollback raises."""

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[Any]:
        """Let the rollback's own error out."""
        try:
            async with super().begin() as it:
                yield it
        except asyncio.CancelledError as error:
            msg = "another command is in progress"
            raise psycopg.OperationalError(msg) from error


plant(
    "RaisesOverACancelledTask",
    "test_i19_a_task_cancelled_within_a_statement_is_cancelled",
    OnServerAsync,
    StoreConformance,
    uow=lambda self: RaisesOverACancelledTask(self.dsn),
)


class CallsALostCommitUnchanged(LosingCommits):
    @contextmanager
    def begin(self) -> Generator[Any]:
        """Report every fault as one that has changed nothing."""
        try:
            with super().begin() as it:
                yield it
        except StoreFailed as failure:
            raise StoreFailed(failure.reason, fault=failure.fault) from failure


plant(
    "CallsALostCommitUnchanged",
    "test_i12_a_commit_without_an_answer_is_not_called_unchanged",
    OnServer,
    StoreConformance,
    losing_commit=lambda self: CallsALostCommitUnchanged(self.dsn),
)


class KnowsNoFaults(server_adapter.Campaigns):
    @contextmanager
    def begin(self) -> Generator[Any]:
        """Refuse whatever it was."""
        try:
            with super().begin() as it:
                yield it
        except StoreFailed as failure:
            raise StoreFailed(failure.reason, failure.outcome, Fault.REFUSED) from failure


for _name, _test in (
    ("KnowsNoDeadlock", "test_i14_a_deadlock_is_a_fault_that_passes"),
    ("KnowsNoLockTimeout", "test_i18_whoever_waits_for_a_lock_gives_up"),
):
    plant(_name, _test, OnServer, StoreConformance, uow=lambda self: KnowsNoFaults(self.dsn))

plant(
    "HasNoPause",
    "test_i20_what_is_declared_is_what_there_is",
    OnServer,
    StoreConformance,
    uow=lambda self: SimpleNamespace(begin=server_adapter.Campaigns(self.dsn).begin),
)
