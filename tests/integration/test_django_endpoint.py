"""The endpoint as a view of our Django app: organizations, transactions, CSRF, routes."""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from batch_cancel import CancelFailed, JobKey, cancel_job, cancel_job_async
from batch_cancel.adapters.memory import AsyncMemoryScheduler, MemoryScheduler
from batch_cancel.domain.errors import Fault
from batch_cancel.http import Principal
from tests.http.requests import Asked, ask_asgi, ask_wsgi
from tests.integration.django_app import (
    CANCELLED,
    add_campaign,
    atomic_requests,
    settings,
    site,
    states,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

__all__ = ["site"]

MISSING = (404, {"detail": "Batch job not found"})


@pytest.fixture(autouse=True, params=[False, True], ids=["plain", "ATOMIC_REQUESTS"])
def campaigns(request: pytest.FixtureRequest, site: str) -> Iterator[None]:
    """Have a running campaign of organization a, with and without a transaction around views."""
    from batch_cancel.adapters.django.models import Cancellation
    from tests.django_calls.models import Campaign

    atomic_requests(are_on=request.param)
    add_campaign("job")
    yield
    atomic_requests(are_on=False)
    Campaign.objects.all().delete()
    Cancellation.objects.all()._raw_delete("default")


def post(path: str, key: str, body: object = None, **headers: str) -> tuple[int, Any]:
    """Post as a browser would that has no token against CSRF; return status and JSON."""
    from django.test import Client

    client: Any = Client(enforce_csrf_checks=True)
    content = b"" if body is None else json.dumps(body).encode()
    kind = "" if body is None else "application/json"
    told = client.generic("POST", path, content, kind, headers={"X-Key": key, **headers})
    return told.status_code, json.loads(told.content)


def test_a_cancel_is_answered_by_the_contract() -> None:
    """Whatever is around the view; the same key again gets the same answer."""
    from batch_cancel.adapters.django.models import Cancellation

    path, named = "/v1/batch/jobs/job/cancel", {"Idempotency-Key": "op"}
    body = {
        "success": True,
        "message": "Job was already running - cancelled remaining contacts",
        "batchJobId": "job",
        "redisJobCancelled": False,
        "contactsCancelled": 2,
    }
    assert post(path, "key-a", {"reason": "x"}, **named) == (200, body)
    assert states("job") == CANCELLED
    assert post(path, "key-a", {"reason": "x"}, **named) == (200, body)
    record = Cancellation.objects.get(batch_job_id="job")
    assert (record.actor, record.reason, record.operation_id) == ("ada", "x", "op")
    detail = {"detail": "Cannot cancel job in 'cancelled' status"}
    assert post(path, "key-a") == (400, detail)


def test_a_scheduled_campaign_has_its_start_removed() -> None:
    """After the commit: `redisJobCancelled` is true."""
    from tests.django_calls.wiring import app

    start = add_campaign("later", "a", "PLANNED").start_id
    assert start in app.scheduler.waiting()
    status, body = post("/v1/batch/jobs/later/cancel", "key-a")
    assert (status, body["redisJobCancelled"]) == (200, True)
    assert start not in app.scheduler.waiting()


def test_organization_b_neither_cancels_nor_sees_nor_locks_a_job_of_a(site: str) -> None:
    """Its answer is that of a job that does not exist, and comes while the job is locked."""
    before = states("job")
    with psycopg.connect(site) as other:
        other.execute("SELECT FROM campaign FOR UPDATE")
        assert post("/v1/batch/jobs/job/cancel", "key-b") == MISSING
        assert post("/v1/batch/jobs/none/cancel", "key-b") == MISSING
    assert states("job") == before


def test_a_campaign_that_does_not_count_is_missing() -> None:
    """By `job_where`."""
    from django.utils import timezone

    from tests.django_calls.models import Campaign

    Campaign.objects.filter(slug="job").update(removed=timezone.now())
    assert post("/v1/batch/jobs/job/cancel", "key-a") == MISSING
    assert states("job")[0] == "ACTIVE"


def test_who_may_not_cancel_is_refused() -> None:
    """Without a key, with an unknown one, as a viewer; with a request of another kind."""
    before, path = states("job"), "/v1/batch/jobs/job/cancel"
    assert post(path, "")[0] == 401
    assert post(path, "unknown", Authorization="Bearer key-a")[0] == 401
    assert post(path, "key-viewer")[0] == 403
    assert post(path, "key-a", {"cause": "x"})[0] == 422
    assert post(path, "key-a", {"reason": "x" * 40_000})[0] == 413
    from django.test import Client

    client: Any = Client()
    assert client.get(path, headers={"X-Key": "key-a"}).status_code == 405
    assert states("job") == before


def test_any_id_comes_through_the_route() -> None:
    """With a slash, a line break, a word of the route's; and no other path is ours."""
    for slug in ("a/b c", "a\nb", "x/cancel", "50%"):
        add_campaign(slug)
        quoted = slug.replace("%", "%25").replace("\n", "%0A").replace(" ", "%20")
        status, body = post(f"/v1/batch/jobs/{quoted}/cancel", "key-a")
        assert (status, body.get("batchJobId")) == (200, slug)
    assert post("/v1/batch/jobs//cancel", "key-a") == MISSING
    from django.test import Client

    client: Any = Client()
    assert client.post("/v1/batch/jobs/job/cancel%0A").status_code == 404
    assert client.post("/v1/batch/jobs/job").status_code == 404


def test_the_view_stands_at_a_route_of_the_adopters_own() -> None:
    """With a hook, which is called after the commit."""
    from tests.django_calls.wiring import told

    told.clear()
    status, body = post("/campaigns/job/stop", "key-a")
    assert (status, body["batchJobId"]) == (200, "job")
    assert [(it.batch_job_id, it.organization_id) for it in told] == [("job", "a")]


@contextmanager
def routed(*patterns: Any) -> Generator[None]:
    """Have a site with these URLs."""
    urls: Any = ModuleType("urls_of_a_test")
    urls.urlpatterns = list(patterns)
    with settings(ROOT_URLCONF=urls):
        yield


def test_a_prefix_may_have_parameters_of_its_own() -> None:
    """They are for `principal`, which finds them in the request."""
    from django.urls import include, path

    from batch_cancel.adapters.django.views import cancel_url
    from tests.django_calls.urls import KEYS, cancel

    def principal(request: Any) -> Principal | None:
        asking: Principal | None = KEYS.get(f"key-{request.resolver_match.kwargs['who']}")
        return asking

    endpoint = include([cancel_url(cancel, principal)])
    with routed(path("of/<who>/", endpoint, {"more": 1})):
        assert post("/of/b/batch/jobs/job/cancel", "") == MISSING
        assert post("/of/a/batch/jobs/job/cancel", "")[0] == 200


def test_what_the_principal_raises_is_answered_by_django() -> None:
    """As in every view; the body is not read, and the job stays as it is."""
    from django.core.exceptions import PermissionDenied

    from batch_cancel.adapters.django.views import cancel_url
    from tests.django_calls.urls import cancel

    def principal(_: object) -> Principal:
        raise PermissionDenied

    before = states("job")
    with routed(cancel_url(cancel, principal)):
        from django.test import Client

        client: Any = Client()
        assert client.post("/batch/jobs/job/cancel").status_code == 403
    assert states("job") == before


def test_a_failure_that_may_pass_says_when_to_ask_again() -> None:
    """In as many seconds as the route was given."""
    from django.test import Client

    from batch_cancel.adapters.django.views import cancel_url
    from tests.django_calls.urls import KEYS

    def cancel(*_: object, **__: object) -> Any:
        raise CancelFailed(JobKey("job"), "op", "unchanged", Fault.BUSY)

    def principal(_: object) -> Principal:
        return KEYS["key-a"]

    with routed(cancel_url(cancel, principal, retry_after=timedelta(seconds=3))):
        client: Any = Client()
        answer = client.generic("POST", "/batch/jobs/job/cancel", b"", "")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "3")


