"""The endpoint in each framework: the answers of the bare application, whatever is asked."""

from __future__ import annotations

import threading
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest

from batch_cancel import (
    AlreadyTerminal,
    CancelFailed,
    Fault,
    JobKey,
    JobNotFound,
    JobStatus,
    cancel_job,
    cancel_job_async,
)
from batch_cancel.adapters.asgi import AsgiApp
from batch_cancel.adapters.memory import AsyncMemoryScheduler, MemoryScheduler, MemoryStore
from batch_cancel.http import Principal
from tests.http.examples import Answer, client_of
from tests.http.frameworks import ASYNCIO, FRAMEWORKS, OWN_ROUTE, Own, app_of, ports_of, seeded
from tests.http.requests import AUTHENTICATE

A = {"Authorization": "Bearer key-a"}
B = {"Authorization": "Bearer key-b"}
VIEWER = {"Authorization": "Bearer key-viewer"}
JSON = {"Content-Type": "application/json"}
SOON = timedelta(seconds=5)

ASKED: list[tuple[str, dict[str, str], bytes, int]] = [
    ("mine", {}, b"", 401),
    ("mine", {"Authorization": "Bearer key-nobody"}, b"", 401),
    ("mine", VIEWER, b"x" * 40_000, 403),
    ("none", A, b"", 404),
    ("theirs", A, b"", 404),
    ("mine", B, b"", 404),
    ("%FF", A, b"", 404),
    ("%00", A, b"", 404),
    ("done", A, b"", 400),
    ("mine", A | JSON, b"{", 422),
    ("mine", A | JSON, b'{"reason": 1}', 422),
    ("mine", A | JSON, b'{"reason": "x", "reason": "y"}', 422),
    ("mine", A | {"Content-Type": "text/plain"}, b'{"reason": "x"}', 415),
    ("mine", A | JSON | {"Content-Encoding": "x"}, b"{}", 415),
    ("mine", A | {"Idempotency-Key": "a,b"}, b"", 422),
    ("mine", A | JSON, b'{"reason": "%s"}' % (b"x" * 32_768), 413),
    ("mine", A | JSON | {"Idempotency-Key": "op-1"}, b'{"reason": "x"}', 200),
    ("mine", A | {"Idempotency-Key": "op-1"}, b"", 200),
    ("mine", A, b"", 400),
    ("%EF%BF%BD", A, b"", 200),
]
"""Job, headers, body and status, in this order, against one store."""


@pytest.fixture(params=FRAMEWORKS)
def name(request: pytest.FixtureRequest) -> str:
    """Name each framework in turn."""
    framework: str = request.param
    return framework


def answers(name: str, app: Any) -> list[Answer]:
    """Return an application's answers to all that is asked."""
    with client_of(name, app) as ask:
        return [
            ask("POST", f"/batch/jobs/{job}/cancel", headers, body)
            for job, headers, body, _ in ASKED
        ]


def test_each_answer_is_that_of_the_bare_application(name: str) -> None:
    """Byte for byte, with its headers; the reason, the actor and the operation arrive."""
    store, cancel = ports_of(name)
    told = answers(f"{name}_app", app_of(name, cancel))
    _, bare = ports_of("bare")
    assert told == answers("asgi_bare", AsgiApp(bare, AUTHENTICATE))
    assert [it.status for it in told] == [status for *_, status in ASKED]
    record = store.job("mine", "a").cancellation
    assert (record.operation_id, record.actor, record.reason) == ("op-1", "ada", "x")
    assert store.job("theirs", "b").status == "running"


@pytest.mark.parametrize(
    ("fault", "status"), [(Fault.BUSY, 429), (Fault.INTERRUPTED, 503), (Fault.REFUSED, 500)]
)
def test_a_failure_is_that_of_the_bare_application(name: str, fault: Fault, status: int) -> None:
    """With the time to wait, where there is one; in a route of one's own, too."""
    failure = CancelFailed(JobKey("j"), "-", "unchanged", fault)

    async def fail_async(*_: Any, **__: Any) -> Any:
        raise failure

    def fail(*_: Any, **__: Any) -> Any:
        raise failure

    path = "/batch/jobs/j/cancel"
    with client_of("asgi_bare", AsgiApp(fail_async, AUTHENTICATE, retry_after=SOON)) as ask:
        expected = ask("POST", path, A, b"")
    cancel = fail if name == "flask" else fail_async
    with client_of(f"{name}_app", app_of(name, cancel, Own(failure), retry_after=SOON)) as ask:
        assert ask("POST", path, A, b"") == expected
        assert ask("POST", OWN_ROUTE, {}, b"") == expected
    assert (expected.status, expected.content) == (
        status,
        b'{"detail": "Failed to cancel batch job"}',
    )
    assert expected.headers.get("retry-after") == ("5" if status != 500 else None)


