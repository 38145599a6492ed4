"""A Django site with our app, its tables made by `migrate`, and the campaigns of an adopter."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests import data_layers, django_project

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from tests.servers import PostgresServer

MIDDLEWARE = (
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
)
TEMPLATES = (
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    },
)


@contextmanager
def settings(**changed: Any) -> Generator[None]:
    """Have the settings of a site, and these."""
    django_project.configure()
    from django.test.utils import override_settings

    own = {
        "ALLOWED_HOSTS": ["*"],
        "BATCH_CANCEL_APP": "tests.django_calls.wiring:app",
        "MIDDLEWARE": MIDDLEWARE,
        "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"],
        "ROOT_URLCONF": "tests.django_calls.urls",
        "TEMPLATES": TEMPLATES,
    }
    with override_settings(**{**own, **changed}):
        yield


@contextmanager
def site_on(dsn: str) -> Generator[str]:
    """Have a site whose database is this one, empty as it is; yield its connection string."""
    with settings(), data_layers.django_uow(dsn, alias="default"):
        yield dsn


@pytest.fixture(scope="module")
def site(postgres_server: PostgresServer) -> Iterator[str]:
    """Yield the connection string of a site that is migrated."""
    from django.core.management import call_command

    with ExitStack() as stack:
        dsn = stack.enter_context(site_on(stack.enter_context(postgres_server.schema())))
        call_command("migrate", run_syncdb=True, verbosity=0)
        yield dsn


def atomic_requests(*, are_on: bool) -> None:
    """Switch ATOMIC_REQUESTS of the site's database."""
    from django.db import connections

    known: Any = connections.settings
    known["default"]["ATOMIC_REQUESTS"] = are_on


def add_campaign(slug: str, owner: str | None = "a", state: str = "ACTIVE") -> Any:
    """Add a campaign with a call that waits, one to be retried, one in progress, one completed."""
    from tests.django_calls.models import Call, Campaign
    from tests.django_calls.wiring import app

    campaign: Any = Campaign.objects.create(slug=slug, owner=owner, state=state)
    if state == "PLANNED":
        campaign.start_id = uuid4().hex  # A scheduler remembers those that were cancelled.
        campaign.save()
        app.scheduler.schedule(campaign.start_id, datetime.now(UTC) + timedelta(hours=1))
    for status in ("pending", "busy", "dialing", "completed"):
        Call.objects.create(campaign=campaign, status=status)
    return campaign


def states(slug: str) -> list[str]:
    """Return the state of a campaign, then those of its calls."""
    from tests.django_calls.models import Call, Campaign

    state = Campaign.objects.get(slug=slug).state
    calls = Call.objects.filter(campaign__slug=slug).order_by("pk")
    return [state, *calls.values_list("status", flat=True)]


CANCELLED = ["STOPPED", "cancelled", "cancelled", "dialing", "completed"]


def checked(**options: Any) -> list[str]:
    """Return what the checks of our app find."""
    from django.core import checks

    found = checks.run_checks(databases=[options["database"]] if options else None)
    return [f"{it.id} {it.msg}" for it in found if str(it.id).startswith("batch_cancel.")]
