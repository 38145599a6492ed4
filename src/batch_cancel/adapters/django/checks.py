"""
What `manage.py check` finds: the setting, requests in transactions, and what a database lacks.

Rule 1: a database is asked only if it is named: `manage.py check --database default`.
Rule 2: what is missing is a warning, not an error. `migrate` runs these checks before it creates
        what they miss, and would refuse to begin. `--fail-level WARNING` makes them count.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage
from django.db import connections
from django.urls import URLPattern, get_resolver

from batch_cancel.adapters.django import command_line
from batch_cancel.adapters.django.views import IS_ENDPOINT


def check_site(**_: Any) -> list[CheckMessage]:
    """Check the settings, without a look into a database."""
    messages: list[CheckMessage] = []
    if (why := command_line.unusable()) is not None:
        hint = (
            "Name your object with uow and scheduler by its module: "
            f'{command_line.SETTING} = "mysite.wiring:app"'
        )
        messages.append(checks.Warning(f"{why}.", hint=hint, id="batch_cancel.W001"))
    known: Any = connections.settings
    atomic = [it for it in connections if known[it]["ATOMIC_REQUESTS"]]
    # Without URLs, as in a project of workers, there are no views either.
    has_urls = getattr(settings, "ROOT_URLCONF", None) is not None
    if atomic and has_urls and not any(_is_endpoint(it) for it in _patterns(get_resolver())):
        messages.append(
            checks.Info(
                f"ATOMIC_REQUESTS is on ({', '.join(atomic)}): cancel_job is refused in a view of "
                "your own, because a rollback after it would lose the job.",
                hint="Route cancel_url(), mark the view @transaction.non_atomic_requests, or call "
                "cancel_rows and remove_deferred_on_commit.",
                id="batch_cancel.I001",
            )
        )
    return messages


def check_database(databases: Collection[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Check whether the jobs' database has what a cancel needs, if it is among these."""
    if not databases:  # Django 4.2 calls it with None where no database is named.
        return []
    found = command_line.examined(databases)
    return [
        *(
            checks.Warning(f"{it}.", hint=_hint(it), id="batch_cancel.W002")
            for it in found.missing
        ),
        *(checks.Warning(f"{it}.", id="batch_cancel.W003") for it in found.slow),
    ]


def _hint(sentence: str) -> str | None:
    if "batch_cancellations" in sentence:
        return "Run manage.py migrate batch_cancel."
    if "PostgresSchema" in sentence:
        return "Run manage.py migrate if your models have it; else correct DjangoTables(...)."
    return None


def _patterns(resolver: Any) -> Iterator[URLPattern]:
    for it in resolver.url_patterns:
        if isinstance(it, URLPattern):
            yield it
        else:
            yield from _patterns(it)


def _is_endpoint(pattern: URLPattern) -> bool:
    return getattr(pattern.callback, IS_ENDPOINT, False)
