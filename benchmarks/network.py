"""Round trips, counted by a proxy, and cancels over a network that takes 1 ms either way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import partial

import redis
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from batch_cancel import ContactStatus, cancel_job, claim_contacts, settle_contact
from batch_cancel.adapters.postgres import PostgresUnitOfWork
from batch_cancel.adapters.redis import RedisScheduler
from benchmarks import floors
from benchmarks.bars import Measured
from benchmarks.findings import Findings, Table, milliseconds
from benchmarks.place import PATIENCE, Place, pool_at, progress
from benchmarks.rounds import figure, timed
from benchmarks.slow_line import slow_line
from tests.fault_proxy import FaultProxy
from tests.processes import HOST


def measured(place: Place) -> Findings:
    """Count the round trips, and measure cancels over a slow network."""
    progress("round trips")
    trips = _trips(place)
    progress("a network of 1 ms")
    return Findings(
        bars=(*(Measured(f"trips-{name}", figure([it])) for name, it in trips.items()),),
        tables=(
            Table(
                "Round trips to Postgres",
                ("step", "trips"),
                tuple((name, str(it)) for name, it in trips.items()),
            ),
        ),
    ).joined(_over_network(place))


def _trips(place: Place) -> dict[str, int]:
    scheduler = place.scheduler
    (running,), (scheduled,) = place.jobs(1, 10), place.jobs(1, 10, "scheduled")
    port = int(str(conninfo_to_dict(place.server.dsn())["port"]))
    with FaultProxy(port) as proxy, pool_at(_through(place.server.dsn(), proxy.port), 1) as pool:
        uow = PostgresUnitOfWork(pool.connection)

        def trips(call: Callable[[], object]) -> int:
            before = proxy.round_trips
            call()
            return proxy.round_trips - before

        contacts = claim_contacts(running, uow=uow, limit=2)
        return {
            "claim": trips(lambda: claim_contacts(running, uow=uow, limit=1)),
            "final": trips(
                lambda: settle_contact(running, contacts[0], ContactStatus.COMPLETED, uow=uow)
            ),
            "retryable": trips(
                lambda: settle_contact(running, contacts[1], ContactStatus.BUSY, uow=uow)
            ),
            "running": trips(lambda: cancel_job(running, uow=uow, scheduler=scheduler)),
            "scheduled": trips(lambda: cancel_job(scheduled, uow=uow, scheduler=scheduler)),
        }


def _over_network(place: Place) -> Findings:
    runs = place.sizes.network_runs
    postgres_port = int(str(conninfo_to_dict(place.server.dsn())["port"]))
    with (
        slow_line(postgres_port) as port,
        slow_line(place.redis_server.port) as redis_port,
        pool_at(_through(place.server.dsn(), port), 1) as pool,
        closing(redis.Redis(host=HOST, port=redis_port)) as client,
    ):
        uow = PostgresUnitOfWork(pool.connection)
        scheduler = RedisScheduler(client, budget=PATIENCE)

        def cancels(status: str) -> list[float]:
            # The first of them makes the connections.
            return [
                timed(partial(cancel_job, job, uow=uow, scheduler=scheduler))
                for job in place.jobs(runs + 1, 100, status)
            ][1:]

        def send(string: bytes) -> None:
            with pool.connection() as connection:
                connection.execute(string)

        times = {
            "one empty round trip": [timed(partial(send, b"SELECT 1")) for _ in range(runs)],
            "bare UPDATE": [
                timed(partial(send, floors.bare_update(job).encode()))
                for job in place.jobs(runs, 100)
            ],
            "running": cancels("running"),
            "scheduled": cancels("scheduled"),
        }
    figures = {name: figure(values) for name, values in times.items()}
    return Findings(
        bars=tuple(
            Measured(f"network-{name}", figures[name].times(1000))
            for name in ("scheduled", "running")
        ),
        tables=(
            Table(
                "Cancels of 100 contacts over a network that takes 1 ms either way",
                ("", "ms"),
                tuple((name, milliseconds(it)) for name, it in figures.items()),
            ),
        ),
    )


def _through(dsn: str, port: int) -> str:
    return make_conninfo(dsn, host=HOST, port=port)
