"""Procrastinate at work: as the others, but its starts are rows, and Postgres draws their ids."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from batch_cancel.adapters.postgres import PostgresUnitOfWork
from batch_cancel.adapters.procrastinate import ProcrastinateScheduler
from tests.fault_proxy import FaultProxy
from tests.schedulers.rig import Library, Rig
from tests.servers import PostgresServer, RedisServer

NAME: Final = "procrastinate"
RACES: Final = 200


class PostgresRig(Rig):
    """A rig that finds a job's id by the name that the job was given."""

    def __init__(self, redis_url: str, server: PostgresServer) -> None:
        def no_redis(_: object) -> Any:
            raise NotImplementedError

        self.server = server
        self.ids: dict[str, str] = {}
        library = Library(NAME, no_redis, no_redis, races=RACES, lead_seconds=0.1)
        super().__init__(library, {"redis": redis_url, "postgres": server.dsn()})

    def schedule(self, deferred_id: str, at: float | None = None) -> Any:
        """Schedule a start, and keep the id of its job."""
        job_id = super().schedule(deferred_id, at)
        self.ids[deferred_id] = job_id
        return job_id

    def ours(self) -> ProcrastinateScheduler:
        """Return our adapter."""
        return ProcrastinateScheduler(
            PostgresUnitOfWork(lambda: psycopg.connect(self.server.dsn()))
        )

    def replies_dropped(self, times: int, name: str) -> int:
        """Drop the answer to the commit of so many cancels; count those answered right."""
        right = 0
        with FaultProxy(int(str(conninfo_to_dict(self.server.dsn())["port"]))) as proxy:
            dsn = make_conninfo(self.server.dsn(), port=proxy.port)
            scheduler = ProcrastinateScheduler(PostgresUnitOfWork(lambda: psycopg.connect(dsn)))
            for number in range(times):
                job_id = self.schedule(f"{name}-{number}", 4e9)
                cuts = proxy.cuts
                proxy.cut_answer_to(b"COMMIT\0")  # Not READ COMMITTED.
                right += scheduler.cancel(job_id, "operation") and proxy.cuts == cuts + 1
        return right


@contextmanager
def at_work() -> Generator[PostgresRig]:
    """Yield Procrastinate at work."""
    with (
        RedisServer.own() as witness,
        PostgresServer.own() as server,
        PostgresRig(witness.url(), server) as rig,
    ):
        rig.ask("make_tables")
        rig.start_workers()
        yield rig
