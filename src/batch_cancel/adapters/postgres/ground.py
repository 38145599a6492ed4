"""What a transaction stands on: its settings, the tables it finds, and what is known of them."""

from __future__ import annotations

from typing import Final

import attrs
from psycopg import sql

from batch_cancel.adapters.postgres.connection_checks import check_encoding
from batch_cancel.adapters.postgres.cursors import AnyConnection
from batch_cancel.adapters.postgres.queries import RUN_LATE_TRIGGERS, Queries
from batch_cancel.adapters.postgres.rows import Row
from batch_cancel.adapters.postgres.sender import AnySender
from batch_cancel.adapters.postgres.sql_parts import in_one_string, quoted, trusted
from batch_cancel.adapters.postgres_catalog import Facts, Known, question
from batch_cancel.adapters.postgres_transactions import check_isolation
from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.job import JobKey

Oids = tuple[int | None, int | None, int | None]
"""The tables of jobs, contacts and cancellations; None for one that is not there."""

_Place = tuple[object, ...]

KNOWN: Final = Known()
"""What the catalogs said, by schema and database, of tables that were found to be right."""


@attrs.define
class Ground:
    """
    What a transaction stands on: the tables that it finds, and what may be believed of them.

    Arguments:
        queries: the statements.
        place: the database, and the tables of this session's names.
        oids: those tables.
        is_joined: whether the transaction is the caller's.
        contacts_to_look_at: the contacts that a cancel has written and that something may write
            once more before the commit; None where nothing does.
    """

    queries: Queries
    place: _Place
    oids: Oids
    is_joined: bool
    contacts_to_look_at: list[str] | None = None

    @classmethod
    def of(
        cls, connection: AnyConnection, queries: Queries, row: Row, *, is_joined: bool
    ) -> Ground:
        """
        Begin with what the first statement of the transaction has found.

        Arguments:
            connection: its connection.
            queries: the statements of the schema.
            row: the oids of the three tables.
            is_joined: whether the transaction is the caller's.
        """
        info = connection.info
        place = (queries, info.host, info.port, info.dbname, *row)
        jobs, contacts, cancellations = row
        return cls(queries, place, (jobs, contacts, cancellations), is_joined)

    @property
    def known(self) -> Facts | None:
        """What is known of the tables already."""
        return KNOWN.get(self.place)

    def learn(self, facts: Facts) -> None:
        """Keep what the catalogs say of the tables."""
        KNOWN.learn(self.place, facts)

    @property
    def question(self) -> sql.SQL | None:
        """The statement that asks the catalogs; None where a table is missing."""
        jobs, contacts, cancellations = self.oids
        if jobs is None or contacts is None or cancellations is None:
            return None  # The statement that needs it says so.
        oids = {"jobs": jobs, "contacts": contacts, "cancellations": cancellations}
        return trusted(trusted(question()).format(**oids).as_string(None))

    def checked(self, facts: Facts, key: JobKey, *, contacts: bool) -> Facts:
        """
        Return the facts of tables on which this job can be handled.

        Arguments:
            facts: what the catalogs say, or have said.
            key: the job.
            contacts: whether single contacts are named as well, by their ids.

        Raises:
            StoreFailed: the tables are not such; nothing was changed.
        """
        keys, has_organization = self.queries.schema.keys, key.organization_id is not None
        problem = (
            next(iter(facts.refusals), None)
            or keys.job_problem(facts.jobs, has_organization=has_organization)
            or keys.reference_problem(facts.jobs, facts.contacts)
        )
        if problem is None and contacts:
            problem = keys.contact_problem(facts.contacts, has_organization=has_organization)
        if problem is not None:
            KNOWN.forget(self.place)  # A table that is mended is believed at once.
            raise StoreFailed(problem)
        return facts

    def late_triggers(self, facts: Facts) -> tuple[sql.SQL, sql.SQL]:
        """
        Return what lets the triggers run that would run at the commit, and what undoes that.

        In a transaction of our own all of them run now. In the caller's only those of our tables:
        the others may count on what the caller has still to write.
        """
        if not self.is_joined:
            return RUN_LATE_TRIGGERS, sql.SQL("")
        now = [(schema, name) for schema, name, _ in facts.deferrable]
        later = [(schema, name) for schema, name, is_deferred in facts.deferrable if is_deferred]
        return _set_constraints(now, "IMMEDIATE"), _set_constraints(later, "DEFERRED")

    def mark_and_look(self, facts: Facts | None) -> sql.SQL:
        """Return what marks a job, lets late triggers run, and looks at the outcome."""
        if not self.is_joined:
            return self.queries.mark_and_look_in_own
        if facts is None or not facts.deferrable:
            return self.queries.mark_and_look
        now, later = self.late_triggers(facts)
        return in_one_string(self.queries.mark_cancelled, now, self.queries.outcome, later)


def _set_constraints(names: list[tuple[str, str]], mode: str) -> sql.SQL:
    if not names:
        return sql.SQL("")
    listed = sql.SQL(", ").join(map(quoted, names)).as_string(None)
    return trusted(f"SET CONSTRAINTS {listed} {mode}")


async def begun(
    sender: AnySender, queries: Queries, own_settings: sql.SQL | None = None
) -> Ground:
    """
    Send what begins a transaction, and return what it stands on.

    Arguments:
        sender: over its connection.
        queries: the statements of its schema.
        own_settings: what a transaction of our own sends; None for the caller's.

    Raises:
        StoreFailed: its isolation is not READ COMMITTED, or nobody knows its encoding.
    """
    check_encoding(sender.connection)
    results = await sender.send_together(own_settings or queries.joined_settings)
    [*_, [(_, level, *row)]] = filter(None, results)
    is_joined = own_settings is None
    check_isolation(level, is_joined=is_joined)
    return Ground.of(sender.connection, queries, tuple(row), is_joined=is_joined)
