"""The statements of sweep.sql with the adopter's names."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from functools import cache
from typing import Final

from psycopg import sql

from batch_cancel.adapters.postgres.marking import Marking, markings
from batch_cancel.adapters.postgres.queries import Queries
from batch_cancel.adapters.postgres.sql_parts import in_one_string, listed
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS, ContactStatus

_FILE: Final = "sweep.sql"


class SweepQueries:
    """The statements of a sweep with the names of one schema in them."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries
        nothing = sql.SQL("NULL")
        # As for a cancel, but contacts may be open.
        self.marking: tuple[Marking, Marking] = markings(
            queries.statement("keep_earlier"),
            queries.mark_cancelled,
            queries.statement(
                "demand_outcome", outcome=queries.statement("outcome", first_contact=nothing)
            ),
        )
        self.lock_sweep: sql.SQL = queries.statement("lock_sweep", _FILE)
        first_contact = queries.first_contact(CANCELLABLE_CONTACTS)
        self.note_chunk: sql.SQL = self._note(nothing)
        self.note_last_chunk: sql.SQL = self._note(first_contact)

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def cancel_unless_many(
        self, statuses: AbstractSet[ContactStatus], *, counted: bool
    ) -> sql.SQL:
        """
        Return the statement that cancels the contacts in these statuses if there are few.

        Arguments:
            statuses: the statuses, a frozen set.
            counted: whether it counts what was really written.
        """
        statement = self._queries.statement(
            "cancel_contacts_unless_many",
            _FILE,
            cancel_contacts=self._queries.cancel_contacts(frozenset(statuses)),
            are_few=self.are_few(statuses, self._queries.its_contacts_in_order),
        )
        if not counted:
            return statement
        return self._queries.statement("count_cancelled_contacts", cancel_contacts=statement)

    def are_many(self, statuses: AbstractSet[ContactStatus], its_contacts: sql.SQL) -> sql.SQL:
        """Return the statement that reads whether more contacts are in these statuses."""
        return self._queries.statement(
            "are_many", _FILE, are_few=self.are_few(statuses, its_contacts)
        )

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def are_left(self, statuses: AbstractSet[ContactStatus]) -> sql.SQL:
        """Return the statement that reads whether a contact is in these statuses."""
        return self._queries.statement(
            "are_left", _FILE, first_contact=self._queries.first_contact(statuses)
        )

    def are_few(self, statuses: AbstractSet[ContactStatus], its_contacts: sql.SQL) -> sql.SQL:
        """Return the condition that no more contacts than the limit are in these statuses."""
        return self._queries.statement(
            "are_few", _FILE, its_contacts=its_contacts, statuses=self._contacts_in(statuses)
        )

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def sweep_contacts(self, statuses: AbstractSet[ContactStatus], *, by_id: bool) -> sql.SQL:
        """
        Return the statement that cancels a chunk of contacts in these statuses.

        Arguments:
            statuses: the statuses, a frozen set.
            by_id: whether a contact's id alone is unique.
        """
        return self._queries.statement(
            "sweep_contacts",
            _FILE,
            statuses=self._contacts_in(statuses),
            is_open=self._queries.its_contact_in(statuses, by_id=by_id),
        )

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def try_contact(self, statuses: AbstractSet[ContactStatus]) -> sql.SQL:
        """Return the statement that cancels one contact in these statuses, to be rolled back."""
        return self._queries.statement("try_contact", _FILE, statuses=self._contacts_in(statuses))

    def _note(self, first_contact: sql.SQL) -> sql.SQL:
        outcome = self._queries.statement("outcome_of_sweep", _FILE, first_contact=first_contact)
        return in_one_string(
            self._queries.statement("note_sweep", _FILE),
            self._queries.statement("demand_outcome", outcome=outcome),
        )

    def _contacts_in(self, statuses: AbstractSet[ContactStatus]) -> sql.SQL:
        return listed(statuses, self._queries.schema.contact_statuses)


@cache
def sweep_queries_for(queries: Queries) -> SweepQueries:
    """Return the statements of a sweep, made once."""
    return SweepQueries(queries)
