"""The examples for Django REST framework and Django Ninja, on a site with our app."""

from __future__ import annotations

import json
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.http.examples import DJANGO_APIS, example
from tests.http.requests import AUTHENTICATE
from tests.integration import django_app
from tests.integration.django_app import CANCELLED, add_campaign, atomic_requests, site, states

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

__all__ = ["site"]


def routes(name: str) -> Any:
    """Return the URLs of an example."""
    from django.urls import path

    from tests.django_calls.wiring import app

    ports = (app.uow, app.scheduler, AUTHENTICATE)
    if name == "django_ninja_api":
        return path("v1/", example(name).make_api(*ports).urls)
    route = "v1/batch/jobs/<path:batch_job_id>/cancel"
    return path(route, example(name).make_view(*ports))


@contextmanager
def routed(name: str) -> Generator[None]:
    """Have a site with the example's URLs."""
    urls: Any = ModuleType(f"urls_of_{name}")
    urls.urlpatterns = [routes(name)]
    with django_app.settings(ROOT_URLCONF=urls):
        yield


@pytest.fixture(params=[*DJANGO_APIS])
def name(request: pytest.FixtureRequest) -> str:
    """Name each example in turn."""
    example: str = request.param
    return example


@pytest.fixture(params=[False, True], ids=["plain", "ATOMIC_REQUESTS"])
def is_atomic(request: pytest.FixtureRequest, name: str, site: str) -> Iterator[bool]:
    """Have a scheduled campaign of organization a, with and without a transaction around views."""
    from batch_cancel.adapters.django.models import Cancellation
    from tests.django_calls.models import Campaign

    with routed(name):
        atomic_requests(are_on=request.param)
        add_campaign("job", "a", "PLANNED")
        yield request.param
        atomic_requests(are_on=False)
        Campaign.objects.all().delete()
        Cancellation.objects.all()._raw_delete("default")


def post(job_id: str, key: str, body: object = None, **headers: str) -> tuple[int, Any]:
    """Post, and return status and JSON."""
    from django.test import Client

    client: Any = Client(enforce_csrf_checks=True)
    content = b"" if body is None else json.dumps(body).encode()
    told = client.generic(
        "POST",
        f"/v1/batch/jobs/{job_id}/cancel",
        content,
        "application/json",
        headers={"Authorization": f"Bearer {key}", **headers},
    )
    return told.status_code, json.loads(told.content)


def test_an_example_cancels(name: str, *, is_atomic: bool) -> None:
    """In a transaction around the request the removal comes after the answer, which says so."""
    from batch_cancel.adapters.django.models import Cancellation
    from tests.django_calls.wiring import app

    is_late = is_atomic and name == "django_ninja_api"
    body = {
        "success": True,
        "message": "Scheduled job cancelled successfully",
        "batchJobId": "job",
        "redisJobCancelled": not is_late,
        "contactsCancelled": 2,
    }
    named = {"Idempotency-Key": "op"}
    assert post("job", "key-a", {"reason": "x"}, **named) == (200, body)
    assert states("job") == CANCELLED
    record = Cancellation.objects.get(batch_job_id="job")
    assert (record.actor, record.reason, record.removal) == ("ada", "x", "removed")
    assert record.deferred_id not in app.scheduler.waiting()
    status, again = post("job", "key-a", **named)
    assert (status, again) == (200, body | {"redisJobCancelled": True})
    detail = {"detail": "Cannot cancel job in 'cancelled' status"}
    assert post("job", "key-a") == (400, detail)


def test_an_example_keeps_organizations_apart(site: str, *, is_atomic: bool) -> None:
    """A foreign job is missing, and not locked."""
    before = states("job")
    with psycopg.connect(site) as other:
        other.execute("SELECT FROM campaign FOR UPDATE")
        for job_id in ("job", "none"):
            assert post(job_id, "key-b") == (404, {"detail": "Batch job not found"})
    assert states("job") == before


def test_an_example_refuses(*, is_atomic: bool) -> None:
    """Without a key, as a viewer, with a body of another shape."""
    before = states("job")
    assert post("job", "unknown")[0] == 401
    assert post("job", "key-viewer")[0] == 403
    for reason in (["x"], "", "\0", "\ud800", "x" * 1001):
        assert post("job", "key-a", {"reason": reason})[0] in {400, 422}
    for key in ("", "a b", "a,b", "a\0", "x" * 256):
        assert post("job", "key-a", **{"Idempotency-Key": key})[0] in {400, 422}
    assert states("job") == before
