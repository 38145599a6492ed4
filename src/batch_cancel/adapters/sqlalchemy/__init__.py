"""
Jobs and contacts in SQLAlchemy tables, on Postgres (psycopg, asyncpg), SQLite and MariaDB.

    with Session(engine) as session:
        cancellation = cancel_rows("batch_xyz789", uow=joining(session, TABLES))
        session.commit()

Rule 1: each statement is written once, in SQLAlchemy's constructs; the asyncio half runs the same
        over its engine's own bridge.
Rule 2: a transaction locks before it reads. On Postgres that is the job's row, FOR NO KEY UPDATE.
        SQLite has one lock for the whole file, and takes it for a statement that writes. What
        differs between the databases is in `dialects`, a file for each.
Rule 3: the statements after the lock are statements of their own: under READ COMMITTED they see
        what was committed while the transaction waited. A higher level is refused.
Rule 4: a contact is named by its job's key, by its organization if contacts have one, and by its
        id. The database, not the metadata, decides whether these are unique.
Rule 5: written rows are read back before the commit: a trigger, a rule or a policy may have
        changed them.
"""

from batch_cancel.adapters.missing_extra import missing_extra

try:
    from batch_cancel.adapters.sqlalchemy.columns import cancellations_table
    from batch_cancel.adapters.sqlalchemy.joining import joining, joining_async
    from batch_cancel.adapters.sqlalchemy.start_gate import (
        AsyncSqlStartGate,
        SqlStartGate,
        start_gates_table,
    )
    from batch_cancel.adapters.sqlalchemy.tables import SqlAlchemyTables
    from batch_cancel.adapters.sqlalchemy.unit_of_work import (
        AsyncSqlAlchemyUnitOfWork,
        SqlAlchemyUnitOfWork,
    )
except ModuleNotFoundError as _missing:
    raise missing_extra(__name__, "sqlalchemy", _missing) from _missing

__all__ = [
    "AsyncSqlAlchemyUnitOfWork",
    "AsyncSqlStartGate",
    "SqlAlchemyTables",
    "SqlAlchemyUnitOfWork",
    "SqlStartGate",
    "cancellations_table",
    "joining",
    "joining_async",
    "start_gates_table",
]
