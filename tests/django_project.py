"""
Django as the tests configure it, once in each process: its settings can't be set a second time.

A test that needs more of them overrides them; each names a database of its own.
"""

from __future__ import annotations

from typing import Final

APPS: Final = (
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.admin",
    "batch_cancel.adapters.django",
    "tests.django_calls.apps.CallsConfig",
)


def configure() -> None:
    """Configure it, unless that has happened before."""
    import django
    from django.conf import settings

    if settings.configured:
        return
    settings.configure(
        DATABASES={},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=APPS,
        LOGGING_CONFIG=None,
        SECRET_KEY="of the tests",
        USE_TZ=True,
    )
    django.setup()
