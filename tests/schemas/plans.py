"""
From the values of a case to the tables, their rows, and the mapping that an adopter would write.

The physical table of jobs or contacts is its `base`; what the mapping names may be a view of it or
a foreign table. The columns `rid`, `owner`, `origin` and `created_at` are in no mapping.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from tests.schemas.dimensions import Case
from tests.schemas.names import STYLES
from tests.schemas.worlds import Ids, StatusNames, World, furnish, status_names

ID_TYPES: Final = {
    "text": "text",
    "varchar": "varchar(80)",
    "char": "char(24)",
    "citext": "citext",
    "uuid": "uuid",
    "int": "integer",
    "bigint": "bigint",
    "domain of text": "job_name",
    "domain of bigint": "job_number",
}
ORGANIZATIONS: Final[Mapping[str, tuple[str | None, ...]]] = {
    "absent": (None,),
    "text": ("org-a", "org-b", "org-c"),
    "int": ("1", "2", "3"),
    "uuid": tuple(f"10000000-0000-4000-8000-00000000000{n}" for n in range(3)),
    "nullable": ("org-a", None, "org-b"),
    "unmapped": ("org-a", "org-b"),
}
STATUS_TYPES: Final = {
    "text": "text",
    "enum": "{}_status",
    "smallint": "smallint",
    "domain": "{}_word",
}
_VIEWS: Final = ("view", "foreign")


@attrs.frozen
class Column:
    """A column: what it is for, its name, and its type in Postgres."""

    role: str
    name: str
    type: str


@attrs.frozen
class Table:
    """What a mapping names, and the table beneath it; the same unless it is a view."""

    name: str
    base: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    """The columns, by role, of its unique key."""

    def __getitem__(self, role: str) -> str:
        return next(column.name for column in self.columns if column.role == role)

    def has(self, role: str) -> bool:
        """Return whether there is a column for this."""
        return any(column.role == role for column in self.columns)


@attrs.frozen
class Plan:
    """All of a case: its tables, its rows, and its mapping."""

    case: Case
    schema: str
    jobs: Table
    contacts: Table
    cancellations: str
    world: World
    mapping: Mapping[str, Any]
    target: str | None
    """The organization whose jobs are worked on."""

    @property
    def asked_organization(self) -> str | None:
        """What the library is told of the target's organization."""
        return None if self.case["organization"] == "unmapped" else self.target


def id_type(case: Case) -> str:
    """Return the type of the contacts' ids."""
    return {"uuid": "uuid", "number": "bigint", "text": "text"}[kind_of_ids(case)]


def kind_of_ids(case: Case) -> Any:
    """Return of what kind the ids are: text, number or uuid."""
    name = case["id type"]
    return "number" if "int" in name else "uuid" if name == "uuid" else "text"


def plan(case: Case, schema: str) -> Plan:
    """Return everything about a case."""
    jobs, contacts = _jobs(case), _contacts(case)
    organizations = ORGANIZATIONS[case["organization"]]
    target = organizations[min(1, len(organizations) - 1)]
    world = furnish(
        organizations,
        _ids(case),
        _spellings(case),
        surrogate="surrogate" in case["key"],
        twin=_twin(case, target),
        soft=case["soft deletion"] != "none",
        target=target,
    )
    cancellations = STYLES[case["names"]]("cancellations")
    mapping = _mapping(
        case,
        schema,
        jobs,
        contacts,
        cancellations=cancellations,
        status_names=world.status_names,
    )
    return Plan(case, schema, jobs, contacts, cancellations, world, mapping, target)


def _twin(case: Case, target: str | None) -> tuple[str, str | None] | None:
    if case["unique by"].startswith("jobs:"):
        return "pending", target
    return None


def _ids(case: Case) -> Ids:
    per_organization = case["key"] in {"organization, id", "surrogate, id per organization"}
    if case["unique by"].startswith("contacts:") or case["contact key"] == "created, id":
        contacts: Any = "none"
    else:
        contacts = {"id": "all", "job, id": "reference"}.get(case["contact key"], "job")
    return Ids(kind_of_ids(case), per_organization, contacts)


def _spellings(case: Case) -> StatusNames:
    return status_names(case["status names"], numbers=case["status type"] == "smallint")


def _organization_type(case: Case) -> str:
    return {"int": "integer", "uuid": "uuid"}.get(case["organization"], "text")


def _columns(case: Case, columns: Mapping[str, tuple[str, str]]) -> tuple[Column, ...]:
    style = STYLES[case["names"]]
    return (
        *(Column(role, style(name), kind) for role, (name, kind) in columns.items()),
        Column("created", "created_at", "timestamptz"),
    )


def _table(case: Case, name: str, columns: tuple[Column, ...], key: tuple[str, ...]) -> Table:
    visible = STYLES[case["names"]](name)
    base = f"{visible} base" if case["relation"].startswith(_VIEWS) else visible
    return Table(visible, base, columns, key)


