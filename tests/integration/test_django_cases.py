"""Our Django app within Django's own `TestCase` and `TransactionTestCase`, and its admin there."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any

import pytest

from batch_cancel import cancel_job, cancel_rows
from tests import django_project
from tests.integration.django_app import CANCELLED, add_campaign, site, states

django_project.configure()

from django.test import (  # noqa: E402  # They need settings.
    TestCase,
    TransactionTestCase,
    override_settings,
)

if TYPE_CHECKING:
    from batch_cancel import CancelResult

__all__ = ["site"]


def cancelled(slug: str, owner: str | None = "a", **more: Any) -> CancelResult:
    """Cancel a campaign."""
    from tests.django_calls.wiring import app

    return cancel_job(slug, uow=app.uow, scheduler=app.scheduler, organization_id=owner, **more)


@pytest.mark.usefixtures("site")
class InATransactionTestCase(TransactionTestCase):
    """Django empties the tables after each test: ours as well."""

    def test_a_cancel(self) -> None:
        """It commits."""
        self._cancel()

    def test_another_cancel(self) -> None:
        """It meets none of the first."""
        self._cancel()

    def _cancel(self) -> None:
        from batch_cancel.adapters.django.models import Cancellation

        assert not Cancellation.objects.exists()
        add_campaign("job", "a", "PLANNED")
        assert cancelled("job").redis_job_cancelled
        assert states("job") == CANCELLED
        assert Cancellation.objects.get().batch_job_id == "job"


@pytest.mark.usefixtures("site")
class InATestCase(TestCase):
    """The block around each test is none of the caller's."""

    def test_a_whole_cancel(self) -> None:
        """It is undone with the test."""
        add_campaign("job", "a", "PLANNED")
        assert cancelled("job").redis_job_cancelled
        assert states("job") == CANCELLED

    def test_a_cancel_in_a_block(self) -> None:
        """The hook runs if the test has it run."""
        from django.db import transaction

        from batch_cancel.adapters.django import remove_deferred_on_commit
        from tests.django_calls.wiring import app

        add_campaign("job", "a", "PLANNED")
        block: Any = transaction.atomic()
        with self.captureOnCommitCallbacks(execute=True), block:
            cancellation = cancel_rows("job", uow=app.uow, organization_id="a")
            removal = remove_deferred_on_commit(cancellation, app.scheduler, uow=app.uow)
        assert removal.result.redis_job_cancelled
        assert states("job") == CANCELLED


