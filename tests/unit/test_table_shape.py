"""Whether tables are of a shape on which a store can be right: by hand, without a database."""

from __future__ import annotations

import attrs
import pytest

from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.job import JobKey
from batch_cancel.domain.table_shape import (
    Keys,
    Table,
    UniqueIndex,
    check_nameable,
    check_referable,
    columns_refused,
    counted,
)

KEYS = Keys(
    job_key="key",
    job_organization_id="org",
    contact_id="contact",
    contact_job_id="job",
    contact_organization_id="contact_org",
    are_unique=False,
)
WITHOUT = attrs.evolve(KEYS, contact_organization_id=None)
"""The same where contacts have no organization."""

UNORGANIZED = attrs.evolve(KEYS, job_organization_id=None, contact_organization_id=None)
"""The same where jobs have none either."""


def table(*unique: UniqueIndex, not_null: tuple[str, ...] = (), is_view: bool = False) -> Table:
    """Describe a table of jobs or contacts."""
    return Table("tables.it", unique, frozenset(not_null), is_view)


def over(*columns: str, nulls_distinct: bool = True) -> UniqueIndex:
    """Describe a unique index."""
    return UniqueIndex(frozenset(columns), nulls_distinct)


# Unique ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("indexes", "columns", "expected"),
    [
        ([], ["id"], False),
        ([over("id")], ["id"], True),
        ([over("id")], ["id", "org"], True),
        ([over("id")], ["org"], False),
        ([over("id", "org")], ["id"], False),
        ([over("id", "org")], ["id", "org"], True),
        ([over("id", "org")], ["org", "id"], True),
        ([over("id", "org", "day")], ["id", "org"], False),
        ([over("id", "day"), over("id")], ["id", "org"], True),
        ([over("id")], ["id", None], True),
        ([over("id", "org")], ["id", None], False),
    ],
)
def test_what_a_unique_index_covers(
    indexes: list[UniqueIndex], columns: list[str | None], *, expected: bool
) -> None:
    """Rows of equal values in the columns are one row if an index is over some of them alone."""
    assert table(*indexes).is_unique(*columns) is expected


@pytest.mark.parametrize(
    ("index", "not_null", "expected"),
    [
        (over("id", "org"), (), False),
        (over("id", "org"), ("org",), True),
        (over("id", "org"), ("id",), False),
        (over("id", "org", nulls_distinct=False), (), True),
        (over("id"), (), True),
    ],
)
def test_an_index_distinguishes_nulls(
    index: UniqueIndex, not_null: tuple[str, ...], *, expected: bool
) -> None:
    """Of rows of no organization it says nothing, unless the column holds no NULL."""
    made = table(index, not_null=not_null)
    assert made.is_unique("id", "org", of_no_organization=True) is expected
    assert made.is_unique("id", "org") is True
    assert made.is_unique("id", "org", of_no_organization=False) is True


def test_where_no_column_is_mapped_for_it_no_index_is_over_the_organization() -> None:
    """Then every job is one of no organization."""
    assert table(over("id")).is_unique("id", None, of_no_organization=True) is True
    assert table(over("id", "org")).is_unique("id", None, of_no_organization=True) is False


# Jobs --------------------------------------------------------------------------------------------

ADD_AN_INDEX = (
    "'key' of tables.it is not known to be unique: add a unique index that is valid and covers "
    "every row, or map the columns that have one (job_key=..., or job_organization_id=... and "
    "contact_organization_id=...)"
)
MAP_THE_ORGANIZATION = (
    "tables.it may have a job of the same 'key' in each 'org', so contacts must be matched by "
    "organization too: map their organization with contact_organization_id=..., or, if they "
    "refer to a column that is unique by itself, map that one with job_key=..."
)
NULLS = (
    "tables.it may have several jobs of one 'key' without 'org', because its unique index takes "
    "NULLs for different values: make the index NULLS NOT DISTINCT, or the column NOT NULL"
)