def _soft(case: Case) -> dict[str, tuple[str, str]]:
    kinds = {
        "time": ("deleted_at", "timestamptz"),
        "flag": ("is_deleted", "boolean"),
        "kind": ("kind", "text"),
    }
    kind = kinds.get(case["soft deletion"])
    return {} if kind is None else {"deleted": kind}


def _status(case: Case, kind: str) -> tuple[str, str]:
    return "status", STATUS_TYPES[case["status type"]].format(kind)


def _jobs(case: Case) -> Table:
    columns = {"id": ("id", ID_TYPES[case["id type"]])}
    if "surrogate" in case["key"]:
        columns["reference"] = ("pk", "bigint")
    if case["organization"] != "absent":
        columns["organization"] = ("organization_id", _organization_type(case))
    columns |= {
        "status": _status(case, "job"),
        "deferred": ("scheduled_job_id", "text"),
        "updated": ("updated_at", "timestamptz"),
        "version": ("version", "integer"),
        **_soft(case),
    }
    per_organization = case["key"] in {"organization, id", "surrogate, id per organization"}
    key = ("organization", "id") if per_organization else ("id",)
    return _table(case, "jobs", _columns(case, columns), key)


def _contacts(case: Case) -> Table:
    reference = "bigint" if "surrogate" in case["key"] else ID_TYPES[case["id type"]]
    columns = {"id": ("id", id_type(case)), "job": ("batch_job_id", reference)}
    if case["contact organization"] != "absent":
        columns["organization"] = ("organization_id", _organization_type(case))
    columns |= {
        "status": _status(case, "contact"),
        "next": ("next_attempt_at", "timestamptz"),
        "updated": ("updated_at", "timestamptz"),
        "version": ("version", "integer"),
        "since": ("dialing_since", "timestamptz"),
        **_soft(case),
    }
    key = tuple(case["contact key"].split(", "))
    return _table(case, "contacts", _columns(case, columns), key)


def _mapping(
    case: Case,
    schema: str,
    jobs: Table,
    contacts: Table,
    *,
    cancellations: str,
    status_names: StatusNames,
) -> dict[str, Any]:
    def placed(name: str) -> str | tuple[str, str]:
        return name if case["path"] == "search_path" else (schema, name)

    is_mapped = case["organization"] not in {"absent", "unmapped"}
    is_updated = case["times"] in {"updated", "both"}
    mapping: dict[str, Any] = {
        "jobs": placed(jobs.name),
        "job_id": jobs["id"],
        "job_organization_id": jobs["organization"] if is_mapped else None,
        "job_status": jobs["status"],
        "job_deferred_id": jobs["deferred"] if case["deferred id"] == "mapped" else None,
        "job_updated_at": jobs["updated"] if is_updated else None,
        "contacts": placed(contacts.name),
        "contact_id": contacts["id"],
        "contact_job_id": contacts["job"],
        "contact_status": contacts["status"],
        "contact_next_attempt_at": contacts["next"] if case["next attempt"] == "mapped" else None,
        "contact_updated_at": contacts["updated"] if is_updated else None,
        "cancellations": placed(cancellations),
    }
    # Only what is said is passed: the rest has its default, also in a release without it.
    if "surrogate" in case["key"]:
        mapping["job_key"] = jobs["reference"]
    if case["contact organization"] == "mapped":
        mapping["contact_organization_id"] = contacts["organization"]
    if case["version"] == "mapped":
        mapping |= {"job_version": jobs["version"], "contact_version": contacts["version"]}
    if case["times"] in {"since", "both"}:
        mapping["contact_dialing_since"] = contacts["since"]
    if case["relation"] in {"view, with the word", "view, instead of", "table, with the word"}:
        mapping["keys_are_unique"] = True
    if case["relation"] in {"view, instead of nothing", "view that hides cancelled rows"}:
        mapping["keys_are_unique"] = True
    if case["soft deletion"] in {"time", "flag"}:
        constant = None if case["soft deletion"] == "time" else False
        mapping["job_where"] = {jobs["deleted"]: constant}
        mapping["contact_where"] = {contacts["deleted"]: constant}
    return mapping | _statuses(case, status_names)


def _statuses(case: Case, status_names: StatusNames) -> dict[str, Any]:
    if case["status names"] == "contract":
        return {}

    def given(each: tuple[str, ...]) -> Any:
        values = tuple(int(it) if status_names.are_numbers else it for it in each)
        return values if len(values) > 1 else next(iter(values))

    return {
        "job_statuses": {status: given(each) for status, each in status_names.jobs.items()},
        "contact_statuses": {
            status: given(each) for status, each in status_names.contacts.items()
        },
    }
