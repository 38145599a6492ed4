"""
The database's own facts about the tables, for the rules of `domain.table_shape`.

Rule 1: metadata may differ from the database that migrations have created. The facts come from
        the database's catalogs, in SQLite its PRAGMAs.
Rule 2: safe tables are read once by each process. Refused tables are read again each time, so that
        a repaired table works at once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import attrs
import sqlalchemy as sa
from sqlalchemy import Connection

from batch_cancel.adapters.postgres_catalog import Facts
from batch_cancel.adapters.sqlalchemy.tables import SqlAlchemyTables
from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.job import JobKey
from batch_cancel.domain.table_shape import TEXT, Table, UniqueIndex


def name_parts(connection: Connection, table: sa.Table) -> tuple[str | None, str]:
    """Return the schema and the name of a table, as this connection translates them."""
    translated: Any = connection.get_execution_options().get("schema_translate_map") or {}
    return translated.get(table.schema, table.schema), table.name


def quoted(*parts: str | None) -> str:
    """
    Return the parts of a name in quotes; None for a missing part.

    Not by the dialect's own quoting, which doubles percent signs for drivers that take them for
    placeholders: these names are values, or in statements without placeholders.
    """
    return ".".join('"' + it.replace('"', '""') + '"' for it in parts if it is not None)


@attrs.define
class Seen:
    """
    What one transaction knows about the tables.

    Arguments:
        tables: the adopter's.
        read: reads the current facts; None if a table is missing.
        cache_key: names the tables and the database, for the cache; None to cache no facts.
        is_joined: whether the transaction is the caller's.
        earlier: the table for records that are replaced; None if the database has none, or it may
            not be used.
        cancelled_before: how many contacts of a job were cancelled already, by job, if a trigger
            may write contacts again after the cancel; empty without such triggers.
        references: the jobs that were locked together, by the text of what contacts refer to.
        locks_are_local: whether other nodes take writes too, and do not see this one's row locks.
        fatal: the faults of MariaDB that end the whole transaction, by number.
    """

    tables: SqlAlchemyTables
    read: Callable[[], Facts | None]
    cache_key: Hashable | None
    is_joined: bool
    earlier: sa.Table | None = None
    cancelled_before: dict[JobKey, int] = attrs.field(factory=dict[JobKey, int])
    references: dict[str, JobKey] = attrs.field(factory=dict[str, JobKey])
    locks_are_local: bool = False
    fatal: frozenset[str] = frozenset()

    def of_jobs(self, connection: Connection) -> Facts:
        """
        Return the facts, for a step that touches no contact.

        Raises:
            StoreFailed: no mapping of this database is safe.
        """
        return self._checked(connection, lambda _: None)

    def of_contacts(self, connection: Connection, *, has_organization: bool) -> Facts:
        """
        Return the facts, for a step that touches the contacts of one job.

        Raises:
            StoreFailed: the job's key is not known to be unique, or no mapping of this database is
                safe.
        """
        keys = self.tables.keys
        return self._checked(
            connection,
            lambda facts: (
                keys.job_problem(facts.jobs, has_organization=has_organization)
                or keys.reference_problem(facts.jobs, facts.contacts)
            ),
        )

    def of_single_contacts(self, connection: Connection, key: JobKey) -> Facts:
        """
        Return the facts, for a step that names contacts by their ids.

        Raises:
            StoreFailed: as `of_contacts`, or the contacts' ids are not known to be unique.
        """
        keys, is_of_one = self.tables.keys, key.organization_id is not None
        return self._checked(
            connection,
            lambda facts: (
                keys.job_problem(facts.jobs, has_organization=is_of_one)
                or keys.reference_problem(facts.jobs, facts.contacts)
                or keys.contact_problem(facts.contacts, has_organization=is_of_one)
            ),
        )

    def _checked(self, connection: Connection, problem: Callable[[Facts], str | None]) -> Facts:
        known = self.tables.known
        facts = None if self.cache_key is None else known.get(self.cache_key)
        if facts is not None and problem(facts) is None:
            return facts
        facts = self.read()
        if facts is None:
            raise StoreFailed(self._missing(connection))
        reason = next(iter(facts.refusals), None) or problem(facts)
        if reason is not None:
            raise StoreFailed(reason)
        if self.cache_key is not None:
            known.learn(self.cache_key, facts)
        return facts

    def _missing(self, connection: Connection) -> str:
        ours = (self.tables.jobs, self.tables.contacts, self.tables.cancellations)
        names = ", ".join(".".join(filter(None, name_parts(connection, it))) for it in ours)
        return (
            f"a table is missing among {names}: create it, or check the search path of the "
            "connection"
        )


# SQLite ------------------------------------------------------------------------------------------


def sqlite_earlier(connection: Connection, tables: SqlAlchemyTables) -> sa.Table | None:
    """Return the table for records that are replaced; None if it is missing."""
    earlier = tables.earlier
    if earlier is None or _SqliteTable.find(connection, earlier) is None:
        return None
    return earlier


def sqlite_cache_key(connection: Connection, tables: SqlAlchemyTables) -> Hashable | None:
    """Return a key of the tables and their schema's version; None if there is no safe key."""
    asked = (
        "SELECT (SELECT file FROM pragma_database_list WHERE name = 'main'), "
        "(SELECT schema_version FROM pragma_schema_version), "
        "(SELECT count(*) FROM sqlite_temp_master)"
    )
    file, version, temporary = connection.exec_driver_sql(asked).one()
    ours = (tables.jobs, tables.contacts, tables.cancellations)
    schemas = {name_parts(connection, it)[0] for it in ours}
    # A database without a file belongs to its connection, and so do temporary tables.
    is_sure = file and not temporary and schemas <= {None, "main"}
    return (file, version) if is_sure else None