@pytest.mark.parametrize(
    ("error", "content"),
    [
        (JobNotFound(JobKey("j")), b'{"detail": "Batch job not found"}'),
        (
            AlreadyTerminal(JobKey("j"), JobStatus.FAILED),
            b'{"detail": "Cannot cancel job in \'failed\' status"}',
        ),
    ],
)
def test_an_error_of_a_route_of_its_own_is_presented(
    name: str, error: Exception, content: bytes
) -> None:
    """As the endpoint would."""
    with client_of(f"{name}_app", app_of(name, ports_of(name)[1], Own(error))) as ask:
        told = ask("POST", OWN_ROUTE, {}, b"")
    assert (told.status, told.content) == (getattr(error, "http_status", 0), content)


def test_a_cancelled_job_may_be_a_200(name: str) -> None:
    """By the endpoint and in a route of one's own."""
    store, cancel = ports_of(name)
    store.add_job("gone", "cancelled", "a", None)
    error = AlreadyTerminal(JobKey("gone", "a"), JobStatus.CANCELLED)
    with client_of(f"{name}_app", app_of(name, cancel, Own(error), ok_if_cancelled=True)) as ask:
        told = ask("POST", "/batch/jobs/gone/cancel", A, b"")
        assert told == ask("POST", OWN_ROUTE, {}, b"")
    assert told.content == (
        b'{"success": true, "message": "Job was already cancelled", "batchJobId": "gone", '
        b'"redisJobCancelled": false, "contactsCancelled": 0}'
    )


@pytest.mark.parametrize("path", ["a//b", "%2Fa", "a%2F", "", "a%2F%2Fb", "..%2Fb"])
def test_no_other_job_is_taken_for_one_with_slashes(name: str, path: str) -> None:
    """Frameworks that join slashes, or redirect, must not lead to another job."""
    store, cancel = ports_of(name)
    for job_id in ("a", "b", "a/b"):
        store.add_job(job_id, "running", "a", None)
    before = dict(store._committed)
    with client_of(f"{name}_app", app_of(name, cancel)) as ask:
        told = ask("POST", f"/batch/jobs/{path}/cancel", A, b"")
    assert told.status == 404
    assert dict(store._committed) == before


def decorated(cancel: Any) -> Any:
    """Return a function that does not show whether it blocks."""

    def call(*job: Any, **wish: Any) -> Any:
        return cancel(*job, **wish)

    return call


@pytest.mark.parametrize("name", ASYNCIO)
@pytest.mark.parametrize("is_decorated", [False, True])
def test_a_blocking_cancel_runs_in_a_thread(name: str, is_decorated: bool) -> None:  # noqa: FBT001
    """Whether it is known as blocking, or may be anything."""
    store = seeded(MemoryStore())
    seen: list[threading.Thread] = []

    def stamp(_: Any) -> None:
        seen.append(threading.current_thread())

    cancel: Any = partial(cancel_job, uow=store, scheduler=MemoryScheduler(), on_cancelled=stamp)
    if is_decorated:
        cancel = decorated(cancel)
    with client_of(f"{name}_app", app_of(name, cancel)) as ask:
        assert ask("POST", "/batch/jobs/mine/cancel", A, b"").status == 200
    [thread] = seen
    assert thread.name.startswith("asyncio_")


@pytest.mark.parametrize("name", ASYNCIO)
def test_a_plain_function_may_return_a_coroutine(name: str) -> None:
    """It is awaited in the loop."""
    store, inner = ports_of(name)
    with client_of(f"{name}_app", app_of(name, decorated(inner))) as ask:
        assert ask("POST", "/batch/jobs/mine/cancel", A, b"").status == 200
    assert store.job("mine", "a").status == "cancelled"


