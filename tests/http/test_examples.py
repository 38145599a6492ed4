"""Each example, through its framework's test client, and once behind a real server."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import psycopg
import pytest

from batch_cancel.adapters.memory import (
    AsyncMemoryScheduler,
    AsyncMemoryStore,
    MemoryScheduler,
    MemoryStore,
)
from batch_cancel.adapters.postgres import AsyncPostgresUnitOfWork, PostgresUnitOfWork
from tests.http.examples import (
    DJANGO_APIS,
    EVERY,
    FOLDER,
    LINES_MAX,
    ROUTED,
    Ask,
    client_of,
    is_async,
    made,
    serving,
)
from tests.http.requests import AUTHENTICATE
from tests.pairs import create_reference_tables
from tests.processes import wait_until

A = {"Authorization": "Bearer key-a"}
B = {"Authorization": "Bearer key-b"}
JSON = {"Content-Type": "application/json"}
JOB = "/v1/batch/jobs/batch_xyz789/cancel"
CANCELLED = (
    b'{"success": true, "message": "Job was already running - cancelled remaining contacts", '
    b'"batchJobId": "batch_xyz789", "redisJobCancelled": false, "contactsCancelled": 2}'
)
DOCUMENTS = {"fastapi_app": "/openapi.json", "litestar_app": "/schema/openapi.json"}
PAGES = {"litestar_app": "swagger"}


def seeded(name: str) -> tuple[Any, Any]:
    """Return a memory store of the example's kind with a job of organization a, a scheduler."""
    store = AsyncMemoryStore() if is_async(name) else MemoryStore()
    for job_id in ("batch_xyz789", "a/b c"):
        store.add_job(job_id, "running", "a", None)
        store.add_contacts(job_id, {"1": "pending", "2": "busy", "3": "dialing"}, "a")
    return store, AsyncMemoryScheduler() if is_async(name) else MemoryScheduler()


@pytest.fixture(params=EVERY)
def name(request: pytest.FixtureRequest) -> str:
    """Name each example in turn."""
    example: str = request.param
    return example


@pytest.fixture
def store_and_ask(name: str) -> Iterator[tuple[Any, Ask]]:
    """Yield the example's store and its framework's test client."""
    store, scheduler = seeded(name)
    with client_of(name, made(name, store, scheduler, AUTHENTICATE)) as ask:
        yield store, ask


def test_an_example_is_short(name: str) -> None:
    """The endpoint is a matter of a few lines."""
    assert len((FOLDER / f"{name}.py").read_text("utf-8").splitlines()) < LINES_MAX


def test_every_example_is_run() -> None:
    """None lies there that no test knows; the adapters have their own, and so do Django's APIs."""
    adapters = {path.stem for path in FOLDER.glob("*_adapter*.py")}
    others = {"__init__", "calling", *adapters}
    assert {path.stem for path in FOLDER.glob("*.py")} - others == {*EVERY, *DJANGO_APIS}


def test_an_example_cancels(store_and_ask: tuple[Any, Ask]) -> None:
    """With the contract's bytes; the reason and the operation's name arrive."""
    store, ask = store_and_ask
    headers = A | JSON | {"Idempotency-Key": "op-1"}
    told = ask("POST", JOB, headers, b'{"reason": "x"}')
    assert (told.status, told.content) == (200, CANCELLED)
    assert told.headers["content-type"] == "application/json"
    assert ask("POST", JOB, headers, b'{"reason": "x"}') == told
    record = store.job("batch_xyz789", "a").cancellation
    assert (record.operation_id, record.actor, record.reason) == ("op-1", "ada", "x")


def test_an_example_takes_any_id(name: str, store_and_ask: tuple[Any, Ask]) -> None:
    """Slashes and blanks come through the framework; Litestar routes no slash."""
    store, ask = store_and_ask
    told = ask("POST", "/v1/batch/jobs/a%2Fb%20c/cancel", A, b"")
    if name == "litestar_app":
        assert (told.status, store.job("a/b c", "a").status) == (404, "running")
        return
    assert told.status == 200
    assert json.loads(told.content)["batchJobId"] == "a/b c"