def sqlite_facts(connection: Connection, tables: SqlAlchemyTables) -> Facts | None:
    """Return the facts of SQLite; None if a table is missing."""
    jobs, contacts = (_SqliteTable.find(connection, it) for it in (tables.jobs, tables.contacts))
    if jobs is None or contacts is None:
        return None
    jobs_are_rewritten, contacts_are_rewritten = jobs.has_triggers(), contacts.has_triggers()
    return Facts(
        jobs=jobs.described(),
        contacts=contacts.described(),
        refusals=tuple(
            f"a temporary table {it.name} of this session hides yours: name your tables with "
            "their schema, or drop the temporary one"
            for it in (jobs, contacts)
            if it.hides_another
        ),
        jobs_have_triggers=jobs_are_rewritten,
        contacts_have_triggers=contacts_are_rewritten,
        jobs_are_rewritten=jobs_are_rewritten,
        contacts_are_rewritten=contacts_are_rewritten,
        contacts_partitioned_by=frozenset(),
        deferrable=(),
    )


@attrs.frozen
class _SqliteTable:
    connection: Connection
    table: sa.Table
    schema: str
    name: str
    is_view: bool
    hides_another: bool

    @classmethod
    def find(cls, connection: Connection, table: sa.Table) -> _SqliteTable | None:
        """Find the table that a statement would use; None if there is none."""
        schema, name = name_parts(connection, table)
        if schema is None:
            listed = connection.exec_driver_sql("PRAGMA database_list").all()
            others = [str(row[1]) for row in listed if row[1] not in {"main", "temp"}]
            schemas = ["temp", "main", *others]  # SQLite's search order.
        else:
            schemas = [schema]
        found = [(it, kind) for it in schemas if (kind := _kind(connection, it, name))]
        if not found:
            return None
        (schema, kind), *rest = found
        return cls(
            connection, table, schema, name, kind == "view", schema == "temp" and bool(rest)
        )

    def described(self) -> Table:
        """Return its unique indexes and its NOT NULL columns."""
        rows = self._pragma("table_info", self.name)
        by_number = {row[0]: self._as_mapped(row[1]) for row in rows}
        primary = [row for row in rows if row[5]]
        unique = list(self._indexes(by_number))
        not_null = {self._as_mapped(row[1]) for row in rows if row[3]}
        if len(primary) == 1 and str(primary[0][2]).upper() == "INTEGER":
            # The rowid itself, which has no index.
            name = self._as_mapped(primary[0][1])
            unique.append(UniqueIndex(frozenset({name})))
            not_null.add(name)
        kinds = {by_number[row[0]]: self._kind(row[1], str(row[2])) for row in rows}
        return Table(self.name, tuple(unique), frozenset(not_null), self.is_view, kinds)

    def has_triggers(self) -> bool:
        """Check whether a trigger may change what is written."""
        return any(
            self.connection.exec_driver_sql(
                f"SELECT 1 FROM {_master(self.connection, it)} "  # noqa: S608  # Quoted.
                "WHERE type = 'trigger' AND lower(tbl_name) = lower(?) LIMIT 1",
                (self.name,),
            ).first()
            for it in {self.schema, "temp"}
        )

    def _indexes(self, by_number: dict[int, str]) -> list[UniqueIndex]:
        found: list[UniqueIndex] = []
        for _, index, is_unique, _, is_partial in self._pragma("index_list", self.name):
            rows = [row for row in self._pragma("index_xinfo", index) if row[5]]
            if (
                is_unique
                and not is_partial
                and all(row[1] in by_number for row in rows)  # An expression is not a column.
                and not any(self._is_finer(row[4], row[2]) for row in rows)
            ):
                found.append(UniqueIndex(frozenset(by_number[row[1]] for row in rows)))
        return found

    def _is_finer(self, collation: str, column: str) -> bool:
        """Check whether an index distinguishes texts that the column's own `=` finds equal."""
        folds, trims = self._finds_equal(column)
        finer = {"BINARY": folds or trims, "NOCASE": trims, "RTRIM": folds}
        return finer.get(collation.upper(), False)

    def _kind(self, column: str, declared: str) -> str:
        """Return the kind of comparison of the column's own `=`, by SQLite's rules of affinity."""
        words = declared.upper()
        if "INT" in words:
            return "integer"
        if words and not any(it in words for it in ("CHAR", "CLOB", "TEXT", "BLOB")):
            is_real = any(it in words for it in ("REAL", "FLOA", "DOUB"))
            return "real" if is_real else "numeric"
        folds, trims = self._finds_equal(column)
        return TEXT + " without case" * folds + " without trailing blanks" * trims

    def _finds_equal(self, column: str) -> tuple[bool, bool]:
        """Return whether the column's own `=` ignores case, and trailing blanks."""
        quote = self.connection.dialect.identifier_preparer.quote_identifier
        # A column of a UNION compares like the column of its first part.
        compared = (
            f"SELECT it = ? FROM (SELECT {quote(column)} AS it "  # noqa: S608  # Quoted.
            f"FROM {quote(self.schema)}.{quote(self.name)} WHERE 0 "
            "UNION ALL SELECT ? LIMIT 1)"
        )
        folds, trims = (
            bool(self.connection.exec_driver_sql(compared, ("a", it)).scalar())
            for it in ("A", "a ")
        )
        return folds, trims

    def _as_mapped(self, column: str) -> str:
        """Return a name in the mapping's case; SQLite compares names without case."""
        names = {it.name.lower(): it.name for it in self.table.columns}
        return names.get(column.lower(), column)

    def _pragma(self, name: str, argument: str) -> list[Any]:
        quote = self.connection.dialect.identifier_preparer.quote_identifier
        asked = f"PRAGMA {quote(self.schema)}.{name}({quote(argument)})"
        return list(self.connection.exec_driver_sql(asked).all())


def _master(connection: Connection, schema: str) -> str:
    if schema == "temp":
        return "sqlite_temp_master"
    return f"{connection.dialect.identifier_preparer.quote_identifier(schema)}.sqlite_master"


def _kind(connection: Connection, schema: str, name: str) -> str | None:
    """Return whether it is a table or a view; None if it is missing."""
    asked = (
        f"SELECT type FROM {_master(connection, schema)} "  # noqa: S608  # Quoted.
        "WHERE type IN ('table', 'view') AND lower(name) = lower(?)"
    )
    return connection.exec_driver_sql(asked, (name,)).scalar()
