"""A Django site with a scheduled job, in a database of its own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs
import psycopg
import pytest

from batch_cancel.adapters.memory import MemoryScheduler
from tests import data_layers
from tests.pairs import create_reference_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batch_cancel.adapters.django import DjangoUnitOfWork


class Undone(Exception):
    """What a view raises to roll back."""


@attrs.frozen
class Site:
    """A Django site with a scheduled job of organization a, seen from outside too."""

    uow: DjangoUnitOfWork
    outside: psycopg.Connection[tuple[object, ...]]
    scheduler: MemoryScheduler

    def atomic(self, **options: Any) -> Any:
        """Open a block."""
        from django.db import transaction

        return transaction.atomic(using=self.uow.using, **options)

    def statuses(self) -> list[object]:
        """Return the committed statuses of job and contacts."""
        found = self.outside.execute(
            "SELECT status FROM batch_jobs UNION ALL "
            "(SELECT status FROM batch_contacts ORDER BY id)"
        )
        return [status for (status,) in found]


@pytest.fixture
def site(postgres_schema: str) -> Iterator[Site]:
    """Yield a site; its database is known to Django under an alias of the test's own."""
    with psycopg.connect(postgres_schema, autocommit=True) as outside:
        create_reference_tables(outside)
        outside.execute(
            "INSERT INTO batch_jobs (id, organization_id, status, scheduled_job_id) "
            "VALUES ('job', 'a', 'scheduled', 'start')"
        )
        outside.execute(
            "INSERT INTO batch_contacts (batch_job_id, status) "
            "VALUES ('job', 'pending'), ('job', 'completed')"
        )
        scheduler = MemoryScheduler()
        scheduler.schedule("start", datetime.now(UTC) + timedelta(hours=1))
        with data_layers.django_uow(postgres_schema) as uow:
            yield Site(uow, outside, scheduler)


BEFORE = ["scheduled", "pending", "completed"]
AFTER = ["cancelled", "cancelled", "completed"]


def removals(site: Site) -> list[object]:
    """Return what the records say of removals."""
    return [it for (it,) in site.outside.execute("SELECT removal FROM batch_cancellations")]
