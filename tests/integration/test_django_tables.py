"""`DjangoTables`: what the names of models and fields are in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from batch_cancel.adapters.postgres import PostgresSchema
from tests import django_project

if TYPE_CHECKING:
    from collections.abc import Iterator

django_project.configure()

from django.db import models  # noqa: E402  # It needs settings.

CASCADE = models.CASCADE


@pytest.fixture(autouse=True)
def _own_registry() -> Iterator[None]:
    """Keep the models of a test apart from those of the site."""
    from django.test.utils import isolate_apps

    isolated: Any = isolate_apps("tests.django_calls")
    with isolated:
        yield


def meta(**options: Any) -> type:
    """Return the options of a model of this app."""
    return type("Meta", (), {"app_label": "calls", **options})


def job_model(**fields: Any) -> Any:
    """Make a model of jobs with the names that are the default, and these."""
    own = {
        "organization_id": models.TextField(null=True),
        "status": models.TextField(),
        "scheduled_job_id": models.TextField(null=True),
        "updated_at": models.DateTimeField(auto_now=True),
        "Meta": meta(db_table="jobs"),
        **fields,
    }
    return type("Job", (models.Model,), {"__module__": __name__, **own})


def contact_model(job: Any = None, **fields: Any) -> Any:
    """Make a model of contacts, likewise."""
    own = {
        "status": models.TextField(),
        "next_attempt_at": models.DateTimeField(null=True),
        "updated_at": models.DateTimeField(auto_now=True),
        "Meta": meta(db_table="contacts"),
        **fields,
    }
    if job is not None:
        own["batch_job"] = models.ForeignKey(job, on_delete=CASCADE)
    return type("Contact", (models.Model,), {"__module__": __name__, **own})


def tables(job: Any, contact: Any, **names: Any) -> PostgresSchema:
    """Return the schema."""
    from batch_cancel.adapters.django import DjangoTables

    return DjangoTables(jobs=job, contacts=contact, **names).schema


def test_the_names_are_those_of_the_database() -> None:
    """Of fields, foreign keys with and without `_id`, of `db_column`; statuses, constants."""
    from tests.django_calls.wiring import TABLES

    schema = TABLES.schema
    assert (schema.jobs, schema.contacts) == ("campaign", "call")
    assert (schema.job_id, schema.job_key, schema.contact_job_id) == ("slug", "id", "campaign_id")
    assert (schema.job_organization_id, schema.job_status) == ("owner", "state")
    assert schema.job_deferred_id == "deferred_start"
    assert schema.job_where == {"removed": None}
    names = {str(status): it for status, it in schema.job_statuses.items()}
    assert names["running"] == ("ACTIVE", "PAUSED")
    assert {type(it) for several in names.values() for it in several} == {str}
    assert schema.contact_updated_at == "changed"


def test_by_default_they_are_the_names_of_the_reference_tables() -> None:
    """But for times that only a filter asks for: those are named, or not there."""
    job = job_model()
    expected = PostgresSchema(jobs="jobs", contacts="contacts", job_created_at=None)
    assert tables(job, contact_model(job)) == expected


def test_the_primary_key_may_have_any_name() -> None:
    """And any type."""
    job = job_model(code=models.UUIDField(primary_key=True))
    assert tables(job, contact_model(job)).job_id == "code"


def test_contacts_may_refer_to_another_column_than_the_id() -> None:
    """Their foreign key says so, with or without `job_key`."""
    job = job_model(name=models.TextField(unique=True, db_column="called"))
    contact = contact_model(batch_job=models.ForeignKey(job, on_delete=CASCADE, to_field="name"))
    assert tables(job, contact).job_key == "called"
    assert tables(job, contact, job_key="name").job_key == "called"
    assert tables(job, contact, job_id="name").job_key is None
    with pytest.raises(ValueError, match=r"Contact.batch_job refers to Job.name"):
        tables(job, contact, job_key="pk")


def test_contacts_without_a_foreign_key_refer_to_what_is_named() -> None:
    """As a plain column does."""
    job = job_model(name=models.TextField(unique=True))
    contact = contact_model(batch_job_id=models.TextField())
    assert tables(job, contact).job_key is None
    assert tables(job, contact, job_key="name").job_key == "name"


def test_contacts_that_refer_to_another_model_are_refused() -> None:
    """No contact would ever be found."""
    other = type(
        "Other", (models.Model,), {"__module__": __name__, "Meta": meta(db_table="others")}
    )
    with pytest.raises(ValueError, match=r"Contact.batch_job refers to Other.id"):
        tables(job_model(), contact_model(other))


@pytest.mark.parametrize("name", ['calls"."jobs', '"calls"."jobs"'])
def test_a_table_in_a_schema(name: str) -> None:
    """As Django's users name it, for want of an option."""
    job = job_model(Meta=meta(db_table=name))
    assert tables(job, contact_model(batch_job_id=models.TextField())).jobs == ("calls", "jobs")