@pytest.mark.parametrize(
    ("keys", "jobs", "of_one", "of_none"),
    [
        (KEYS, table(), ADD_AN_INDEX, ADD_AN_INDEX),
        (KEYS, table(over("key")), None, None),
        (WITHOUT, table(over("key")), None, None),
        (UNORGANIZED, table(over("key")), None, None),
        (KEYS, table(over("id")), ADD_AN_INDEX, ADD_AN_INDEX),
        (KEYS, table(over("key", "org")), None, NULLS),
        (KEYS, table(over("key", "org"), not_null=("org",)), None, None),
        (KEYS, table(over("key", "org", nulls_distinct=False)), None, None),
        (WITHOUT, table(over("key", "org")), MAP_THE_ORGANIZATION, MAP_THE_ORGANIZATION),
        (UNORGANIZED, table(over("key", "org")), ADD_AN_INDEX, ADD_AN_INDEX),
        (KEYS, table(over("key", "org", "day")), ADD_AN_INDEX, ADD_AN_INDEX),
        # Of a table the database itself tells, whatever the adopter says.
        (attrs.evolve(KEYS, are_unique=True), table(), ADD_AN_INDEX, ADD_AN_INDEX),
    ],
)
def test_whether_a_jobs_key_names_one_jobs_contacts(
    keys: Keys, jobs: Table, of_one: str | None, of_none: str | None
) -> None:
    """For a job of an organization, and for one of none."""
    assert keys.job_problem(jobs, has_organization=True) == of_one
    assert keys.job_problem(jobs, has_organization=False) == of_none


VIEW = table(is_view=True)
VIEW_OF_JOBS = (
    "tables.it is a view, and no index shows that its 'key' is unique: map the table behind it, "
    "or declare that it is unique with keys_are_unique=True"
)
VIEW_OF_CONTACTS = VIEW_OF_JOBS.replace("'key'", "'contact'")


@pytest.mark.parametrize("has_organization", [False, True])
def test_of_a_view_the_adopters_word_counts(*, has_organization: bool) -> None:
    """Nobody sees its indexes."""
    vouched = attrs.evolve(KEYS, are_unique=True)
    assert KEYS.job_problem(VIEW, has_organization=has_organization) == VIEW_OF_JOBS
    assert KEYS.contact_problem(VIEW, has_organization=has_organization) == VIEW_OF_CONTACTS
    assert vouched.job_problem(VIEW, has_organization=has_organization) is None
    assert vouched.contact_problem(VIEW, has_organization=has_organization) is None


# Contacts ----------------------------------------------------------------------------------------

ADD_TO_CONTACTS = (
    "'contact' of tables.it is not known to be unique within a job: map a column that is unique "
    "within a job with contact_id=..., or add a unique index on 'job' and 'contact'"
)


@pytest.mark.parametrize(
    ("keys", "contacts", "of_one", "of_none"),
    [
        (KEYS, table(), ADD_TO_CONTACTS, ADD_TO_CONTACTS),
        (KEYS, table(over("contact")), None, None),
        (KEYS, table(over("contact", "job")), None, None),
        (WITHOUT, table(over("contact", "job")), None, None),
        (KEYS, table(over("contact", "contact_org")), None, ADD_TO_CONTACTS),
        (KEYS, table(over("contact", "contact_org"), not_null=("contact_org",)), None, None),
        (KEYS, table(over("contact", "job", "contact_org")), None, ADD_TO_CONTACTS),
        (KEYS, table(over("contact", "contact_org", nulls_distinct=False)), None, None),
        (WITHOUT, table(over("contact", "contact_org")), ADD_TO_CONTACTS, ADD_TO_CONTACTS),
        (KEYS, table(over("job")), None, None),
        (KEYS, table(over("contact", "day")), ADD_TO_CONTACTS, ADD_TO_CONTACTS),
        (attrs.evolve(KEYS, are_unique=True), table(), ADD_TO_CONTACTS, ADD_TO_CONTACTS),
    ],
)
def test_whether_a_contacts_id_names_one_contact_of_a_job(
    keys: Keys, contacts: Table, of_one: str | None, of_none: str | None
) -> None:
    """For a job of an organization, and for one of none."""
    assert keys.contact_problem(contacts, has_organization=True) == of_one
    assert keys.contact_problem(contacts, has_organization=False) == of_none


