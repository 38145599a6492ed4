"""The start gate in SQL as a scheduler: its armed starts wait, and fire by passing it."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest

from batch_cancel.adapters import postgres, sqlalchemy
from batch_cancel.testing.adapter import SchedulerAdapter
from tests import data_layers
from tests.lent_connections import LentConnections
from tests.sql_gates import GATES, HOUR, METADATA

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class SqlStarts(SchedulerAdapter):
    """The gate in Postgres."""

    @pytest.fixture(autouse=True)
    def _schema(self, postgres_schema: str) -> Iterator[None]:
        self.armed = set[str]()
        with psycopg.connect(postgres_schema) as connection:
            connection.execute(postgres.start_gates_ddl().encode())
        with closing(LentConnections(postgres_schema)) as self.lent:
            yield

    def scheduler(self) -> Any:
        """Return an empty one."""
        return postgres.SqlStartGate(postgres.PostgresUnitOfWork(self.lent.lend))

    def schedule(self, scheduler: Any, deferred_id: str) -> Any:
        """Arm a start for an hour from now."""
        self.armed.add(deferred_id)
        return scheduler.arm(deferred_id, datetime.now(UTC) + HOUR)

    def waiting(self, scheduler: Any) -> Any:
        """Return what waits."""
        return scheduler.waiting_among(self.armed)

    def fire(self, scheduler: Any) -> Any:
        """Let each start ask the gate."""
        return {it for it in self.armed if scheduler.may_start(it)}


class AsyncSqlStarts(SqlStarts):
    """Its twin."""

    is_async = True

    def scheduler(self) -> Any:
        """Return an empty one."""
        return postgres.AsyncSqlStartGate(postgres.AsyncPostgresUnitOfWork(self.lent.lend_async))

    async def fire(self, scheduler: Any) -> Any:
        """Let each start ask the gate."""
        return {it for it in self.armed if await scheduler.may_start(it)}


class SqlStartsOfSqlAlchemy(SqlStarts):
    """The gate in a file of SQLite."""

    @pytest.fixture(autouse=True)
    def _schema(self, tmp_path: Path) -> None:
        self.armed = set[str]()
        self.engine = data_layers.sqlite_engine(tmp_path / f"{uuid4().hex}.sqlite")
        for metadata in (data_layers.METADATA, METADATA):
            metadata.create_all(self.engine)

    def scheduler(self) -> Any:
        """Return an empty one."""
        uow = sqlalchemy.SqlAlchemyUnitOfWork(self.engine, data_layers.TABLES)
        return sqlalchemy.SqlStartGate(uow, GATES)
