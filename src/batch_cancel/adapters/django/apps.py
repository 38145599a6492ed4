"""The app: `INSTALLED_APPS += ["batch_cancel.adapters.django"]`."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags, register


class BatchCancelConfig(AppConfig):
    """The app `batch_cancel`: its models, migrations, admin, command and checks."""

    name = "batch_cancel.adapters.django"
    label = "batch_cancel"
    verbose_name = "Batch cancellations"

    def ready(self) -> None:
        """Register the checks."""
        from batch_cancel.adapters.django import checks  # noqa: PLC0415  # Once all is loaded.

        register(checks.check_site, Tags.compatibility)
        register(checks.check_database, Tags.database)