# Both --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "jobs", "contacts", "expected"),
    [
        (KEYS, table(over("key")), table(over("contact")), []),
        (KEYS, table(), table(over("contact")), [(False, ADD_AN_INDEX)]),
        (KEYS, table(over("key")), table(), [(True, ADD_TO_CONTACTS)]),
        (KEYS, table(), table(), [(False, ADD_AN_INDEX), (True, ADD_TO_CONTACTS)]),
        # Where jobs have organizations, those of none are not asked about.
        (KEYS, table(over("key", "org")), table(over("contact", "contact_org")), []),
        (
            UNORGANIZED,
            table(over("key", "org")),
            table(over("contact", "contact_org")),
            [(False, ADD_AN_INDEX), (True, ADD_TO_CONTACTS)],
        ),
        (
            KEYS,
            VIEW,
            VIEW,
            [(False, VIEW_OF_JOBS), (True, VIEW_OF_CONTACTS)],
        ),
    ],
)
def test_what_keeps_a_cancel_or_the_workers_from_being_right(
    keys: Keys, jobs: Table, contacts: Table, expected: list[tuple[bool, str]]
) -> None:
    """A cancel needs to know a job, a worker its contacts as well."""
    assert list(keys.problems(jobs, contacts)) == expected


# References --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of_jobs", "of_contacts", "is_right"),
    [
        ("text", "text", True),
        ("integer", "integer", True),
        ("uuid", "text", True),
        ("integer", "text", True),
        ("character", "character", True),
        ("citext", "citext", True),
        ("integer", "numeric", True),
        ("text", "integer", False),
        ("text", "citext", False),
        ("text", "character", True),
        ("citext", "character", False),
        ("text", "uuid", False),
        ("numeric", "integer", False),
        (None, "integer", True),
        ("text", None, True),
    ],
)
@pytest.mark.parametrize("columns", [("key", "job"), ("org", "contact_org")])
def test_what_contacts_refer_by_must_be_as_fine_as_what_jobs_are_named_by(
    of_jobs: str | None, of_contacts: str | None, columns: tuple[str, str], *, is_right: bool
) -> None:
    """Else a contact refers to several jobs at once; what is not known is not asked about."""
    ours, theirs = columns
    kinds = {} if of_jobs is None else {ours: of_jobs}
    jobs = attrs.evolve(table(over("key")), kinds=kinds)
    kinds = {} if of_contacts is None else {theirs: of_contacts}
    contacts = attrs.evolve(table(over("contact")), kinds=kinds)
    problems = [sentence for _, sentence in KEYS.problems(jobs, contacts)]
    assert bool(problems) is not is_right
    for sentence in problems:
        assert sentence.startswith(
            f"{theirs!r} of tables.it, of the type {of_contacts}, may find values equal that "
            f"{ours!r} of tables.it, of the type {of_jobs}, distinguishes"
        )


@pytest.mark.parametrize("columns", [("key", "job"), ("org", "contact_org")])
@pytest.mark.parametrize(
    "of_jobs",
    [
        *("citext", "public.citext", "numeric", "character", "real", "double precision"),
        *("text collate folding", "text without case", "text without trailing blanks"),
    ],
)
def test_a_text_does_not_refer_to_jobs_that_are_named_by_what_is_coarser(
    of_jobs: str, columns: tuple[str, str]
) -> None:
    """A contact would refer to the job in another spelling, and be left open by its cancel."""
    ours, theirs = columns
    jobs = attrs.evolve(table(over("key")), kinds={ours: of_jobs})
    contacts = attrs.evolve(table(over("contact")), kinds={theirs: "text"})
    [(is_of_workers, sentence)] = KEYS.problems(jobs, contacts)
    assert is_of_workers is False
    assert sentence == (
        f"{ours!r} of tables.it, of the type {of_jobs}, may find values equal that {theirs!r} of "
        "tables.it, of the type text, distinguishes, so a contact that refers to its job by such "
        "a value would be left open: give both columns one type and one collation"
    )


