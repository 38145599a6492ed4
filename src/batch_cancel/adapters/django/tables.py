"""
The adopter's models: which tables and columns their fields are.

Rule 1: what a model says of a field is honoured, or refused with a sentence that says what to do.
        It is never passed over.
Rule 2: contacts refer to the column that their foreign key names, whether or not `job_key` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from django.core.exceptions import FieldDoesNotExist
from django.db.models import ForeignKey, IntegerField, Model

from batch_cancel.adapters.postgres.schema import Constant, PostgresSchema
from batch_cancel.adapters.postgres.schema import Table as TableName
from batch_cancel.domain.status_names import Given
from batch_cancel.domain.statuses import ContactStatus, JobStatus

_PRIMARY_KEY = "pk"


def _schema(tables: DjangoTables) -> PostgresSchema:
    return PostgresSchema(
        jobs=_table(tables.jobs, "jobs"),
        contacts=_table(tables.contacts, "contacts"),
        keys_are_unique=tables.keys_are_unique,
        **_columns(tables),
        job_key=_job_key(tables),
    )


@attrs.frozen(kw_only=True)
class DjangoTables:
    """
    Your models, and the names of their fields.

    A field is named as in the model, with or without the `_id` of a foreign key; `pk` is the
    primary key.

    Arguments:
        jobs: the model of jobs.
        contacts: the model of contacts.
        job_id: the id of a job, as callers pass it; text, uuid or integer.
        job_key: the field of jobs that contacts refer to; by default the one that their foreign
            key names.
        job_organization_id: the owning organization; None if there is no such field: then every
            job is a job of no organization.
        job_status: its status, as text or as a number.
        job_deferred_id: the id of its deferred start; None if there is no such field: then the
            job's own id is the id of its deferred start.
        job_updated_at: set when the job is changed; None if there is no such field.
        job_created_at: when the job was created; None if there is no such field. Only a
            `JobFilter` asks for it.
        job_scheduled_at: when the job is to start, likewise.
        job_version: incremented when the job is changed, for optimistic locking; None if there is
            no such field.
        job_statuses: the names of the six statuses in the table, such as members of your
            `TextChoices` or `IntegerChoices`; by default the contract's words.
        job_where: constants of the rows that count, such as `{"deleted_at": None}`; a row with
            another value is not a job.
        contact_id: the id of a contact, unique within its job.
        contact_job_id: its job.
        contact_organization_id: its organization; None if there is no such field. Needed where
            jobs are unique only within an organization.
        contact_status: its status.
        contact_next_attempt_at: when it may be dialled, NULL for at once; None if there is no such
            field: then every contact is due.
        contact_updated_at: set when a contact is changed; None if there is no such field.
        contact_dialing_since: set when a contact is claimed; None if there is no such field: then
            `contact_updated_at` serves.
        contact_version: as `job_version`; 1 in a new contact.
        contact_statuses: the names of the twelve statuses, likewise.
        contact_where: constants of the rows that count; other rows are not contacts.
        keys_are_unique: declares that ids are unique in the views that unmanaged models map; for
            tables, unique indexes show it.

    Raises:
        TypeError: `jobs` or `contacts` is not a model.
        ValueError: a model has no such field, or the field is in another table, or not in one
            column; a status field holds numbers, and the statuses have none.
    """

    jobs: type[Any]
    contacts: type[Any]
    job_id: str = _PRIMARY_KEY
    job_key: str | None = None
    job_organization_id: str | None = "organization_id"
    job_status: str = "status"
    job_deferred_id: str | None = "scheduled_job_id"
    job_updated_at: str | None = "updated_at"
    job_created_at: str | None = None
    job_scheduled_at: str | None = None
    job_version: str | None = None
    job_statuses: Mapping[JobStatus, Given] | Mapping[str, Given] = attrs.field(
        factory=dict[str, Given]
    )
    job_where: Mapping[str, Constant] = attrs.field(factory=dict[str, Constant])
    contact_id: str = _PRIMARY_KEY
    contact_job_id: str = "batch_job_id"
    contact_organization_id: str | None = None
    contact_status: str = "status"
    contact_next_attempt_at: str | None = "next_attempt_at"
    contact_updated_at: str | None = "updated_at"
    contact_dialing_since: str | None = None
    contact_version: str | None = None
    contact_statuses: Mapping[ContactStatus, Given] | Mapping[str, Given] = attrs.field(
        factory=dict[str, Given]
    )
    contact_where: Mapping[str, Constant] = attrs.field(factory=dict[str, Constant])
    keys_are_unique: bool = False
    schema: PostgresSchema = attrs.field(
        default=attrs.Factory(_schema, takes_self=True), init=False, repr=False
    )
    """The names of the tables and columns that these are."""


def _table(model: Any, argument: str) -> TableName:
    """
    Return the table of a model; a schema may stand before it, as in `'calls"."campaign'`.

    Raises:
        TypeError: it is not a model, or has no table of its own.
    """
    meta: Any = getattr(model, "_meta", None)
    is_model = isinstance(model, type) and issubclass(model, Model)
    if not is_model or meta is None or meta.abstract:
        msg = f"{argument} must be a model with a table, got {model!r}"
        raise TypeError(msg)
    parts = str(meta.db_table).strip('"').split('"."')
    return (parts[0], parts[1]) if len(parts) > 1 else parts[0]


def _columns(tables: DjangoTables) -> dict[str, Any]:
    """Return the arguments of a `PostgresSchema` that are about columns."""
    names = dict[str, Any]()
    for argument in attrs.fields_dict(DjangoTables):
        model = {"job": tables.jobs, "contact": tables.contacts}.get(argument.partition("_")[0])
        if model is None or argument == "job_key":
            continue
        given = getattr(tables, argument)
        if argument.endswith("_statuses"):
            of = f"{argument.removesuffix('es')}"
            _check_statuses(_field(model, getattr(tables, of), of), given, argument)
            names[argument] = given
        elif argument.endswith("_where"):
            names[argument] = {
                _field(model, name, argument).column: getattr(constant, "value", constant)
                for name, constant in given.items()
            }
        else:
            names[argument] = None if given is None else _field(model, given, argument).column
    return names


def _job_key(tables: DjangoTables) -> str | None:
    """
    Return the column of jobs that contacts refer to; None if it is the id.

    Raises:
        ValueError: `job_key` is another field than the one that the foreign key names.
    """
    named = None
    if tables.job_key is not None:
        named = _field(tables.jobs, tables.job_key, "job_key").column
    reference = _field(tables.contacts, tables.contact_job_id, "contact_job_id")
    if not isinstance(reference, ForeignKey):
        return named
    target = reference.target_field
    jobs, theirs = tables.jobs._meta.db_table, target.model._meta.db_table
    if theirs != jobs or named not in {None, target.column}:
        msg = (
            f"contact_job_id: {tables.contacts.__name__}.{reference.name} refers to "
            f"{target.model.__name__}.{target.name}: name that model and that field, or another "
            "field of contacts"
        )
        raise ValueError(msg)
    is_id = target.column == _field(tables.jobs, tables.job_id, "job_id").column
    return None if is_id else str(target.column)


def _field(model: Any, name: str, argument: str) -> Any:
    """
    Return a field that is a column of the model's table.

    Raises:
        ValueError: there is none.
    """
    meta = model._meta
    try:
        field = meta.pk if name == _PRIMARY_KEY else meta.get_field(name)
    except FieldDoesNotExist:
        msg = f"{argument}: {model.__name__} has no field {name!r}"
        if argument in _OPTIONAL:
            msg += f"; pass {argument}=None if there is none"
        raise ValueError(msg) from None
    if getattr(field, "column", None) is None or field.many_to_many:
        msg = f"{argument}: {model.__name__}.{name} is not one column of its table"
        raise ValueError(msg)
    if field.model._meta.concrete_model is not meta.concrete_model:
        msg = (
            f"{argument}: {model.__name__}.{name} is in the table of {field.model.__name__}: all "
            "fields of a model must be in one table"
        )
        raise ValueError(msg)
    return field


_OPTIONAL = {it.name for it in attrs.fields(DjangoTables) if it.type in {"str | None", str | None}}


def _check_statuses(field: Any, given: object, argument: str) -> None:
    if isinstance(field, IntegerField) and not given:
        msg = (
            f"{argument} is needed: {field.model.__name__}.{field.name} holds numbers, so name "
            "the number of each status"
        )
        raise ValueError(msg)