def test_an_example_keeps_organizations_apart(store_and_ask: tuple[Any, Ask]) -> None:
    """A foreign job and a missing one are the same answer, and the job stays as it was."""
    store, ask = store_and_ask
    before = dict(store._committed)
    foreign = ask("POST", JOB, B, b"")
    missing = ask("POST", "/v1/batch/jobs/none/cancel", B, b"")
    assert foreign == missing
    assert (foreign.status, foreign.content) == (404, b'{"detail": "Batch job not found"}')
    assert dict(store._committed) == before


def test_an_example_refuses(name: str, store_and_ask: tuple[Any, Ask]) -> None:
    """As the bare application does, whatever its framework would rather say."""
    store, ask = store_and_ask
    before = dict(store._committed)
    unknown = ask("POST", JOB, {}, b"")
    assert (unknown.status, unknown.headers["www-authenticate"]) == (401, "Bearer")
    assert ask("POST", JOB, {"Authorization": "Bearer key-viewer"}, b"").status == 403
    assert ask("POST", JOB, A | JSON, b"{").status == 422
    assert ask("POST", JOB, A | JSON, b"x" * 40_000).status == 413
    got = ask("GET", JOB, A, b"")
    others = {"OPTIONS"} if name in {"litestar_app", "flask_app"} else set[str]()
    assert (got.status, {*got.headers["allow"].split(", ")}) == (405, {"POST"} | others)
    assert dict(store._committed) == before


def test_an_example_serves_its_description(name: str, store_and_ask: tuple[Any, Ask]) -> None:
    """Which knows where it is mounted; behind a route it is part of the application's own."""
    _, ask = store_and_ask
    path = DOCUMENTS.get(name, "/v1/openapi.json")
    told = ask("GET", path, {}, b"")
    if name in {"flask_app", "aiohttp_app"}:
        assert told.status == 404
        return
    document = json.loads(told.content)
    if name in DOCUMENTS:
        assert "/v1/batch/jobs/{batch_job_id}/cancel" in document["paths"]
    else:
        assert document["servers"] == [{"url": "/v1"}]
    assert ask("GET", path.replace("openapi.json", PAGES.get(name, "docs")), {}, b"").status == 200


@pytest.mark.parametrize("name", ROUTED)
def test_a_route_of_its_own_cancels(name: str, store_and_ask: tuple[Any, Ask]) -> None:
    """And is refused in the framework's manner, or with the endpoint's bytes."""
    store, ask = store_and_ask
    stop = "/v1/campaigns/batch_xyz789/stop"
    assert ask("POST", stop, {}, b"").status == 403
    assert ask("POST", stop, {"Authorization": "Bearer key-viewer"}, b"").status == 403
    foreign = ask("POST", stop, B, b"")
    assert (foreign.status, foreign.content) == (404, b'{"detail": "Batch job not found"}')
    told = ask("POST", stop, A, b"")
    assert (told.status, json.loads(told.content)) == (200, {"contacts": 2})
    assert store.job("batch_xyz789", "a").status == "cancelled"
    ended = ask("POST", stop, A, b"")
    detail = b'{"detail": "Cannot cancel job in \'cancelled\' status"}'
    assert (ended.status, ended.content) == (400, detail)


