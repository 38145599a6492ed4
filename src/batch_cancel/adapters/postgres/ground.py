"""The context of a transaction: its settings, its tables, and the facts about them."""

from __future__ import annotations

import time
from collections.abc import Hashable
from functools import lru_cache
from typing import Final

import attrs
from psycopg import sql

from batch_cancel.adapters.postgres.cursors import AnyConnection
from batch_cancel.adapters.postgres.marking import RUN_LATE_TRIGGERS, Marking
from batch_cancel.adapters.postgres.queries import Queries
from batch_cancel.adapters.postgres.rows import Parameters, Row
from batch_cancel.adapters.postgres.sql_parts import quoted, trusted
from batch_cancel.adapters.postgres.transaction_settings import Frame
from batch_cancel.adapters.postgres_catalog import Facts, Known, question
from batch_cancel.domain.errors import JobNotFound, StoreFailed
from batch_cancel.domain.job import JobKey
from batch_cancel.domain.table_shape import is_one_form, reference

Oids = tuple[int | None, int | None, int | None]
"""The oids of the tables of jobs, contacts and cancellations; None for a missing table."""

_CacheKey = tuple[object, ...]

KNOWN: Final = Known()
"""The facts about tables that passed the checks, by schema and database."""

_DOUBT_SECONDS: Final = 60.0
_EXPECTED_MAX: Final = 1000


@attrs.define
class Expected:
    """
    The contexts that the next transactions most likely have, by how their connections are opened.

    Connections that are opened alike may still differ, by a `search_path` that is set later. After
    two that differ, none is expected until all have been alike for a minute.
    """

    _contexts: dict[Hashable, tuple[Row, float]] = attrs.field(
        factory=dict[Hashable, tuple[Row, float]], init=False
    )

    def get(self, opened_with: Hashable) -> Row | None:
        """Return the context; None if it can't be expected."""
        context, from_then = self._contexts.get(opened_with, (None, 0.0))
        return context if time.monotonic() >= from_then else None

    def note(self, opened_with: Hashable, context: Row) -> None:
        """Note the context that a transaction has."""
        before, _ = self._contexts.get(opened_with, (None, 0.0))
        if before == context:
            return
        if len(self._contexts) >= _EXPECTED_MAX:
            self._contexts.clear()
        from_then = 0.0 if before is None else time.monotonic() + _DOUBT_SECONDS
        self._contexts[opened_with] = (context, from_then)

    def doubt(self, opened_with: Hashable, context: Row) -> None:
        """Note that a transaction did not have the context that was expected."""
        self._contexts[opened_with] = (context, time.monotonic() + _DOUBT_SECONDS)

    def clear(self) -> None:
        """Forget all contexts."""
        self._contexts.clear()


EXPECTED: Final = Expected()
"""The contexts of transactions of our own."""


Opened = tuple[tuple[str, ...], str, int, str, str, str]
"""The SQL of a context, and of a connection the host, port, database, user and options."""


def opened_with(connection: AnyConnection, frame: Frame) -> Opened:
    """Return what the context of a transaction depends on, but for later settings."""
    info = connection.info
    return (frame.context, info.host, info.port, info.dbname, info.user, info.options)


