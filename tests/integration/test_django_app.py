"""The library as an app of Django's: its tables by `migrate`, its models, and the checks."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

from batch_cancel import cancel_job, cancel_rows
from tests.integration import django_app
from tests.integration.django_app import add_campaign, atomic_requests, checked, site

if TYPE_CHECKING:
    from collections.abc import Iterator


__all__ = ["site"]


def test_the_models_are_those_of_the_migration(site: str) -> None:
    """An adopter's `makemigrations` finds nothing to do."""
    from django.core.management import call_command

    call_command("makemigrations", "batch_cancel", check_changes=True, dry_run=True, verbosity=0)


# The models --------------------------------------------------------------------------------------


@pytest.fixture
def rows(site: str) -> Iterator[None]:
    """Undo what a test writes."""
    from django.db import transaction

    block: Any = transaction.atomic()
    block._from_testcase = True
    with block:
        yield
        transaction.set_rollback(True)


@pytest.mark.usefixtures("rows")
def test_a_record_is_read_as_a_model() -> None:
    """By its key, or by any column."""
    from django.db.models import Exists, OuterRef

    from batch_cancel.adapters.django.models import Cancellation
    from tests.django_calls.wiring import app

    for owner in ("a", None):
        add_campaign(f"job-{owner}", owner, "PLANNED")
        cancel_job(
            f"job-{owner}",
            uow=app.uow,
            scheduler=app.scheduler,
            organization_id=owner,
            actor="ada",
            reason="%s",
        )
    record = Cancellation.objects.get(batch_job_id="job-a")
    assert record.pk == '["a", "job-a"]'
    assert (record.actor, record.reason, record.previous_status) == ("ada", "%s", "scheduled")
    assert (record.contacts_cancelled, record.removal, record.pending) == (2, "removed", "")
    assert Cancellation.objects.get(pk=record.pk) == record
    assert [it.pk for it in Cancellation.objects.order_by("pk")] == ['["", "job-None"]', record.pk]
    same = Cancellation.objects.filter(pk=OuterRef("pk"))
    assert Cancellation.objects.filter(Exists(same)).count() == 2
    assert not Cancellation.objects.filter(pk=1).exists()
    for stranger in ('["b", "job-a"]', '["a"]', "job-a", "[1, 2]", '["a", "\\u0000"]', "{}"):
        assert not Cancellation.objects.filter(pk=stranger).exists()


@pytest.mark.usefixtures("rows")
def test_the_record_of_one_key_is_found_by_the_index() -> None:
    """A history of millions is not read."""
    from django.db import connection

    from batch_cancel.adapters.django.models import Cancellation

    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    plan = Cancellation.objects.filter(pk='["a", "job"]').explain()
    assert "Index Cond: (organization_id = 'a'::text)" in plan
    assert "batch_job_id = 'job'::text" in plan


@pytest.mark.usefixtures("rows")
def test_a_record_that_was_replaced_is_read_too() -> None:
    """Of a job that was set back and cancelled again."""
    from batch_cancel.adapters.django.models import Cancellation, EarlierCancellation
    from tests.django_calls.wiring import app

    campaign = add_campaign("again")
    for operation in ("first", "second"):
        cancel_rows("again", uow=app.uow, organization_id="a", operation_id=operation)
        campaign.save()
    assert [it.operation_id for it in Cancellation.objects.all()] == ["second"]
    [earlier] = EarlierCancellation.objects.all()
    assert earlier.operation_id == "first"
    assert EarlierCancellation.objects.get(pk=earlier.pk) == earlier


@pytest.mark.usefixtures("rows")
def test_a_record_is_not_written_as_a_model() -> None:
    """It is the answer to a retry."""
    from django.db import transaction

    from batch_cancel.adapters.django.models import Cancellation
    from tests.django_calls.wiring import app

    add_campaign("job")
    cancel_rows("job", uow=app.uow, organization_id="a")
    record = Cancellation.objects.get(batch_job_id="job")
    with pytest.raises(TypeError, match="cancel_job and cancel_rows only"):
        record.save()
    with pytest.raises(TypeError, match=r"forget\(\)"):
        record.delete()
    with pytest.raises(TypeError, match="cancel_job and cancel_rows only"):
        Cancellation.objects.create(batch_job_id="other")
    every = Cancellation.objects.all()
    with pytest.raises(TypeError, match="cancel_job and cancel_rows only"):
        every.update(actor="eve")
    with pytest.raises(TypeError, match="cancel_job and cancel_rows only"):
        every.bulk_create([Cancellation(batch_job_id="other")])
    block: Any = transaction.atomic()
    with pytest.raises(TypeError, match="cancel_job and cancel_rows only"), block:
        every.bulk_update([record], ["actor"])
    with pytest.raises(TypeError, match=r"forget\(\)"):
        every.filter(batch_job_id="job").delete()
    assert Cancellation.objects.get(batch_job_id="job") == record


