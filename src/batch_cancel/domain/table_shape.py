"""
Whether the keys of the adopter's tables are safe for a store, as pure rules.

Rule 1: an id is unique only if the database says so: by a unique index that is valid and covers
        every row. A view has no indexes; there the adopter declares it.
Rule 2: a contact belongs to a job if its reference names one job only. If the reference names one
        job of each organization, contacts must have the organization too.
Rule 3: most unique indexes take NULLs for different values: such an index on organization and id
        does not make jobs of no organization unique.
Rule 4: the column of the job and the reference of the contact must find the same values equal. An
        integer does not distinguish '1' from '01', nor does citext 'a' from 'A'.
Rule 5: tables that are not proved safe are refused with a sentence that says what to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

import attrs

from batch_cancel.domain.errors import StoreFailed, shown
from batch_cancel.domain.job import JobKey

TEXT: Final = "text"
"""The kind of a column that compares its values byte by byte."""

_AS_FINE: Final = frozenset(
    {("integer", "numeric"), (TEXT, "character"), ("integer", TEXT), ("uuid", TEXT)}
)
"""
Pairs of different kinds, of a job's column and of a contact's, that are safe. A padded column
ignores trailing blanks, and no two ids differ in those alone. An integer or a uuid has one text
form, by which a text column refers to it.
"""


_FORMS: Final = {
    "integer": re.compile(r"0|-?[1-9][0-9]*"),
    "uuid": re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
}
"""The forms in which columns show their ids, by kind."""


def is_one_form(kind: str | None, text: object) -> bool:
    """
    Check whether a text is an id in its one form: " 42 " is none, though a column reads it as 42.

    Arguments:
        kind: the kind of comparison of the id's column; only integers and uuids read other forms.
        text: the id; None for NULL.
    """
    form = _FORMS.get(kind or "")
    return form is None or text is None or form.fullmatch(str(text)) is not None


def reference(kind: str | None, referring: str | None, text: str | None) -> str | None:
    """
    Return an id as a column refers to it: a column of texts refers to a uuid in lower case.

    Arguments:
        kind: the kind of the id's column.
        referring: the kind of the column that refers to it.
        text: the id; None for NULL.
    """
    return text.lower() if (kind, referring) == ("uuid", TEXT) and text is not None else text


@attrs.frozen
class UniqueIndex:
    """
    A unique index that is valid and covers every row of its table.

    Arguments:
        columns: its columns.
        nulls_distinct: whether it takes NULLs for different values.
    """

    columns: frozenset[str]
    nulls_distinct: bool = True


@attrs.frozen
class Table:
    """
    What the database says about a table.

    Arguments:
        name: as messages name it.
        unique: its unique indexes.
        not_null: the columns that hold no NULL.
        is_view: whether it is a view; the catalog has neither of these for a view.
        kinds: the kind of comparison of each column: TEXT, or another name. Columns of one kind
            find the same values equal.
    """

    name: str
    unique: tuple[UniqueIndex, ...] = ()
    not_null: frozenset[str] = frozenset()
    is_view: bool = False
    kinds: Mapping[str, str] = attrs.field(factory=dict[str, str])

    def is_unique(self, *columns: str | None, of_no_organization: bool = False) -> bool:
        """
        Check whether these columns together are unique.

        Arguments:
            columns: the columns; None for a column that is not mapped.
            of_no_organization: whether the last column, the organization, is NULL in these rows.
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
    Return a new contact with the constants of the rows that count.

    Arguments:
        contact: its values by column.
        where: the constants by column.

    Raises:
        StoreFailed: it has another value in such a column.
    """
    for column, held in where.items():
        given = contact.get(column, held)
        if (given is None) is not (held is None) or str(given) != str(held):
            reason = (
                f"a new contact would not count: its {column!r} must be {held!r}, as "
                "contact_where says"
            )
            raise StoreFailed(reason)
    return {**where, **contact}


def columns_refused(own: Iterable[str], unknown: AbstractSet[object] = frozenset()) -> StoreFailed:
    """
    Return the error for a contact to be added by columns that are not the caller's to set.

    Arguments:
        own: the columns that the library sets.
        unknown: what was given for the names of columns, and is none; it is shown if it is a
            word, which no phone number is.
    """
    *names, last = map(repr, own)
    words = sorted(it for it in unknown if isinstance(it, str) and it.isidentifier())
    reason = f"a contact is given as values by column, without {', '.join(names)} and {last}"
    if words:
        reason += f"; there is no column {', '.join(map(shown, words))}"
    return StoreFailed(reason)


def check_referable(column: str | None, value: object, key: JobKey) -> None:
    """Refuse to add contacts to a job that has no value in the column that they refer to."""
    if value is None:
        reason = (
            f"the {column!r} of {shown(key.batch_job_id)} is NULL, so no contact can refer to "
            "this job: set it first"
        )
        raise StoreFailed(reason)


def check_nameable(column: str, ids: Iterable[str | None], key: JobKey) -> None:
    """Refuse a step that names contacts if one of them has NULL for its id."""
    if None in ids:
        reason = (
            f"a contact of {shown(key.batch_job_id)} can't be named, because its {column!r} is "
            "NULL: set it first, or map another column with contact_id=..."
        )
        raise StoreFailed(reason)


@attrs.frozen(kw_only=True)
class Keys:
    """
    The columns that identify jobs and contacts.

    Arguments:
        job_key: the jobs' column that contacts refer to.
        job_organization_id: a job's organization, if there is such a column.
        contact_id: a contact's id.
        contact_job_id: the contacts' column that refers to their job.
        contact_organization_id: a contact's organization, if there is such a column.
        are_unique: whether the adopter declares that they are unique, for views.
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
            has_organization: whether the job belongs to an organization.
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
                    f"{organization!r}, so contacts must be matched by organization too: map "
                    "their organization with contact_organization_id=..., or, if they refer to a "
                    "column that is unique by itself, map that one with job_key=..."
                )
            return (
                f"{jobs.name} may have several jobs of one {self.job_key!r} without "
                f"{organization!r}, because its unique index takes NULLs for different values: "
                "make the index NULLS NOT DISTINCT, or the column NOT NULL"
            )
        return (
            f"{self.job_key!r} of {jobs.name} is not known to be unique: add a unique index that "
            "is valid and covers every row, or map the columns that have one (job_key=..., or "
            "job_organization_id=... and contact_organization_id=...)"
        )

    def reference_problem(self, jobs: Table, contacts: Table) -> str | None:
        """
        Return why a contact may match another job, or not match its own; None if it can't.

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
                    f"{of_jobs!r} of {jobs.name}, of the type {own}, may find values equal that "
                    f"{of_contacts!r} of {contacts.name}, of the type {theirs}, distinguishes, so "
                    "a contact that refers to its job by such a value would be left open: give "
                    "both columns one type and one collation"
                )
            return (
                f"{of_contacts!r} of {contacts.name}, of the type {theirs}, may find values equal "
                f"that {of_jobs!r} of {jobs.name}, of the type {own}, distinguishes, so contacts "
                "of another job would be cancelled: give both columns one type and one collation"
            )
        return None

    def contact_problem(self, contacts: Table, *, has_organization: bool) -> str | None:
        """
        Return why a contact's id may name several contacts of one job; None if it can't.

        Arguments:
            contacts: the table of contacts.
            has_organization: whether the job belongs to an organization.
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
            f"{self.contact_id!r} of {contacts.name} is not known to be unique within a job: map "
            "a column that is unique within a job with contact_id=..., or add a unique index on "
            f"{self.contact_job_id!r} and {self.contact_id!r}"
        )

    def problems(self, jobs: Table, contacts: Table) -> Iterator[tuple[bool, str]]:
        """
        Yield what makes a cancel, or only the workers' steps, unsafe.

        Yields:
            whether only the workers' steps are unsafe, and the sentence. Jobs of no organization
            are checked only if no job has one.
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
            f"{table.name} is a view, and no index shows that its {column!r} is unique: map the "
            "table behind it, or declare that it is unique with keys_are_unique=True"
        )
