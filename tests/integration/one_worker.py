"""A worker on one connection through a proxy, which counts and cuts, and its steps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any, Final

import attrs
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from batch_cancel import (
    claim_contacts,
    claim_contacts_async,
    settle_contact,
    settle_contact_async,
    start_job,
    start_job_async,
    still_running,
    still_running_async,
)
from batch_cancel.adapters.postgres import AsyncPostgresUnitOfWork, PostgresUnitOfWork
from tests.fault_proxy import FaultProxy
from tests.integration.undoing_triggers import Database
from tests.processes import HOST

WRITERS: Final = ("start", "claim", "settle")
STEPS: Final = (*WRITERS, "look")
PATIENCE: Final = timedelta(seconds=20)


@attrs.define
class Worker:
    """
    A worker on one connection through a proxy, which has worked there before.

    Arguments:
        database: the tables.
        proxy: between it and them.
        runner: its event loop; None for a blocking one.
        called: the contact whose call it settles.
        lock_timeout: of its transactions.
        lines: its connections, the last one in use.
    """

    database: Database
    proxy: FaultProxy
    runner: asyncio.Runner | None
    called: str
    lock_timeout: timedelta = PATIENCE
    lines: list[Any] = attrs.field(factory=list)

    @property
    def uow(self) -> Any:
        """A store on its connection, or on a new one if that is broken."""
        if self.runner is None:
            return PostgresUnitOfWork(self._line, lock_timeout=self.lock_timeout)
        return AsyncPostgresUnitOfWork(self._line_async, lock_timeout=self.lock_timeout)

    @contextmanager
    def _line(self) -> Generator[psycopg.Connection[Any]]:
        if not self.lines or self.lines[-1].closed:
            self.lines.append(psycopg.connect(self._through))
        yield self.lines[-1]

    @asynccontextmanager
    async def _line_async(self) -> AsyncGenerator[psycopg.AsyncConnection[Any]]:
        if not self.lines or self.lines[-1].closed:
            self.lines.append(await psycopg.AsyncConnection.connect(self._through))
        yield self.lines[-1]

    @property
    def _through(self) -> str:
        return make_conninfo(self.database.dsn, host=HOST, port=self.proxy.port)

    def step(self, name: str) -> Any:
        """Make a step."""
        halves: dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[Any, ...]]] = {
            "start": (start_job, start_job_async, ("later",)),
            "claim": (claim_contacts, claim_contacts_async, ("live",)),
            "settle": (settle_contact, settle_contact_async, ("live", self.called, "failed")),
            "claim of none": (claim_contacts, claim_contacts_async, ("done",)),
            "look": (still_running, still_running_async, ("live",)),
        }
        blocking, waiting, arguments = halves[name]
        more = {"limit": 1} if name.startswith("claim") else {}
        if self.runner is None:
            return blocking(*arguments, uow=self.uow, **more)
        return self.runner.run(waiting(*arguments, uow=self.uow, **more))

    def trips(self, name: str) -> int:
        """Count the round trips of a step."""
        before = self.proxy.round_trips
        self.step(name)
        return self.proxy.round_trips - before

    def close(self) -> None:
        """Close its connections."""
        for line in self.lines:
            line.close() if self.runner is None else self.runner.run(line.close())


@contextmanager
def working(database: Database, *, is_async: bool) -> Generator[Worker]:
    """Yield a worker that knows the tables."""
    port = int(str(conninfo_to_dict(database.dsn)["port"]))
    database.execute(
        "INSERT INTO batch_contacts (batch_job_id, status) "
        "SELECT 'live', 'pending' FROM generate_series(1, 3)"
    )
    with FaultProxy(port) as proxy, asyncio.Runner() as runner:
        made = Worker(
            database, proxy, runner if is_async else None, database.contact("live", "dialing")
        )
        made.step("claim")
        yield made
        made.close()


@pytest.fixture(params=[False, True], ids=["blocking", "asyncio"])
def worker(request: pytest.FixtureRequest, database: Database) -> Iterator[Worker]:
    """Yield a worker of each kind."""
    with working(database, is_async=request.param) as made:
        yield made


@contextmanager
def locked(database: Database) -> Generator[None]:
    """Keep everybody else from the tables."""
    with psycopg.connect(database.dsn) as other:
        other.execute("LOCK TABLE batch_jobs, batch_contacts")
        yield
