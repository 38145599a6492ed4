"""
The library's own tables, as models to read: who cancelled which job, why, when and from what.

Rule 1: only the library writes them. A row is the answer to a retry of the same cancellation.
Rule 2: the tables are those of `batch-cancel schema`; a migration creates them by that SQL.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, NoReturn

from django.db import models
from django.utils.timezone import template_localtime

from batch_cancel.adapters.django.keys import KeyField
from batch_cancel.domain.statuses import JobStatus, Removal

_LIVE = (JobStatus.SCHEDULED, JobStatus.PENDING, JobStatus.RUNNING)


_WRITTEN: Final = "records of cancellations are written by cancel_job and cancel_rows only"
_DELETED: Final = "records of cancellations are deleted by forget(), which keeps those it must"


class _Records(models.QuerySet):
    """Records to read; `create` and its like save, and are refused there."""

    def update(self, **_: Any) -> NoReturn:
        """
        Refuse to write records.

        Raises:
            TypeError: always.
        """
        raise TypeError(_WRITTEN)

    def bulk_create(self, *_: Any, **__: Any) -> NoReturn:
        """
        Refuse to write records.

        Raises:
            TypeError: always.
        """
        raise TypeError(_WRITTEN)

    def delete(self) -> NoReturn:
        """
        Refuse to delete records.

        Raises:
            TypeError: always.
        """
        raise TypeError(_DELETED)


class _Record(models.Model):
    """A cancellation of a job."""

    objects: ClassVar[Any] = models.Manager.from_queryset(_Records)()

    organization_id = models.TextField(blank=True, help_text="Empty for a job of none.")
    batch_job_id = models.TextField("job")
    operation_id = models.TextField("operation")
    previous_status = models.TextField(
        "status before", choices=[(it.value, it.value) for it in _LIVE]
    )
    contacts_cancelled = models.BigIntegerField()
    actor = models.TextField(null=True)  # noqa: DJ001  # NULL is "not named" in the table.
    reason = models.TextField(null=True)  # noqa: DJ001  # Likewise.
    cancelled_at = models.DateTimeField()
    deferred_id = models.TextField("deferred start", null=True)  # noqa: DJ001  # Likewise.
    removal = models.TextField(
        "removal of the deferred start", choices=[(it.value, it.value) for it in Removal]
    )
    is_announced = models.BooleanField("hook called")

    class Meta:
        abstract = True

    def __str__(self) -> str:
        at = template_localtime(self.cancelled_at)  # As the admin shows it beside this.
        return f"{self.batch_job_id}, cancelled at {at:%Y-%m-%d %H:%M}"

    def save(self, *_: Any, **__: Any) -> NoReturn:
        """
        Refuse to write a record.

        Raises:
            TypeError: always.
        """
        raise TypeError(_WRITTEN)

    def delete(self, *_: Any, **__: Any) -> NoReturn:
        """
        Refuse to delete a record.

        Raises:
            TypeError: always.
        """
        raise TypeError(_DELETED)

    @property
    def pending(self) -> str:
        """What reconcile has still to do, in words."""
        waits = {
            "contacts": not getattr(self, "is_swept", True),
            "removal of the deferred start": self.removal == Removal.PENDING,
            "hook": not self.is_announced,
        }
        return ", ".join(what for what, is_pending in waits.items() if is_pending)


class Cancellation(_Record):
    """The last cancellation of a job."""

    key = KeyField(["organization_id", "batch_job_id"])
    taken_at = models.DateTimeField(help_text="When a reconcile last took it.")
    is_swept = models.BooleanField("no contact left to cancel")

    class Meta:
        db_table = "batch_cancellations"
        default_permissions = ("view",)


class EarlierCancellation(_Record):
    """A cancellation of a job that was set back to a live status, and cancelled again."""

    key = KeyField(["organization_id", "cancelled_at", "batch_job_id", "operation_id"])

    class Meta:
        db_table = "batch_cancellations_earlier"
        default_permissions = ("view",)