def test_the_admin_lets_nobody_change_a_record(site: str) -> None:
    """Whoever asks; its pages are tested in test_django_cases.py."""
    from django.contrib import admin

    from batch_cancel.adapters.django.models import Cancellation, EarlierCancellation

    for model in (Cancellation, EarlierCancellation):
        own: Any = admin.site._registry[model]
        assert not own.has_add_permission(None)
        assert not own.has_change_permission(None)
        assert not own.has_delete_permission(None)
        assert own.actions is None


# The checks --------------------------------------------------------------------------------------


def test_a_site_that_is_complete_passes(site: str) -> None:
    """`manage.py check --database default`, Django's own checks among them."""
    from django.core.management import call_command

    out = io.StringIO()
    call_command("check", databases=["default"], stdout=out, stderr=out, fail_level="WARNING")
    assert "no issues" in out.getvalue()


@pytest.mark.usefixtures("rows")
def test_a_column_that_is_missing_is_named() -> None:
    """By its name in the database."""
    from django.core import checks
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE campaign DROP deferred_start")
        cursor.execute("SELECT indexname FROM pg_indexes WHERE indexdef LIKE '%(campaign_id)'")
        for (index,) in cursor.fetchall():
            cursor.execute(f'DROP INDEX "{index}"')
    first, second = checked(database="default")
    assert first.startswith("batch_cancel.W002 column deferred_start is missing from campaign")
    assert second.startswith("batch_cancel.W003 ")
    hints = {it.id: it.hint for it in checks.run_checks(databases=["default"])}
    assert hints["batch_cancel.W002"] == (
        "Run manage.py migrate if your models have it; else correct DjangoTables(...)."
    )
    assert hints["batch_cancel.W003"] is None


def test_a_setting_that_cannot_be_used_is_named(site: str) -> None:
    """Whatever is wrong with it."""
    for setting, found in {
        None: "the setting BATCH_CANCEL_APP is missing",
        "nowhere": "BATCH_CANCEL_APP must be module:name",
        "nowhere:app": "BATCH_CANCEL_APP: there is no module 'nowhere'",
        "tests.django_calls.wiring:none": "has no 'none'",
    }.items():
        with django_app.settings(BATCH_CANCEL_APP=setting):
            [sentence] = checked()
            assert sentence.startswith("batch_cancel.W001")
            assert found in sentence
            assert checked(database="default") == [sentence]  # Said once.


def test_the_hint_to_a_setting_is_a_sentence_and_a_line_of_settings(site: str) -> None:
    """The line can be copied."""
    from django.core import checks

    with django_app.settings(BATCH_CANCEL_APP=None):
        [hint] = [it.hint for it in checks.run_checks() if it.id == "batch_cancel.W001"]
    assert hint == (
        "Name your object with uow and scheduler by its module: "
        'BATCH_CANCEL_APP = "mysite.wiring:app"'
    )


def test_an_application_that_is_none_is_found_with_its_database(site: str) -> None:
    """The checks without a database only import it; the setting is what is named."""
    with django_app.settings(BATCH_CANCEL_APP="tests.django_calls.wiring:TABLES"):
        assert checked() == []
        [sentence] = checked(database="default")
        assert sentence.startswith("batch_cancel.W002 BATCH_CANCEL_APP: tests.django_calls.")
        assert "has no `uow`" in sentence


def test_a_database_that_is_not_named_is_not_asked(site: str) -> None:
    """Nor is one that the jobs are not in."""
    with django_app.settings(BATCH_CANCEL_APP="tests.django_calls.wiring:broken"):
        assert checked() == []


@pytest.mark.parametrize("are_on", [True, False])
def test_requests_in_transactions_are_named_where_our_view_is_not_routed(
    site: str, *, are_on: bool
) -> None:
    """In ours they do no harm."""
    atomic_requests(are_on=are_on)
    try:
        assert checked() == []
        with django_app.settings(ROOT_URLCONF="tests.django_calls.no_urls"):
            found = checked()
        assert len(found) == are_on
        assert all(
            it.startswith("batch_cancel.I001 ATOMIC_REQUESTS is on (default)") for it in found
        )
    finally:
        atomic_requests(are_on=False)


def test_a_project_of_workers_needs_no_urls(site: str) -> None:
    """It has requests in transactions in its settings, and no views."""
    from django.conf import settings

    atomic_requests(are_on=True)
    try:
        for urls in (None, "tests.django_calls.no_urls"):
            with django_app.settings(ROOT_URLCONF=urls):
                if urls is not None:
                    del settings.ROOT_URLCONF
                assert checked() == []
    finally:
        atomic_requests(are_on=False)