def test_fields_of_a_proxy() -> None:
    """They are in the table of its model."""
    job = job_model()
    proxy = type("Proxy", (job,), {"__module__": __name__, "Meta": meta(proxy=True)})
    contact = contact_model(job)
    assert tables(proxy, contact) == tables(job, contact)


def test_fields_of_an_abstract_model() -> None:
    """They are in the model's own table; the abstract one has none."""
    own = {"__module__": __name__, "state": models.TextField()}
    base = type("Base", (models.Model,), {**own, "Meta": meta(abstract=True)})
    child = type("Child", (base,), {"__module__": __name__, "Meta": meta(db_table="children")})
    contact = contact_model(batch_job_id=models.TextField())
    names: dict[str, Any] = {
        f"job_{it}": None for it in ("organization_id", "deferred_id", "updated_at")
    }
    assert tables(child, contact, job_status="state", **names).job_status == "state"
    with pytest.raises(TypeError, match="jobs must be a model with a table"):
        tables(base, contact)


def test_a_field_of_a_parent_is_in_another_table() -> None:
    """So no one statement finds it."""
    job = job_model()
    child = type("Special", (job,), {"__module__": __name__, "Meta": meta(db_table="special")})
    with pytest.raises(ValueError, match=r"Special.\w+ is in the table of Job"):
        tables(child, contact_model(job))


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ({"job_status": "state"}, "job_status: Job has no field 'state'$"),
        ({"job_version": "version"}, "pass job_version=None if there is none"),
        ({"job_where": {"deleted": None}}, "job_where: Job has no field 'deleted'$"),
        ({"job_where": {"updated_at__isnull": True}}, "no field 'updated_at__isnull'"),
        ({"job_status": "contact"}, "job_status: Job.contact is not one column"),
        ({"contact_status": "tags"}, "contact_status: Contact.tags is not one column"),
        ({"job_status": "number"}, "job_statuses is needed: Job.number holds numbers"),
    ],
)
def test_a_field_that_there_is_not_is_refused(names: dict[str, Any], sentence: str) -> None:
    """When the tables are named, not at the first cancel."""
    job = job_model(number=models.PositiveSmallIntegerField())
    contact = contact_model(job, tags=models.ManyToManyField(job, related_name="+"))
    with pytest.raises(ValueError, match=sentence):
        tables(job, contact, **names)


def test_statuses_that_are_numbers() -> None:
    """With the members of `IntegerChoices` as their names."""
    from tests.django_calls.models import Number

    state: Any = Number
    job = job_model(status=models.PositiveSmallIntegerField(choices=state.choices))
    names = {it.name.lower(): it for it in state}
    where = {"status": state.FAILED}
    schema = tables(job, contact_model(job), job_statuses=names, job_where=where)
    found = [it for several in schema.job_statuses.values() for it in several]
    assert found == [1, 2, 3, 4, 5, 6]
    assert {type(it) for it in (*found, *schema.job_where.values())} == {int}


@pytest.mark.parametrize("wrong", ["campaign", None, object, models.Model])
def test_what_is_no_model_is_refused(wrong: Any) -> None:
    """Also the name of one."""
    with pytest.raises(TypeError, match="jobs must be a model with a table, got"):
        tables(wrong, contact_model(batch_job_id=models.TextField()))
