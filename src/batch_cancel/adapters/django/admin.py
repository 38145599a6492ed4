"""The admin of the cancellations: to read, search and filter them; nothing can be changed."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils.text import Truncator

from batch_cancel.adapters.django.models import Cancellation, EarlierCancellation


class CancellationAdmin(admin.ModelAdmin):
    """Cancellations of all organizations, the newest first."""

    list_display = (
        "batch_job_id",
        "organization_id",
        "cancelled_at",
        "pending",
        "actor",
        "shortened_reason",
        "previous_status",
        "contacts_cancelled",
    )
    readonly_fields = ("pending",)
    list_filter = ("previous_status", "removal", "is_announced", "cancelled_at")
    # Ids are compared as they are; icontains would find other jobs.
    search_fields = (
        "batch_job_id__exact",
        "organization_id__exact",
        "operation_id__exact",
        "actor__icontains",
        "reason__icontains",
    )
    search_help_text = "A job, an organization or an operation; or words of an actor or a reason"
    ordering = ("-cancelled_at",)
    show_full_result_count = False
    actions = None

    @admin.display(description="reason", ordering="reason")
    def shortened_reason(self, record: Any) -> str | None:
        """Return the beginning of a reason: one may have a thousand characters."""
        return None if record.reason is None else str(Truncator(record.reason).chars(80))

    def has_add_permission(self, *_: Any) -> bool:
        """Refuse."""
        return False

    def has_change_permission(self, *_: Any) -> bool:
        """Refuse."""
        return False

    def has_delete_permission(self, *_: Any) -> bool:
        """Refuse."""
        return False


admin.site.register([Cancellation, EarlierCancellation], CancellationAdmin)
