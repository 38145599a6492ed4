"""The statements of bulk.sql with the adopter's names."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from functools import cache
from typing import Final

from psycopg import sql

from batch_cancel.adapters.postgres.marking import Marking, markings
from batch_cancel.adapters.postgres.queries import Queries
from batch_cancel.adapters.postgres.sql_parts import fixed, in_one_string, listed, quoted, trusted
from batch_cancel.adapters.postgres.sweep_queries import sweep_queries_for
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS, ContactStatus, JobStatus

_FILE: Final = "bulk.sql"


class BulkQueries:
    """The statements about many jobs with the names of one schema in them."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries
        these_jobs = queries.statement("these_jobs", _FILE)
        given = queries.statement("records_given", _FILE)
        self.lock_jobs: sql.SQL = queries.statement("lock_jobs", _FILE, these_jobs=these_jobs)
        self.read_no_job: sql.SQL = queries.statement("read_no_job", _FILE, these_jobs=these_jobs)
        self.read_cancellations: sql.SQL = queries.statement("read_cancellations", _FILE)
        outcome = queries.statement(
            "outcome_of_jobs",
            _FILE,
            these_jobs=these_jobs,
            records_given=given,
            first_contact=queries.first_contact(CANCELLABLE_CONTACTS, sql.SQL("its.reference")),
        )
        # By whether there is a table for the records that are replaced.
        self.marking: tuple[Marking, Marking] = markings(
            queries.statement("keep_earlier_of_jobs", _FILE),
            queries.statement(
                "mark_jobs_cancelled", _FILE, these_jobs=these_jobs, records_given=given
            ),
            queries.statement("demand_outcome", outcome=outcome),
        )

        self.mark_cancellations_done: sql.SQL = queries.statement(
            "mark_cancellations_done", _FILE, records_given=given
        )
        self.mark_cancellations_done_in_own: sql.SQL = in_one_string(
            queries.statement("note_many_without_waiting", _FILE, records_given=given),
            self.mark_cancellations_done,
        )

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def find_jobs(self, statuses: AbstractSet[JobStatus], bounds: AbstractSet[str]) -> sql.SQL:
        """
        Return the statement that finds a page of jobs.

        Arguments:
            statuses: the statuses of the jobs, a frozen set.
            bounds: the names of the parameters that bound times and ids, a frozen set.
        """
        schema = self._queries.schema
        columns = {
            "after": (schema.job_id, ">"),
            "scheduled_after": (schema.job_scheduled_at, ">="),
            "scheduled_before": (schema.job_scheduled_at, "<"),
            "created_after": (schema.job_created_at, ">="),
            "created_before": (schema.job_created_at, "<"),
        }
        conditions = (
            sql.SQL(" AND {} {} {}").format(
                quoted(column), trusted(operator), trusted(f"%({name})s")
            )
            for name, (column, operator) in columns.items()
            if name in bounds
        )
        return self._queries.statement(
            "find_jobs",
            _FILE,
            statuses=listed(statuses, schema.job_statuses),
            bounds=fixed(sql.SQL("").join(conditions)),
        )

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def cancel_contacts(
        self, statuses: AbstractSet[ContactStatus], *, unless_many: bool = False
    ) -> sql.SQL:
        """
        Return the statement that cancels contacts in these statuses, and counts them by job.

        Arguments:
            statuses: the statuses, a frozen set.
            unless_many: whether it changes none if there are more than a limit.
        """
        return self._cancelling("cancel_contacts_of_jobs", statuses, unless_many=unless_many)

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def list_cancelled_contacts(self, statuses: AbstractSet[ContactStatus]) -> sql.SQL:
        """Return the statement that cancels contacts and names them."""
        return self._cancelling("list_cancelled_contacts_of_jobs", statuses)

    def are_many(self, statuses: AbstractSet[ContactStatus]) -> sql.SQL:
        """Return the statement that reads whether more contacts than a limit are in these."""
        its_contacts = self._queries.statement("contacts_of_many", _FILE)
        return sweep_queries_for(self._queries).are_many(statuses, its_contacts)

    def _cancelling(
        self, name: str, statuses: AbstractSet[ContactStatus], *, unless_many: bool = False
    ) -> sql.SQL:
        its_contacts = self._queries.statement("contacts_of_many", _FILE)
        few = sweep_queries_for(self._queries).are_few(statuses, its_contacts)
        cancelling = self._queries.statement(
            "cancel_contacts_of_many",
            _FILE,
            contacts_of_many=its_contacts,
            statuses=self._contacts_in(statuses),
            unless_many=fixed(sql.SQL(" AND {}").format(few)) if unless_many else sql.SQL(""),
        )
        return self._queries.statement(name, _FILE, cancel_contacts_of_many=cancelling)

    def _contacts_in(self, statuses: AbstractSet[ContactStatus]) -> sql.SQL:
        return listed(statuses, self._queries.schema.contact_statuses)


@cache
def bulk_queries_for(queries: Queries) -> BulkQueries:
    """Return the statements about many jobs, made once."""
    return BulkQueries(queries)