def staying(app: Any) -> Any:
    """Return an ASGI application whose clients do not leave before its answer."""

    async def stayed(scope: Any, receive: Any, send: Any) -> None:
        async def received() -> Any:
            message = await receive()
            return message if message["type"] == "http.request" else await asyncio.Future()

        await app(scope, received, send)

    return stayed


def test_bytes_that_are_no_text_name_no_job() -> None:
    """ASGI servers replace them: two paths would name one job."""
    from django.core.handlers.asgi import ASGIHandler
    from django.core.handlers.wsgi import WSGIHandler

    add_campaign("\ufffd")
    asked = Asked(path="/v1/batch/jobs/%FF/cancel", headers=[("x-key", "key-a")])
    for told in (ask_wsgi(WSGIHandler(), asked), ask_asgi(staying(ASGIHandler()), asked)):
        assert (told.status, json.loads(told.content)) == MISSING
    assert states("\ufffd")[0] == "ACTIVE"
    assert post("/v1/batch/jobs/%EF%BF%BD/cancel", "key-a")[0] == 200


def test_the_wrong_kind_is_refused_when_the_view_is_made() -> None:
    """Not at the first request."""
    from batch_cancel.adapters.django.views import cancel_view
    from tests.django_calls.urls import principal
    from tests.django_calls.wiring import app

    async def later(_: object) -> None:
        """Return nothing."""

    blocking: Any = MemoryScheduler()
    other: Any = AsyncMemoryScheduler()
    who: Any = later
    right: Any = partial(cancel_job, uow=app.uow, scheduler=blocking)
    wrong: Any = partial(cancel_job, uow=app.uow, scheduler=other)
    asyncio: Any = partial(cancel_job_async, uow=app.uow, scheduler=blocking)
    with pytest.raises(TypeError, match="principal is a coroutine function"):
        cancel_view(right, who)
    for it in (wrong, asyncio):
        with pytest.raises(TypeError):
            cancel_view(it, principal)