@attrs.define
class Ground:
    """
    The context of a transaction: its tables, and the facts about them.

    Arguments:
        queries: the statements.
        cache_key: names the database and its tables, for the cache.
        opened_with: what the context depends on.
        context: what was read at the beginning of the transaction.
        isolation: the actual isolation of the transaction.
        oids: the oids of the tables.
        is_joined: whether the transaction is the caller's.
        keeps_earlier: whether there is a table for records that are replaced.
        has_sweeps: whether our own table has the column of sweeps.
        contacts_to_look_at: the contacts that a cancel has written and that a late trigger may
            write again before the commit; None without such triggers.
    """

    queries: Queries
    cache_key: _CacheKey
    opened_with: Opened
    context: Row
    isolation: object
    oids: Oids
    is_joined: bool
    keeps_earlier: bool
    has_sweeps: bool
    contacts_to_look_at: list[str] | None = None

    @classmethod
    def of(cls, opened: Opened, queries: Queries, context: Row, *, is_joined: bool) -> Ground:
        """
        Return it.

        Arguments:
            opened: what its connection was opened with.
            queries: the statements of the schema.
            context: the isolation, the oids of the three tables, whether there is one for earlier
                records, and whether ours has the column of sweeps.
            is_joined: whether the transaction is the caller's.
        """
        _, host, port, database, *_ = opened
        isolation, *oids, keeps_earlier, has_sweeps = context
        fitting = queries.fitting(has_sweeps=has_sweeps)
        cache_key = (fitting, host, port, database, *oids, keeps_earlier)
        jobs, contacts, cancellations = oids
        return cls(
            fitting,
            cache_key,
            opened,
            context,
            isolation,
            (jobs, contacts, cancellations),
            is_joined,
            keeps_earlier,
            has_sweeps,
        )

    @property
    def known(self) -> Facts | None:
        """The cached facts about the tables."""
        return KNOWN.get(self.cache_key)

    def learn(self, facts: Facts) -> None:
        """Cache the facts about the tables."""
        KNOWN.learn(self.cache_key, facts)

    def forget(self) -> None:
        """Forget the facts about the tables, which may have been altered."""
        KNOWN.forget(self.cache_key)

    def note(self) -> None:
        """Note that the next transaction of ours will most likely have this context."""
        if not self.is_joined:
            EXPECTED.note(self.opened_with, self.context)

    @property
    def question(self) -> sql.SQL | None:
        """The statement that reads the catalogs; None if a table is missing."""
        jobs, contacts, cancellations = self.oids
        if jobs is None or contacts is None or cancellations is None:
            return None  # A statement that needs it raises the error.
        oids = {"jobs": jobs, "contacts": contacts, "cancellations": cancellations}
        return trusted(trusted(question()).format(**oids).as_string(None))

    def checked(self, facts: Facts, key: JobKey, *, contacts: bool) -> Facts:
        """
        Return the facts, if this job is safe on these tables.

        Arguments:
            facts: the facts, read or cached.
            key: the job.
            contacts: whether single contacts are named by their ids as well.

        Raises:
            StoreFailed: the tables are not safe; nothing was changed.
        """
        problem = self.problem(facts, key, contacts=contacts)
        if problem is not None:
            self.forget()  # A repaired table works at once.
            raise StoreFailed(problem)
        return facts

    def problem(self, facts: Facts, key: JobKey, *, contacts: bool) -> str | None:
        """Return why this job, or its contacts by their ids, are not safe; None if they are."""
        keys, has_organization = self.queries.schema.keys, key.organization_id is not None
        problem = (
            next(iter(facts.refusals), None)
            or keys.job_problem(facts.jobs, has_organization=has_organization)
            or keys.reference_problem(facts.jobs, facts.contacts)
        )
        if problem is None and contacts:
            problem = keys.contact_problem(facts.contacts, has_organization=has_organization)
        return problem

    def fitted(self, facts: Facts, key: JobKey, parameters: Parameters) -> Parameters:
        """
        Return parameters that name a job, with the values by which its contacts refer to it.

        Raises:
            JobNotFound: an id has not the one form that its column shows, so no row has it.
        """
        schema, jobs, contacts = self.queries.schema, facts.jobs.kinds, facts.contacts.kinds
        job = jobs.get(schema.job_id), contacts.get(schema.contact_job_id)
        organization = (
            jobs.get(schema.job_organization_id or ""),
            contacts.get(schema.contact_organization_id or ""),
        )
        contact_id = parameters.get("contact_id")
        if not (
            is_one_form(job[0], key.batch_job_id)
            and is_one_form(organization[0], key.organization_id)
            and is_one_form(contacts.get(schema.contact_id), contact_id)
        ):
            raise JobNotFound(key)
        return {
            **parameters,
            "its_key": reference(*job, key.batch_job_id),
            "its_organization": reference(*organization, key.organization_id),
        }

    def late_triggers(self, facts: Facts) -> tuple[sql.SQL, sql.SQL]:
        """
        Return the statements that run late triggers now, and that defer them again.

        In a transaction of our own all of them run. In the caller's transaction only those of our
        tables: the others may depend on what the caller has still to write.
        """
        if not self.is_joined:
            return RUN_LATE_TRIGGERS, sql.SQL("")
        now = [(schema, name) for schema, name, _ in facts.deferrable]
        later = [(schema, name) for schema, name, is_deferred in facts.deferrable if is_deferred]
        return _set_constraints(now, "IMMEDIATE"), _set_constraints(later, "DEFERRED")

    def mark_and_demand(self, facts: Facts | None, markings: tuple[Marking, Marking]) -> sql.SQL:
        """
        Return the statements that mark jobs, run late triggers and demand the outcome.

        Arguments:
            facts: the facts about the tables.
            markings: the statements without and with a table for the records that are replaced.
        """
        marking = markings[self.keeps_earlier]
        if not self.is_joined:
            return marking.in_own
        if facts is None or not facts.deferrable:
            return marking.in_callers
        return marking.with_late(*self.late_triggers(facts))


def _set_constraints(names: list[tuple[str, str]], mode: str) -> sql.SQL:
    if not names:
        return sql.SQL("")
    listed = sql.SQL(", ").join(map(quoted, names)).as_string(None)
    return trusted(f"SET CONSTRAINTS {listed} {mode}")


@lru_cache(maxsize=_EXPECTED_MAX)
def expected(queries: Queries, opened: Opened, context: Row) -> Ground:
    """Return the ground of a transaction of ours that has the expected context."""
    return Ground.of(opened, queries, context, is_joined=False)