@pytest.mark.parametrize("name", ROUTED)
def test_its_worker_calls_until_the_job_is_cancelled(name: str) -> None:
    """In the background as the framework has it, or by a command; no call of another's job."""
    store, scheduler = seeded(name)
    app = made(name, store, scheduler, AUTHENTICATE)
    with client_of(name, app) as ask:

        def call(job_id: str, headers: dict[str, str], organization: str) -> None:
            if name == "flask_app":
                done = app.test_cli_runner().invoke(args=["call", job_id, organization])
                assert done.exit_code == 0, done.output
                return
            answer = ask("POST", f"/v1/campaigns/{job_id}/calls", headers, b"")
            assert answer.status == 202

        call("batch_xyz789", B, "b")
        assert ask("POST", "/v1/campaigns/batch_xyz789/stop", {}, b"").status == 403
        assert _statuses(store) == ["busy", "dialing", "pending"]
        call("batch_xyz789", A, "a")
        wait_until(
            lambda: _statuses(store) == ["completed", "completed", "dialing"], "all are called"
        )
        store.add_contacts("batch_xyz789", {"4": "pending"}, "a")
        assert ask("POST", "/v1/campaigns/batch_xyz789/stop", A, b"").status == 200
        call("batch_xyz789", A, "a")
        assert _statuses(store) == ["cancelled", "completed", "completed", "dialing"]


def _statuses(store: Any) -> list[str]:
    return sorted(store.contacts("batch_xyz789", "a").values())


def test_an_example_behind_a_real_server(name: str, postgres_schema: str) -> None:
    """
    On Postgres: another organization gets its answer while the job is locked.

    A body in chunks and two cancels at once are part of it.
    """
    dsn = postgres_schema
    uow: Any = (
        AsyncPostgresUnitOfWork(lambda: psycopg.AsyncConnection.connect(dsn))
        if is_async(name)
        else PostgresUnitOfWork(lambda: psycopg.connect(dsn))
    )
    scheduler = AsyncMemoryScheduler() if is_async(name) else MemoryScheduler()
    with ExitStack() as stack:
        connection = stack.enter_context(psycopg.connect(dsn, autocommit=True))
        create_reference_tables(connection)
        connection.execute(
            "INSERT INTO batch_jobs (id, organization_id, status) "
            "VALUES ('batch_xyz789', 'a', 'running')"
        )
        connection.execute(
            "INSERT INTO batch_contacts (batch_job_id, status) "
            "VALUES ('batch_xyz789', 'pending'), ('batch_xyz789', 'busy')"
        )
        url = stack.enter_context(serving(name, made(name, uow, scheduler, AUTHENTICATE)))
        client = stack.enter_context(httpx.Client(base_url=url, timeout=60))
        with connection.transaction():
            connection.execute("SELECT FROM batch_jobs FOR UPDATE")
            foreign = client.post(JOB, headers=B)
            missing = client.post("/v1/batch/jobs/none/cancel", headers=B)
        assert foreign.status_code == missing.status_code == 404
        assert foreign.content == missing.content == b'{"detail": "Batch job not found"}'
        assert _lasting(foreign) == _lasting(missing)
        assert 400 <= _malformed_chunks(url) < 500
        running = connection.execute("SELECT status FROM batch_jobs").fetchone()
        assert running == ("running",)
        chunked: dict[str, Any] = {"headers": A | JSON, "content": iter([b'{"rea', b'son": "x"}'])}
        if name == "django_view":  # Django drops such a body under WSGI.
            assert client.post(JOB, **chunked).status_code == 411
            chunked["content"] = b'{"reason": "x"}'
        told = client.post(JOB, **chunked)
        assert (told.status_code, told.content) == (200, CANCELLED)
        assert client.post(JOB, headers=A).status_code == 400
        kept = connection.execute("SELECT actor, reason FROM batch_cancellations").fetchall()
        assert kept == [("ada", "x")]


def _malformed_chunks(url: str) -> int:
    """Return the status for a body whose second chunk has a size that is no number."""
    place = httpx.URL(url)
    head = f"POST {JOB} HTTP/1.1\r\nHost: x\r\nAuthorization: {A['Authorization']}\r\n"
    head += "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection((place.host, place.port or 80), timeout=60) as line:
        line.sendall(head.encode() + b"2\r\n{}\r\nzz\r\n{}\r\n0\r\n\r\n")
        return int(line.makefile("rb").readline().split()[1])


def _lasting(told: httpx.Response) -> list[tuple[str, str]]:
    return [(name, value) for name, value in told.headers.items() if name != "date"]