def test_columns_that_are_not_the_callers_to_set_are_named() -> None:
    """However many they are."""
    for own, named in (("ab", "'a' and 'b'"), ("abc", "'a', 'b' and 'c'")):
        reason = f"a contact is given as values by column, without {named}"
        assert columns_refused(own).reason == reason
        unknown = columns_refused(own, {"phoen", "name", "x" * 999}).reason
        assert unknown.startswith(f"{reason}; there is no column 'name', 'phoen', 'xxx")
        assert len(unknown) < 500
        assert columns_refused(own, {"+49 30 901820", "4930901820", 5}).reason == reason


def test_a_contact_is_not_added_to_a_job_that_none_can_refer_to() -> None:
    """The job has nothing in the column that contacts refer to."""
    check_referable("number", 0, JobKey("j"))
    with pytest.raises(StoreFailed) as refused:
        check_referable("number", None, JobKey("j"))
    assert refused.value.reason == (
        "the 'number' of 'j' is NULL, so no contact can refer to this job: set it first"
    )


def test_a_contact_without_an_id_is_not_named() -> None:
    """It has NULL in the column of its id."""
    check_nameable("number", ["1", "None"], JobKey("j"))
    with pytest.raises(StoreFailed) as refused:
        check_nameable("number", ["1", None], JobKey("j"))
    assert refused.value.reason == (
        "a contact of 'j' can't be named, because its 'number' is NULL: set it first, or map "
        "another column with contact_id=..."
    )


def test_a_contact_that_is_added_holds_what_makes_it_count() -> None:
    """The constants of the mapping are added; the caller may repeat them."""
    where = {"kind": "voice", "deleted_at": None, "level": 1}
    held = {"kind": "voice", "deleted_at": None, "level": 1}
    assert counted({"id": 7}, where) == {**held, "id": 7}
    assert counted({"id": 7, "level": "1"}, where) == {**held, "id": 7, "level": "1"}
    assert counted({"id": 7}, {}) == {"id": 7}


@pytest.mark.parametrize(("column", "held"), [("kind", "'voice'"), ("deleted_at", "None")])
def test_a_contact_that_would_not_count_is_refused(column: str, held: str) -> None:
    """It would be added and never called."""
    where = {"kind": "voice", "deleted_at": None}
    with pytest.raises(StoreFailed) as refused:
        counted({column: "else"}, where)
    assert refused.value.reason == (
        f"a new contact would not count: its '{column}' must be {held}, as contact_where says"
    )


# The types of the columns that refer to each other -----------------------------------------------


def typed(name: str, **kinds: str) -> Table:
    """Describe a table whose columns are of these kinds."""
    return Table(name, (), frozenset(), is_view=False, kinds=kinds)


@pytest.mark.parametrize(
    ("of_jobs", "of_contacts", "problem"),
    [
        ("text", "text", None),
        ("integer", "integer", None),
        (
            "citext",
            "text",
            (
                "'key' of a.jobs, of the type citext, may find values equal that 'job' of "
                "a.contacts, of the type text, distinguishes, so a contact that refers to its "
                "job by such a value would be left open: give both columns one type and one "
                "collation"
            ),
        ),
        (
            "text",
            "citext",
            (
                "'job' of a.contacts, of the type citext, may find values equal that 'key' of "
                "a.jobs, of the type text, distinguishes, so contacts of another job would be "
                "cancelled: give both columns one type and one collation"
            ),
        ),
    ],
)
def test_columns_that_refer_to_each_other_compare_alike(
    of_jobs: str, of_contacts: str, problem: str | None
) -> None:
    """Otherwise a contact has no job, or more than one."""
    jobs, contacts = typed("a.jobs", key=of_jobs), typed("a.contacts", job=of_contacts)
    assert UNORGANIZED.reference_problem(jobs, contacts) == problem
