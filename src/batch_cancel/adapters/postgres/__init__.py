"""The Postgres adapter: psycopg 3, blocking and asyncio, your tables, your connections."""

from batch_cancel.adapters.missing_extra import missing_extra

try:
    from batch_cancel.adapters.postgres.ddl import (
        guards_ddl,
        migration_ddl,
        start_gates_ddl,
        table_ddl,
    )
    from batch_cancel.adapters.postgres.joining import joining, joining_async
    from batch_cancel.adapters.postgres.schema import PostgresSchema
    from batch_cancel.adapters.postgres.start_gate import AsyncSqlStartGate, SqlStartGate
    from batch_cancel.adapters.postgres.unit_of_work import (
        AsyncPostgresUnitOfWork,
        PostgresUnitOfWork,
    )
except ModuleNotFoundError as _missing:
    raise missing_extra(__name__, "postgres", _missing) from _missing

__all__ = [
    "AsyncPostgresUnitOfWork",
    "AsyncSqlStartGate",
    "PostgresSchema",
    "PostgresUnitOfWork",
    "SqlStartGate",
    "guards_ddl",
    "joining",
    "joining_async",
    "migration_ddl",
    "start_gates_ddl",
    "table_ddl",
]
