"""Start gates in SQL on each database, called as if all were blocking."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
import sqlalchemy as sa

from batch_cancel.adapters import postgres, sqlalchemy
from tests import data_layers
from tests.lent_connections import LentConnections

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOUR = timedelta(hours=1)
METADATA = sa.MetaData()
GATES: Final = sqlalchemy.start_gates_table(METADATA)

NAMES: Final = [
    "postgres",
    "postgres-async",
    "alchemy-postgres",
    "alchemy-postgres-async",
    "alchemy-sqlite",
    "alchemy-sqlite-async",
]
ON_MARIADB: Final = [
    pytest.param(it, marks=pytest.mark.mysql)
    for it in ("alchemy-mariadb", "alchemy-mariadb-async")
]


class Gate:
    """A gate that is called as if it were blocking."""

    def __init__(self, gate: Any, runner: asyncio.Runner) -> None:
        self.gate = gate
        self._runner = runner

    def arm(self, deferred_id: str, after: timedelta = HOUR) -> Any:
        """Arm a start that is due after so long."""
        return self._result(self.gate.arm(deferred_id, datetime.now(UTC) + after))

    def cancel(self, deferred_id: str, operation_id: str = "cancel") -> Any:
        """Close it."""
        return self._result(self.gate.cancel(deferred_id, operation_id))

    def may_start(self, deferred_id: str) -> Any:
        """Pass it."""
        return self._result(self.gate.may_start(deferred_id))

    def waiting_among(self, deferred_ids: set[str]) -> Any:
        """Name those that wait."""
        return self._result(self.gate.waiting_among(deferred_ids))

    def check(self) -> Any:
        """Name what is missing."""
        return self._result(self.gate.check())

    def _result(self, given: Any) -> Any:
        return self._runner.run(given) if asyncio.iscoroutine(given) else given


class Gates:
    """
    Makes gates over one table.

    Arguments:
        name: one of `NAMES`, or of `ON_MARIADB`.
        place: where the database is: a DSN, a file, or a server with the name of a database.
    """

    def __init__(self, name: str, place: Any) -> None:
        self.name, self.place = name, place
        self.is_async = name.endswith("-async")
        self._cleanup = ExitStack()
        self.engine = self._engine()
        if "postgres" in name:
            with psycopg.connect(place, autocommit=True) as connection:
                connection.execute(postgres.start_gates_ddl().encode())
        else:
            data_layers.METADATA.create_all(self.engine)
            METADATA.create_all(self.engine)

    def make(self, runner: asyncio.Runner, place: Any = None, **settings: Any) -> Gate:
        """Return a gate, by default in this database."""
        place = self.place if place is None else place
        if not self.name.startswith("alchemy"):
            kind, unit = (
                (postgres.AsyncSqlStartGate, postgres.AsyncPostgresUnitOfWork)
                if self.is_async
                else (postgres.SqlStartGate, postgres.PostgresUnitOfWork)
            )
            made: Any = kind
            uow: Any = unit
            lent = LentConnections(place)
            self._cleanup.callback(lent.close)
            lend = lent.lend_async if self.is_async else lent.lend
            return Gate(made(uow(lend), **settings), runner)
        if self.is_async:
            unit_async = sqlalchemy.AsyncSqlAlchemyUnitOfWork(
                self._engine_async(place), data_layers.TABLES
            )
            return Gate(sqlalchemy.AsyncSqlStartGate(unit_async, GATES, **settings), runner)
        alchemy = sqlalchemy.SqlAlchemyUnitOfWork(self._engine(place), data_layers.TABLES)
        return Gate(sqlalchemy.SqlStartGate(alchemy, GATES, **settings), runner)

    def rows(self) -> dict[str, tuple[str, str | None]]:
        """Return the state and the operation of every start."""
        its = GATES.c
        with self.engine.connect() as connection:
            found = connection.execute(sa.select(its.deferred_id, its.state, its.operation_id))
            return {it: (state, operation) for it, state, operation in found}

    def left(self, deferred_id: str) -> timedelta:
        """Return for how long the row of a start is kept."""
        its = GATES.c
        with self.engine.connect() as connection:
            asked = sa.select(its.forget_at).where(its.deferred_id == deferred_id)
            forget_at: datetime = connection.execute(asked).scalar_one()
        return forget_at - datetime.now(UTC)

    def execute(self, statement: Any) -> None:
        """Change the table behind the gates' backs."""
        with self.engine.begin() as connection:
            connection.execute(sa.text(statement) if isinstance(statement, str) else statement)

    def close(self) -> None:
        """Close all connections."""
        self._cleanup.close()

    def _engine(self, place: Any = None) -> sa.Engine:
        place = self.place if place is None else place
        if "sqlite" in self.name:
            return data_layers.sqlite_engine(place)
        if "mariadb" in self.name:
            return data_layers.mariadb_engine(*place)
        engine = data_layers.postgres_engine(place, **data_layers.POOLED)
        self._cleanup.callback(engine.dispose)
        return engine

    def _engine_async(self, place: Any) -> Any:
        if "sqlite" in self.name:
            return data_layers.sqlite_engine_async(place)
        if "mariadb" in self.name:
            return data_layers.mariadb_engine_async(*place)
        return data_layers.postgres_engine_async(place)


def made(request: pytest.FixtureRequest, name: str, tmp_path: Path) -> Iterator[Gates]:
    """Yield a maker of gates in an empty database."""
    with ExitStack() as stack:
        if "sqlite" in name:
            place: Any = tmp_path / "gates.sqlite"
        elif "mariadb" in name:
            server = request.getfixturevalue("mariadb_server")
            place = (server, stack.enter_context(server.database()))
        else:
            place = stack.enter_context(request.getfixturevalue("postgres_server").schema())
        yield stack.enter_context(closing(Gates(name, place)))


def raced(gates: Gates, rounds: int) -> tuple[int, int]:
    """Let a cancel and a start of each round meet; return how many of each won."""
    barrier, won = threading.Barrier(2), {"cancel": 0, "may_start": 0}

    def party(call: str) -> list[bool]:
        with asyncio.Runner() as runner:
            gate = gates.make(runner)
            answers = []
            for number in range(rounds):
                barrier.wait(60)
                answers.append(getattr(gate, call)(f"job-{number}"))
            return answers

    with asyncio.Runner() as runner:
        gate = gates.make(runner)
        for number in range(rounds):
            gate.arm(f"job-{number}")
        with ThreadPoolExecutor(2) as pool:
            cancels, starts = pool.map(party, won)
        for number, (cancelled, started) in enumerate(zip(cancels, starts, strict=True)):
            assert cancelled is not started, number
            # And so it stays.
            assert gate.cancel(f"job-{number}") is cancelled
            assert gate.may_start(f"job-{number}") is started
    return sum(cancels), sum(starts)
