"""
Whether tables are of a shape on which a store can be right, as pure rules.

Rule 1: an id is unique where the database says so, and nowhere else: by a unique index that is
        valid and covers every row. A view has no indexes; there the adopter's word counts.
Rule 2: a contact is this job's if the value by which it refers to its job names one job alone.
        Where it names one job of each organization, contacts must have the organization too.
Rule 3: NULLs are different values to most unique indexes: among jobs of no organization, such an
        index over the organization and the id says nothing.
Rule 4: what contacts refer to their job by must tell apart what jobs are told apart by, and
        nothing else. An integer does not know '1' from '01', nor does citext know 'a' from 'A'.
Rule 5: what is not seen to be right is refused with a sentence that says what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import attrs

from batch_cancel.domain.errors import StoreFailed, shown
from batch_cancel.domain.job import JobKey

TEXT: Final = "text"
"""The kind of a column that tells any two values apart that differ in a byte."""

_AS_FINE: Final = frozenset(
    {("integer", "numeric"), (TEXT, "character"), ("integer", TEXT), ("uuid", TEXT)}
)
"""
The kinds of a job's column and of a contact's that may differ. A padded one does not know trailing
blanks, in which alone no two ids differ. An integer or a uuid is one text, by which a text refers
to it.
"""


@attrs.frozen
class UniqueIndex:
    """
    A unique index that is valid and covers every row of its table.

    Arguments:
        columns: what it is over, columns alone.
        nulls_distinct: whether two rows may have NULL in it and the same otherwise.
    """

    columns: frozenset[str]
    nulls_distinct: bool = True


@attrs.frozen
class Table:
    """
    What the database says of a table.

    Arguments:
        name: as messages name it.
        unique: its unique indexes.
        not_null: the columns that hold no NULL.
        is_view: whether it is a view, of which the catalog tells neither.
        kinds: what the `=` of each column compares: TEXT, or another name for each kind. Columns
            of one kind find the same values equal.
    """

    name: str
    unique: tuple[UniqueIndex, ...] = ()
    not_null: frozenset[str] = frozenset()
    is_view: bool = False
    kinds: Mapping[str, str] = attrs.field(factory=dict[str, str])

    def is_unique(self, *columns: str | None, of_no_organization: bool = False) -> bool:
        """
        Check whether rows that have the same in these columns are one row.

        Arguments:
            columns: the columns; None for one that there is not.
            of_no_organization: whether the last one, the organization, is NULL in these rows.
        """
        given = {it for it in columns if it is not None}
        organization = columns[-1] if of_no_organization else None
        return any(
            index.columns <= given
            and (
                organization not in index.columns
                or organization in self.not_null
                or not index.nulls_distinct
            )
            for index in self.unique
        )


def counted(contact: Mapping[str, object], where: Mapping[str, object]) -> Mapping[str, object]:
    """
    Return a contact to be added, with what the columns hold in the contacts that count.

    Arguments:
        contact: its values by column.
        where: what the columns hold in the rows that count.

    Raises:
        StoreFailed: it has another value there, with which it would not count.
    """
    for column, held in where.items():
        given = contact.get(column, held)
        if (given is None) is not (held is None) or str(given) != str(held):
            reason = (
                f"a contact that is added has to count: {column!r} holds {held!r} in those that do"
            )
            raise StoreFailed(reason)
    return {**where, **contact}


def columns_refused(own: Iterable[str]) -> StoreFailed:
    """Return the error for a contact to be added with what is not the caller's to set."""
    *names, last = map(repr, own)
    return StoreFailed(
        f"a contact is given as values by column, without {', '.join(names)} and {last}"
    )


def check_referable(column: str | None, value: object, key: JobKey) -> None:
    """Refuse to add contacts to a job that has no value in the column that they refer to."""
    if value is None:
        reason = (
            f"the {column!r} of {shown(key.batch_job_id)} is NULL, so no contact can refer to "
            "this job: set it first"
        )
        raise StoreFailed(reason)


