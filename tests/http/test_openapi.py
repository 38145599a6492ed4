"""What the OpenAPI document says of the endpoint."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from datetime import timedelta
from typing import Any

import pytest
import schemathesis

from batch_cancel.http.openapi import openapi
from tests.http.requests import Asked, Site

PATH = "/batch/jobs/{batch_job_id}/cancel"


def answers(document: Any) -> Any:
    """Return the documented answers by their status."""
    return document["paths"][PATH]["post"]["responses"]


def bodies(answer: Any) -> list[Any]:
    """Return the examples of an answer."""
    return [it["value"] for it in answer["content"]["application/json"]["examples"].values()]


def test_the_contracts_examples_are_in_it() -> None:
    """Word for word, in the contract's order of fields."""
    told = answers(openapi())
    scheduled, *others = bodies(told["200"])
    assert json.dumps(scheduled) == (
        '{"success": true, "message": "Scheduled job cancelled successfully", '
        '"batchJobId": "batch_xyz789", "redisJobCancelled": true, "contactsCancelled": 100}'
    )
    assert [it["message"] for it in others] == [
        "Pending job cancelled successfully",
        "Job was already running - cancelled remaining contacts",
    ]
    assert [it["redisJobCancelled"] for it in others] == [False, False]
    assert bodies(told["400"]) == [
        {"detail": f"Cannot cancel job in '{status}' status"}
        for status in ("completed", "failed", "cancelled")
    ]
    assert {"detail": "Batch job not found"} in bodies(told["404"])
    assert bodies(told["500"]) == [{"detail": "Failed to cancel batch job"}]


def test_a_success_for_a_cancelled_job_is_documented_where_it_is_given() -> None:
    """With `ok_if_cancelled` it is a 200, and no 400 any more."""
    document = openapi(ok_if_cancelled=True)
    told = answers(document)
    assert bodies(told["200"])[-1] == {
        "success": True,
        "message": "Job was already cancelled",
        "batchJobId": "batch_xyz789",
        "redisJobCancelled": False,
        "contactsCancelled": 0,
    }
    assert len(bodies(told["200"])) == 4
    assert bodies(told["400"]) == [
        {"detail": f"Cannot cancel job in '{status}' status"} for status in ("completed", "failed")
    ]
    messages = document["components"]["schemas"]["Cancelled"]["properties"]["message"]["enum"]
    assert messages[-1] == "Job was already cancelled"
    assert "Job was already cancelled" not in str(openapi())


def test_times_to_wait_are_documented_where_they_are_given() -> None:
    """With `retry_after` there are a 429 and a 503, and both say when to ask again."""
    assert {"429", "503"}.isdisjoint(answers(openapi()))
    told = answers(openapi("", timedelta(seconds=5)))
    assert [status for status in told if "Retry-After" in told[status].get("headers", {})] == [
        "429",
        "503",
    ]


def test_headers_are_documented() -> None:
    """Those that a client can act on."""
    told = answers(openapi())
    assert list(told["401"]["headers"]) == ["WWW-Authenticate"]
    assert list(told["405"]["headers"]) == ["Allow"]


def test_each_header_is_always_there() -> None:
    """Where an answer is documented with one."""
    for answer in answers(openapi("", timedelta(seconds=5))).values():
        for header in answer.get("headers", {}).values():
            assert header["required"] is True
            assert header["schema"] == {"type": "string"}


def test_the_bodies_have_their_fields_and_no_others() -> None:
    """The contract's five when cancelled, the detail of an error, the reason of a request."""
    schemas = openapi()["components"]["schemas"]
    types = {
        name: {field: it["type"] for field, it in schema["properties"].items()}
        for name, schema in schemas.items()
    }
    assert types == {
        "Cancelled": {
            "success": "boolean",
            "message": "string",
            "batchJobId": "string",
            "redisJobCancelled": "boolean",
            "contactsCancelled": "integer",
        },
        "Error": {"detail": "string"},
        "Wish": {"reason": "string"},
    }
    for name, required in (
        ("Cancelled", list(types["Cancelled"])),
        ("Error", ["detail"]),
        ("Wish", []),
    ):
        assert schemas[name]["type"] == "object"
        assert schemas[name]["required"] == required
        assert schemas[name]["additionalProperties"] is False


def test_each_answer_names_its_schema() -> None:
    """Which generators of clients read."""
    document = openapi()
    assert document["paths"][PATH]["post"]["operationId"] == "cancelBatchJob"
    for status, answer in answers(document).items():
        name = "Cancelled" if status == "200" else "Error"
        schema = answer["content"]["application/json"]["schema"]
        assert schema == {"$ref": f"#/components/schemas/{name}"}


def test_every_reference_leads_somewhere() -> None:
    """Within the document."""
    document = openapi()
    for reference in re.findall(r'"\$ref": "([^"]*)"', json.dumps(document)):
        place: Any = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


@pytest.mark.parametrize("retry_after", [None, timedelta(seconds=5)])
def test_it_is_openapi_3_1(retry_after: timedelta | None) -> None:
    """By the metaschema that the specification publishes."""
    document = openapi("/v1", retry_after)
    assert document["openapi"] == "3.1.0"
    schemathesis.openapi.from_dict(document).validate()
    del document["info"]
    with pytest.raises(Exception, match='"info" is a required property'):
        schemathesis.openapi.from_dict(document).validate()


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
def test_a_page_is_got_without_a_key(site: Site, path: str) -> None:
    """HEAD has its headers and no body; other methods are told the right ones."""
    got = site.ask(Asked("GET", path, []))
    assert got.status == 200
    assert dict(got.headers)["content-length"] == str(len(got.content))
    head = site.ask(Asked("HEAD", path, []))
    assert (head.status, head.headers, head.content) == (200, got.headers, b"")
    for method in ("POST", "OPTIONS"):
        told = site.ask(Asked(method, path, []))
        assert told.status == 405
        assert dict(told.headers)["allow"] == "GET, HEAD"


def test_the_page_lets_nothing_in_from_elsewhere(site: Site) -> None:
    """It runs its own script alone, by its hash, and is the same whatever a mount is named."""
    told = site.ask(Asked("GET", "/docs", [], base="/<script>alert(1)</script>"))
    policy = dict(told.headers)["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for element, directive in ((b"script", "script-src"), (b"style", "style-src")):
        [text] = re.findall(b"<%b>(.*?)</%b>" % (element, element), told.content, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert told.content == site.ask(Asked("GET", "/docs")).content
    elsewhere = rb"(src|href)=.https?:|\burl\(|@import|innerHTML|document\.write"
    assert not re.search(elsewhere, told.content)


@pytest.mark.parametrize(
    ("base", "safe"),
    [
        ("/tenants/<b>\"';id;{x}?#", "/tenants/%3Cb%3E%22%27%3Bid%3B%7Bx%7D%3F%23"),
        ("//evil.example", "/evil.example"),
    ],
)
def test_the_place_of_a_mount_is_quoted(site: Site, base: str, safe: str) -> None:
    """It may be of the client's making: no other host."""
    document = json.loads(site.ask(Asked("GET", "/openapi.json", base=base)).content)
    assert document["servers"] == [{"url": safe}]
