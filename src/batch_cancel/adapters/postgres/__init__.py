"""The Postgres adapter: psycopg 3, blocking and asyncio, your tables, your connections."""

from batch_cancel.adapters.postgres.schema import PostgresSchema, guards_ddl, table_ddl
from batch_cancel.adapters.postgres.unit_of_work import (
    AsyncPostgresUnitOfWork,
    PostgresUnitOfWork,
    joining,
    joining_async,
)

__all__ = [
    "AsyncPostgresUnitOfWork",
    "PostgresSchema",
    "PostgresUnitOfWork",
    "guards_ddl",
    "joining",
    "joining_async",
    "table_ddl",
]