def test_a_wrong_port_is_refused_at_once(name: str) -> None:
    """When the application is made, not by its first request."""
    mixed: Any = {"uow": MemoryStore(), "scheduler": AsyncMemoryScheduler()}
    with pytest.raises(TypeError, match="of the asyncio kind"):
        app_of(name, partial(cancel_job, **mixed))
    with pytest.raises(TypeError, match=r"coroutine function|of the blocking kind"):
        app_of(name, partial(cancel_job_async, **mixed | {"scheduler": MemoryScheduler()}))


@pytest.mark.parametrize("job_id", ["a\nb", "x\n", "/a//b/", "x/cancel", "", "\u2028"])
def test_any_text_is_an_id(name: str, job_id: str) -> None:
    """Slashes, where the framework has them, and line breaks; none is cut off."""
    store, cancel = ports_of(name)
    ids = [it for it in {job_id, job_id.strip()} if it]
    for it in ids:
        store.add_job(it, "running", "a", None)
    is_found = job_id != "" and not (name == "litestar" and "/" in job_id)
    with client_of(f"{name}_app", app_of(name, cancel)) as ask:
        told = ask("POST", f"/batch/jobs/{quote(job_id, safe='')}/cancel", A, b"")
    assert told.status == (200 if is_found else 404)
    cancelled = [it for it in ids if store.job(it, "a").status == "cancelled"]
    assert cancelled == ([job_id] if is_found else [])


@pytest.mark.parametrize("path", ["/batch/jobs/mine/cancel%0A", "/mine%0A"])
def test_a_line_break_at_the_end_of_a_path_of_fastapi_is_not_dropped(path: str) -> None:
    """Starlette's own `path` drops it: another job would be cancelled."""
    store, cancel = ports_of("fastapi")
    options: dict[str, Any] = {"path": "/{batch_job_id:path}"} if path == "/mine%0A" else {}
    with client_of("fastapi_app", app_of("fastapi", cancel, **options)) as ask:
        assert ask("POST", path, A, b"").status == 404
    assert store.job("mine", "a").status == "running"


def test_a_principal_of_aiohttp_may_be_blocking() -> None:
    """As in the other frameworks."""
    from aiohttp import web

    from batch_cancel.adapters.aiohttp import add_cancel_route

    store, cancel = ports_of("aiohttp")
    app = web.Application()
    add_cancel_route(app, cancel, principal=lambda _: Principal("ada", "a", may_cancel=True))
    with client_of("aiohttp_app", app) as ask:
        assert ask("POST", "/batch/jobs/mine/cancel", {}, b"").status == 200
    assert store.job("mine", "a").status == "cancelled"


def test_a_path_without_the_job_is_refused_at_once(name: str) -> None:
    """It would cancel nothing, or always the same."""
    with pytest.raises(ValueError, match="batch_job_id"):
        app_of(name, ports_of(name)[1], path="/cancel")


PARAMETERS = {"flask": "<batch_job_id>", "litestar": "{batch_job_id:str}"}
"""How a path names the job, where a framework has a syntax of its own."""


def test_a_path_of_its_own(name: str) -> None:
    """In the framework's own words."""
    path = f"/jobs/{PARAMETERS.get(name, '{batch_job_id}')}"
    _, cancel = ports_of(name)
    with client_of(f"{name}_app", app_of(name, cancel, path=path)) as ask:
        assert ask("POST", "/jobs/mine", A, b"").status == 200
        assert ask("POST", "/batch/jobs/mine/cancel", A, b"").status == 404


def test_a_path_of_its_own_leads_to_no_other_job(name: str) -> None:
    """A client would follow a redirect from two slashes to one."""
    path = f"/jobs/{PARAMETERS.get(name, '{batch_job_id}')}/cancel"
    store, cancel = ports_of(name)
    store.add_job("a", "running", "a", None)
    before = dict(store._committed)
    with client_of(f"{name}_app", app_of(name, cancel, path=path)) as ask:
        told = [ask("POST", f"/jobs/{it}/cancel", A, b"").status for it in ("/a", "a/")]
    assert told == [404, 404]
    assert dict(store._committed) == before


def test_a_principal_of_flask_is_not_awaited() -> None:
    """It would let everybody in, or nobody."""
    from batch_cancel.adapters.flask import cancel_blueprint

    async def principal() -> Any:
        return None

    with pytest.raises(TypeError, match="coroutine"):
        cancel_blueprint(ports_of("flask")[1], principal=principal)  # type: ignore[arg-type]