@attrs.frozen(kw_only=True)
class Keys:
    """
    The columns by which jobs and contacts are named.

    Arguments:
        job_key: the jobs' column that contacts refer to.
        job_organization_id: a job's organization, if there is such a column.
        contact_id: a contact's id.
        contact_job_id: the contacts' column that refers to their job.
        contact_organization_id: a contact's organization, if there is such a column.
        are_unique: the adopter's word that they are, for views.
    """

    job_key: str
    job_organization_id: str | None
    contact_id: str
    contact_job_id: str
    contact_organization_id: str | None
    are_unique: bool

    def job_problem(self, jobs: Table, *, has_organization: bool) -> str | None:
        """
        Return why a job's key may name the contacts of several jobs; None if it can't.

        Arguments:
            jobs: the table of jobs.
            has_organization: whether the job in question is one of an organization.
        """
        if jobs.is_view:
            return None if self.are_unique else self._unseen(jobs, self.job_key)
        if jobs.is_unique(self.job_key):
            return None
        organization = self.job_organization_id
        of_none = not has_organization
        with_organization = jobs.is_unique(self.job_key, organization, of_no_organization=of_none)
        if with_organization and self.contact_organization_id is not None:
            return None
        if organization is not None and jobs.is_unique(self.job_key, organization):
            if self.contact_organization_id is None:
                return (
                    f"{jobs.name} may have a job of the same {self.job_key!r} in each "
                    f"{organization!r}, so its contacts must be named by organization, too: map "
                    "their organization with contact_organization_id=..., or, if they refer to a "
                    "column that is unique by itself, map that one with job_key=..."
                )
            return (
                f"{jobs.name} may have several jobs of one {self.job_key!r} without "
                f"{organization!r}, because its unique index takes NULLs for different values: "
                "make the index NULLS NOT DISTINCT, or the column NOT NULL"
            )
        return (
            f"nothing says that {self.job_key!r} names one job of {jobs.name}: add a unique index "
            "that is valid and covers every row, or map the columns that have one "
            "(job_key=..., or job_organization_id=... and contact_organization_id=...)"
        )

    def reference_problem(self, jobs: Table, contacts: Table) -> str | None:
        """
        Return why a contact may be taken for another job's, or not for its own; None if it can't.

        Arguments:
            jobs: the table of jobs.
            contacts: the table of contacts.
        """
        references = (
            (self.job_key, self.contact_job_id),
            (self.job_organization_id, self.contact_organization_id),
        )
        for of_jobs, of_contacts in references:
            own, theirs = jobs.kinds.get(of_jobs or ""), contacts.kinds.get(of_contacts or "")
            if own is None or theirs in {None, own} or (own, theirs) in _AS_FINE:
                continue
            if theirs == TEXT:
                return (
                    f"{of_jobs!r} of {jobs.name} is of the type {own}, which may find equal what "
                    f"{of_contacts!r} of {contacts.name}, of the type {theirs}, tells apart, so a "
                    "contact could refer to its job in another spelling and be left open: let "
                    "both columns have one type and one collation"
                )
            return (
                f"{of_contacts!r} of {contacts.name} is of the type {theirs}, which may find "
                f"equal what {of_jobs!r} of {jobs.name}, of the type {own}, tells apart, so "
                "contacts of another job could be taken for a job's own: let both columns have "
                "one type and one collation"
            )
        return None

    def contact_problem(self, contacts: Table, *, has_organization: bool) -> str | None:
        """
        Return why a contact's id may name several contacts of one job; None if it can't.

        Arguments:
            contacts: the table of contacts.
            has_organization: whether the job in question is one of an organization.
        """
        if contacts.is_view:
            return None if self.are_unique else self._unseen(contacts, self.contact_id)
        if contacts.is_unique(
            self.contact_id,
            self.contact_job_id,
            self.contact_organization_id,
            of_no_organization=not has_organization,
        ):
            return None
        return (
            f"nothing says that {self.contact_id!r} names one contact of a job in "
            f"{contacts.name}: map a column that is unique within a job with contact_id=..., or "
            f"add a unique index on {self.contact_job_id!r} and {self.contact_id!r}"
        )

    def problems(self, jobs: Table, contacts: Table) -> Iterator[tuple[bool, str]]:
        """
        Yield what keeps a cancel, or only the workers' steps, from being right.

        Yields:
            whether it is the workers' steps alone, and the sentence. Jobs of no organization are
            asked about only where all jobs are.
        """
        has_organization = self.job_organization_id is not None
        job = self.job_problem(jobs, has_organization=has_organization) or self.reference_problem(
            jobs, contacts
        )
        if job is not None:
            yield False, job
        contact = self.contact_problem(contacts, has_organization=has_organization)
        if contact is not None:
            yield True, contact

    @staticmethod
    def _unseen(table: Table, column: str) -> str:
        return (
            f"{table.name} is a view, in which no index shows that {column!r} is unique: map the "
            "table behind it, or, if it is unique, declare that with keys_are_unique=True"
        )
