"""What differs between the databases that SQLAlchemy connects to: a file for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa

from batch_cancel.adapters.sqlalchemy.dialects.base import Database
from batch_cancel.adapters.sqlalchemy.dialects.mysql import MySql
from batch_cancel.adapters.sqlalchemy.dialects.postgresql import Postgres
from batch_cancel.adapters.sqlalchemy.dialects.sqlite import Sqlite
from batch_cancel.domain.errors import StoreFailed

_DATABASES: Final[Mapping[str, Database]] = {
    "postgresql": Postgres(),
    "sqlite": Sqlite(),
    "mysql": MySql(),
    "mariadb": MySql(),
}


def database_of(dialect: sa.Dialect) -> Database:
    """
    Return the database of a dialect.

    Raises:
        StoreFailed: it is not supported.
    """
    found = _DATABASES.get(dialect.name)
    if found is None:
        msg = (
            f"{dialect.name} is none of Postgres, SQLite, MariaDB and MySQL: nothing else is "
            "supported"
        )
        raise StoreFailed(msg)
    return found


__all__ = ["Database", "database_of"]
