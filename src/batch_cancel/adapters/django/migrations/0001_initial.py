"""
The library's own tables, by the SQL that `batch-cancel schema` prints.

It leaves tables alone that are there already. On another database than Postgres it does nothing.
"""

from __future__ import annotations

from typing import Any

from django.db import migrations, models

from batch_cancel.adapters.django.keys import KeyField
from batch_cancel.adapters.postgres.sql_parts import PACKAGE
from batch_cancel.adapters.sql_files import sql_text


class _OnPostgres(migrations.RunSQL):
    """SQL that is run on Postgres alone."""

    def database_forwards(self, app_label: str, schema_editor: Any, *states: Any) -> None:
        """Create the tables."""
        if schema_editor.connection.vendor == "postgresql":
            super().database_forwards(app_label, schema_editor, *states)

    def database_backwards(self, app_label: str, schema_editor: Any, *states: Any) -> None:
        """Drop the tables, and the records in them."""
        if schema_editor.connection.vendor == "postgresql":
            super().database_backwards(app_label, schema_editor, *states)


def _record() -> list[tuple[str, Any]]:
    """Return the fields that both tables have."""
    live = [(it, it) for it in ("scheduled", "pending", "running")]
    removals = [(it, it) for it in ("removed", "absent", "pending", "not_applicable")]
    return [
        (
            "organization_id",
            models.TextField(blank=True, help_text="Empty for a job of none."),
        ),
        ("batch_job_id", models.TextField(verbose_name="job")),
        ("operation_id", models.TextField(verbose_name="operation")),
        ("previous_status", models.TextField(choices=live, verbose_name="status before")),
        ("contacts_cancelled", models.BigIntegerField()),
        ("actor", models.TextField(null=True)),
        ("reason", models.TextField(null=True)),
        ("cancelled_at", models.DateTimeField()),
        ("deferred_id", models.TextField(null=True, verbose_name="deferred start")),
        (
            "removal",
            models.TextField(choices=removals, verbose_name="removal of the deferred start"),
        ),
        ("is_announced", models.BooleanField(verbose_name="hook called")),
    ]


class Migration(migrations.Migration):
    """The two tables, and the models that read them."""

    initial = True
    dependencies = ()
    operations = (
        _OnPostgres(
            sql_text(PACKAGE, "tables.sql"),
            "DROP TABLE IF EXISTS batch_cancellations, batch_cancellations_earlier",
            state_operations=[
                migrations.CreateModel(
                    name="Cancellation",
                    fields=[
                        *_record(),
                        ("key", KeyField(columns=("organization_id", "batch_job_id"))),
                        (
                            "taken_at",
                            models.DateTimeField(help_text="When a reconcile last took it."),
                        ),
                        (
                            "is_swept",
                            models.BooleanField(verbose_name="no contact left to cancel"),
                        ),
                    ],
                    options={
                        "db_table": "batch_cancellations",
                        "default_permissions": ("view",),
                        "abstract": False,
                    },
                ),
                migrations.CreateModel(
                    name="EarlierCancellation",
                    fields=[
                        *_record(),
                        (
                            "key",
                            KeyField(
                                columns=(
                                    "organization_id",
                                    "cancelled_at",
                                    "batch_job_id",
                                    "operation_id",
                                )
                            ),
                        ),
                    ],
                    options={
                        "db_table": "batch_cancellations_earlier",
                        "default_permissions": ("view",),
                        "abstract": False,
                    },
                ),
            ],
        ),
    )
