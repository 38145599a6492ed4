"""What the documents of FastAPI and Litestar say of the endpoint."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
import schemathesis

from batch_cancel.adapters import fastapi as fastapi_adapter
from batch_cancel.adapters import litestar as litestar_adapter
from batch_cancel.http.openapi import openapi
from tests.http.frameworks import ASGI, app_of, ports_of
from tests.http.requests import Asked, ask_asgi

PATH = "/batch/jobs/{batch_job_id}/cancel"
DOCUMENTS = {"fastapi": "/openapi.json", "litestar": "/schema/openapi.json"}


def document_of(name: str, **options: Any) -> Any:
    """Return the document that the application serves."""
    app = app_of(name, ports_of(name)[1], **options)
    return json.loads(ask_asgi(app, Asked("GET", DOCUMENTS[name], [])).content)


def operation_in(document: Any) -> Any:
    """Return the description of the endpoint."""
    return document["paths"][PATH]["post"]


def resolved(document: Any, schema: Any) -> Any:
    """Return a schema that a reference leads to."""
    return document["components"]["schemas"][schema["$ref"].removeprefix("#/components/schemas/")]


@pytest.fixture(params=ASGI)
def name(request: pytest.FixtureRequest) -> str:
    """Name each framework that documents its routes."""
    framework: str = request.param
    return framework


def test_each_status_is_documented(name: str) -> None:
    """Those of the bare application's own document, examples and headers included."""
    answers = operation_in(document_of(name))["responses"]
    assert sorted(answers) == (
        "200 400 401 403 404 405 408 411 413 415 422 500".split()  # noqa: SIM905
    )
    own = openapi()["paths"][PATH]["post"]["responses"]
    for status, answer in own.items():
        assert answers[status].get("headers") == answer.get("headers")
        if (name, status) != ("litestar", "405"):  # Its body is Litestar's.
            assert answers[status]["description"] == answer["description"]
            [content], [told] = answer["content"].values(), answers[status]["content"].values()
            assert told["examples"] == content["examples"]


def test_a_time_to_wait_is_documented(name: str) -> None:
    """Where there is one."""
    answers = operation_in(document_of(name, retry_after=timedelta(seconds=5)))["responses"]
    for status in ("429", "503"):
        assert answers[status]["headers"]["Retry-After"]["required"] is True


def test_the_bodies_are_models(name: str) -> None:
    """With the contract's names and types, of which none may be missing."""
    document = document_of(name)
    answers = operation_in(document)["responses"]
    types = {
        status: {
            field: it["type"] for field, it in resolved(document, schema)["properties"].items()
        }
        for status, answer in answers.items()
        if (name, status) != ("litestar", "405")
        for schema in [answer["content"]["application/json"]["schema"]]
    }
    cancelled = {
        "success": "boolean",
        "message": "string",
        "batchJobId": "string",
        "redisJobCancelled": "boolean",
        "contactsCancelled": "integer",
    }
    assert types.pop("200") == cancelled
    assert all(it == {"detail": "string"} for it in types.values())
    schemas = document["components"]["schemas"]
    assert sorted(schemas["CancelledBatchJob"]["required"]) == sorted(cancelled)
    assert schemas["BatchJobError"]["required"] == ["detail"]


def test_the_request_is_documented(name: str) -> None:
    """The job, the operation's name, and a body that may be left out."""
    operation = operation_in(document_of(name))
    parameters = {it["name"]: it for it in operation["parameters"]}
    assert list(parameters) == ["batch_job_id", "Idempotency-Key"]
    assert [it["required"] for it in parameters.values()] == [True, False]
    assert parameters["Idempotency-Key"]["schema"]["pattern"] == r"^[!-+\--~]{1,255}$"
    body = operation["requestBody"]
    schema = body["content"]["application/json"]["schema"]
    assert (body["required"], list(schema["properties"])) == (False, ["reason"])
    assert schema["properties"]["reason"]["maxLength"] == 1024


def test_it_is_openapi_3_1(name: str) -> None:
    """By the metaschema that the specification publishes."""
    schemathesis.openapi.from_dict(document_of(name)).validate()


@pytest.mark.parametrize(
    "model", [fastapi_adapter.CancelledBatchJob, litestar_adapter.CancelledBatchJob]
)
def test_a_model_reads_an_answer(model: Any) -> None:
    """For a route of one's own that answers with it."""
    content = openapi()["paths"][PATH]["post"]["responses"]["200"]["content"]
    for example in content["application/json"]["examples"].values():
        answer = model(**{_snake(field): it for field, it in example["value"].items()})
        assert answer.contacts_cancelled in {58, 100}


def _snake(name: str) -> str:
    return "".join(f"_{it.lower()}" if it.isupper() else it for it in name)


def test_two_routers_may_be_in_one_application() -> None:
    """Each with its own prefix, name and documentation."""
    from fastapi import FastAPI

    app = FastAPI()
    for version in ("/v1", "/v2"):
        router = fastapi_adapter.cancel_router(ports_of("fastapi")[1], principal=lambda: None)
        app.include_router(router, prefix=version)
    ids = [app.openapi()["paths"][f"{it}{PATH}"]["post"]["operationId"] for it in ("/v1", "/v2")]
    assert len(set(ids)) == 2
    assert asyncio.run(_status_of(app, "/v2/batch/jobs/mine/cancel")) == 401


async def _status_of(app: Any, path: str) -> int:
    from tests.http.requests import ask_asgi_async

    return (await ask_asgi_async(app, Asked(path=path))).status