@pytest.mark.usefixtures("site")
class TheAdmin(TestCase):
    """What a person with the permission to view sees."""

    def setUp(self) -> None:
        """Have cancellations of two organizations, and a person who may see them."""
        from django.contrib.auth.models import User

        person = User.objects.create_superuser("ann", password="secret")
        self.client.force_login(person)
        for slug, owner in (("one", "a"), ("two", "b"), ("one'\"<b>%", None)):
            add_campaign(slug, owner, "PLANNED")
        cancelled("one", actor="ada", reason="the customer withdrew")
        cancelled("two", "b", actor="bob")
        cancelled("one'\"<b>%", None)

    def _page(self, path: str = "", kind: str = "cancellation") -> str:
        told: Any = self.client.get(f"/admin/batch_cancel/{kind}/{path}")
        assert told.status_code == 200, told
        return str(told.content.decode())

    def test_the_list(self) -> None:
        """Who, why, when, from what status, how many contacts."""
        page = self._page()
        for text in ("one", "two", "ada", "bob", "the customer withdrew", "scheduled", ">2<"):
            assert text in page
        assert "one&#x27;&quot;&lt;b&gt;%" in page
        assert "3 cancellations" in page
        assert "Add cancellation" not in page
        assert 'name="action"' not in page

    def test_a_long_reason_leaves_room_for_the_other_rows(self) -> None:
        """The list has its beginning, and the record all of it."""
        add_campaign("long")
        cancelled("long", reason="long ago " * 100)
        page = self._page()
        assert "long ago" in page
        assert "long ago " * 10 not in page
        [link] = re.findall('cancellation/([^"]+long[^"]+)/change/"', page)
        assert "long ago " * 99 in self._page(f"{html.unescape(link)}/change/")

    def test_a_record_in_the_time_zone_of_the_site(self) -> None:
        """Its title as its fields; each field has a label of its own, and what is pending one."""
        from datetime import UTC, datetime

        from batch_cancel.adapters.django.models import Cancellation

        with override_settings(TIME_ZONE="Asia/Tokyo"):
            record = Cancellation(
                batch_job_id="job", cancelled_at=datetime(2030, 1, 1, tzinfo=UTC)
            )
            assert str(record) == "job, cancelled at 2030-01-01 09:00"
        page = self._page()
        [link] = re.findall('cancellation/([^"]+two[^"]+)/change/"', page)
        labels = re.findall(
            "<label>([^<]+):</label>", self._page(f"{html.unescape(link)}/change/")
        )
        assert len(labels) == len({*labels}) == 14
        assert "Pending" in labels

    def test_what_is_pending_is_shown(self) -> None:
        """A removal, a hook, or both."""
        from tests.django_calls.wiring import app

        add_campaign("three", "a", "PLANNED")
        cancel_rows("three", uow=app.uow, organization_id="a", announce=True)
        assert "removal of the deferred start, hook" in self._page()
        assert "1 cancellation" in self._page("?removal__exact=pending")
        assert "1 cancellation" in self._page("?is_announced__exact=0")
        assert "0 cancellations" in self._page("?previous_status__exact=running")

    def test_the_search(self) -> None:
        """By an id as it is, by words of actor and reason."""
        for text, found in (("one", 1), ("on", 0), ("b", 1), ("CUSTOMER", 1), ("ad", 1)):
            assert f"{found} cancellation" in self._page(f"?q={text}")

    def test_one_of_them(self) -> None:
        """Every page that the list links to; nothing in it can be changed."""
        from batch_cancel.adapters.django.models import Cancellation

        place = "/admin/batch_cancel/cancellation/"
        links = re.findall(f'href="{place}([^"]+)/change/"', self._page())
        operations = Cancellation.objects.order_by("-cancelled_at").values_list("operation_id")
        for link, (operation,) in zip(map(html.unescape, links), operations, strict=True):
            page = self._page(f"{link}/change/")
            assert operation in page
            assert "<textarea" not in page
            assert 'type="submit"' not in page.split('id="content"')[1]
            assert self._page(f"{link}/history/")

    def test_nothing_is_changed_or_deleted(self) -> None:
        """By anyone."""
        from django.contrib.admin.utils import quote

        from batch_cancel.adapters.django.models import Cancellation

        record = Cancellation.objects.get(batch_job_id="one")
        place = f"/admin/batch_cancel/cancellation/{quote(record.pk)}"
        for path in (
            f"{place}/change/",
            f"{place}/delete/",
            "/admin/batch_cancel/cancellation/add/",
        ):
            told: Any = self.client.post(path, {"actor": "eve", "post": "yes"})
            assert told.status_code == 403
        assert Cancellation.objects.get(pk=record.pk).actor == "ada"
        told = self.client.get("/admin/batch_cancel/cancellation/none/change/")
        assert told.status_code == 302

    def test_the_earlier_ones(self) -> None:
        """Of jobs that were set back."""
        from tests.django_calls.models import Campaign

        Campaign.objects.filter(slug="one").update(state="ACTIVE")
        cancelled("one", actor="cid")
        assert "ada" not in self._page()
        page = self._page(kind="earliercancellation")
        assert "1 earlier cancellation" in page
        assert "ada" in page

    def test_without_the_permission_there_is_nothing(self) -> None:
        """For staff, too."""
        from django.contrib.auth.models import User

        self.client.force_login(User.objects.create_user("eve", password="x", is_staff=True))
        told: Any = self.client.get("/admin/batch_cancel/cancellation/")
        assert told.status_code == 403
