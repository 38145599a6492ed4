"""What the endpoint answers, byte for byte, as an ASGI and as a WSGI application."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest

from batch_cancel.adapters.asgi import AsgiApp
from batch_cancel.adapters.wsgi import WsgiApp
from batch_cancel.domain.errors import CancelFailed, Fault
from batch_cancel.domain.model import JobKey
from batch_cancel.http.api_keys import ApiKeys, Principal
from batch_cancel.http.request import Request
from tests.http.requests import AUTHENTICATE, JSON, KEY_A, KEY_B, VIEWER, Asked, Site, ask_wsgi

NOT_FOUND = b'{"detail": "Batch job not found"}'
FAILED = b'{"detail": "Failed to cancel batch job"}'
CANCELLED = (
    b'{"success": true, "message": "Job was already running - cancelled remaining contacts", '
    b'"batchJobId": "batch_xyz789", "redisJobCancelled": false, "contactsCancelled": 2}'
)


def named(value: object) -> str:
    """Give the id of a test: one with a backslash, nobody can ask for by its id."""
    return ascii(value)[:40].replace("\\", "%")


def with_body(body: bytes, *more: tuple[str, str]) -> Asked:
    """Give a request with this JSON body."""
    return Asked(headers=[KEY_A, JSON, *more], chunks=[body])


def test_a_cancel_is_the_contracts_200(site: Site) -> None:
    """These bytes, these headers, and the job is cancelled."""
    site.add_job()
    told = site.ask(Asked())
    assert (told.status, told.content) == (200, CANCELLED)
    assert told.headers == (
        ("content-type", "application/json"),
        ("content-length", str(len(CANCELLED))),
    )
    assert site.store.job("batch_xyz789", "a").status == "cancelled"
    assert site.record().actor == "ada"


def test_a_second_cancel_is_the_contracts_400(site: Site) -> None:
    """Without an Idempotency-Key it is another operation."""
    site.add_job()
    site.ask(Asked())
    told = site.ask(Asked())
    assert told.status == 400
    assert told.content == b'{"detail": "Cannot cancel job in \'cancelled\' status"}'


def test_an_idempotency_key_names_the_operation(site: Site) -> None:
    """Asked again with it, the answer is the same; the key of one job is nothing to another."""
    site.add_job()
    site.add_job("other")
    asked = Asked(headers=[KEY_A, ("Idempotency-Key", "op-1")])
    first = site.ask(asked)
    assert site.ask(asked) == first
    assert (first.status, first.content) == (200, CANCELLED)
    assert site.record().operation_id == "op-1"
    other = Asked(path="/batch/jobs/other/cancel", headers=asked.headers)
    assert json.loads(site.ask(other).content)["batchJobId"] == "other"


def test_an_idempotency_key_alone_names_the_operation(site: Site) -> None:
    """Asked again with another reason, it is the same cancellation: the first reason stays."""
    site.add_job()
    key = ("Idempotency-Key", "op-1")
    first, second = (with_body(b'{"reason": "%c"}' % reason, key) for reason in b"ab")
    assert site.ask(first) == site.ask(second)
    assert site.record().reason == "a"


def test_an_idempotency_key_counts_within_its_organization(site: Site) -> None:
    """Two organizations that number their requests alike learn nothing of each other."""
    site.add_job()
    site.store.add_job("batch_xyz789", "pending", "b", None)
    number = ("Idempotency-Key", "1")
    of_a = site.ask(Asked(headers=[KEY_A, number]))
    of_b = site.ask(Asked(headers=[KEY_B, number]))
    assert (of_a.status, of_a.content) == (200, CANCELLED)
    assert of_b.status == 200
    assert json.loads(of_b.content)["message"] == "Pending job cancelled successfully"
    assert site.ask(Asked(headers=[KEY_A, number])) == of_a
    assert site.ask(Asked(headers=[KEY_B, number])) == of_b


@pytest.mark.parametrize(
    "key", ["", "a,b", "a b", "\t", "é", "x" * 256, "a\x00", "a\x7f"], ids=named
)
def test_what_names_no_operation_is_refused(site: Site, key: str) -> None:
    """And nothing is cancelled under a name that the client did not mean."""
    site.add_job()
    before = site.state()
    told = site.ask(Asked(headers=[KEY_A, ("idempotency-key", key)]))
    assert told.status == 422
    assert site.state() == before


def test_two_idempotency_keys_are_refused(site: Site) -> None:
    """Which one was meant is not for us to guess."""
    site.add_job()
    keys = [("idempotency-key", "a"), ("idempotency-key", "b")]
    assert site.ask(Asked(headers=[KEY_A, *keys])).status == 422
    assert site.record() is None


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_an_ended_job_is_the_contracts_400(site: Site, status: str) -> None:
    """With its own status."""
    site.add_job(status=status)
    told = site.ask(Asked())
    assert told.status == 400
    assert told.content == f'{{"detail": "Cannot cancel job in \'{status}\' status"}}'.encode()


@pytest.mark.parametrize("status", ["paused", None])
def test_an_unknown_status_is_the_contracts_500(
    site: Site, status: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """The client learns nothing; the operator learns which job."""
    site.add_job(status=status)
    told = site.ask(Asked())
    assert (told.status, told.content) == (500, FAILED)
    assert "'batch_xyz789'" in caplog.text
    assert "key-a" not in caplog.text


def test_a_log_that_raises_does_not_reach_the_client(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither as an exception nor as another answer."""

    def emit(_: logging.Handler, __: logging.LogRecord) -> None:
        msg = "no space left on device"
        raise OSError(msg)

    monkeypatch.setattr("_pytest.logging.LogCaptureHandler.emit", emit)
    site.add_job(status="paused")
    told = site.ask(Asked())
    assert (told.status, told.content) == (500, FAILED)
    site.add_job("other")
    assert site.ask(Asked(path="/batch/jobs/other/cancel")).status == 200


def test_a_foreign_job_and_a_missing_one_cannot_be_told_apart(site: Site) -> None:
    """The same bytes, headers included, and the job is as it was."""
    site.add_job()
    before = site.state()
    foreign = site.ask(Asked(headers=[KEY_B]))
    missing = site.ask(Asked(path="/batch/jobs/none/cancel", headers=[KEY_B]))
    assert foreign == missing
    assert (foreign.status, foreign.content) == (404, NOT_FOUND)
    assert site.state() == before


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("authorization", "")],
        [("authorization", "Bearer")],
        [("authorization", "Bearer ")],
        [("authorization", "key-a")],
        [("authorization", "Basic key-a")],
        [("authorization", "Bearer wrong")],
        [("authorization", "Bearer key-a x")],
        [("authorization", "Bearer key-a\xe9")],
        [("authorization", "Bearer " + "x" * 65_536)],
        [KEY_A, KEY_A],
        [KEY_A, KEY_B],
        [("x-api-key", "key-a")],
    ],
    ids=named,
)
def test_without_a_key_nothing_is_told(site: Site, headers: list[tuple[str, str]]) -> None:
    """One answer to all of them, and it says which kind of key is wanted."""
    site.add_job()
    told = site.ask(Asked(headers=headers))
    assert (told.status, told.content) == (401, b'{"detail": "Missing or wrong API key"}')
    assert ("www-authenticate", "Bearer") in told.headers
    assert site.record() is None


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
def test_the_scheme_has_no_case(site: Site, scheme: str) -> None:
    """RFC 9110 says so."""
    site.add_job()
    assert site.ask(Asked(headers=[("Authorization", f"{scheme} key-a")])).status == 200


def test_a_role_that_may_not_cancel_is_told_so(site: Site) -> None:
    """Whatever he asks for: he does not learn whether the job is there."""
    site.add_job()
    told = site.ask(Asked(headers=[VIEWER]))
    assert (told.status, told.content) == (403, b'{"detail": "Not allowed to cancel batch jobs"}')
    assert site.ask(Asked(path="/batch/jobs/none/cancel", headers=[VIEWER])) == told
    assert site.record() is None


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "post", "TRACE"])
def test_another_method_is_told_the_right_one(site: Site, method: str) -> None:
    """With or without a key; HEAD without a body."""
    site.add_job()
    told = site.ask(Asked(method=method))
    assert told.status == 405
    assert ("allow", "POST") in told.headers
    assert told.content == (b"" if method == "HEAD" else b'{"detail": "Method Not Allowed"}')
    assert site.record() is None


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "*",
        "/batch/jobs/cancel",
        "/batch/jobs/x",
        "/batch/jobs/x/cancel/",
        "/batch/jobs/x/start",
        "/Batch/jobs/x/cancel",
        "//batch/jobs/x/cancel",
        "/batch/jobs",
        "/docs/",
    ],
)
def test_there_is_nothing_elsewhere(site: Site, path: str) -> None:
    """A 404 of its own."""
    told = site.ask(Asked(path=path))
    assert (told.status, told.content) == (404, b'{"detail": "Not Found"}')


@pytest.mark.parametrize(
    ("written", "job_id"),
    [
        ("a%20b", "a b"),
        ("a/b", "a/b"),
        ("a%2Fb", "a/b"),
        ("cancel", "cancel"),
        ("x/cancel", "x/cancel"),
        ("..%2f..", "../.."),
        ("../..", "../.."),
        ("%C3%A9", "é"),
        ("%25", "%"),
        ("%2525", "%25"),
        ("%", "%"),
        ("%zz", "%zz"),
        ("a%0Ab", "a\nb"),
        ("a+b", "a+b"),
        ("{}", "{}"),
        ("'%22*", "'\"*"),
        ("%EF%BF%BD", "\ufffd"),
    ],
)
def test_an_id_is_whatever_stands_in_the_path(site: Site, written: str, job_id: str) -> None:
    """Percent-decoded once, slashes and all."""
    site.add_job(job_id)
    told = site.ask(Asked(path=f"/batch/jobs/{written}/cancel"))
    assert told.status == 200
    assert json.loads(told.content)["batchJobId"] == job_id


@pytest.mark.parametrize("written", ["", "%00", "%FF", "%ED%A0%80", "x" * 65_536, "a%00b"])
def test_what_can_be_no_id_is_not_found(site: Site, written: str) -> None:
    """Bytes that are no text name no job, not even one whose name looks like them."""
    for job_id in ("\ufffd", "\ufffd" * 3, "a"):
        site.add_job(job_id)
    before = site.state()
    told = site.ask(Asked(path=f"/batch/jobs/{written}/cancel"))
    assert (told.status, told.content) == (404, NOT_FOUND)
    assert site.state() == before


@pytest.mark.parametrize(("prefix", "base"), [("/v1", ""), ("", "/v1"), ("/b", "/a"), ("", "")])
def test_it_can_be_mounted_anywhere(site: Site, prefix: str, base: str) -> None:
    """Below a path of the server, below a prefix of its own, or both."""
    site.restart(prefix=prefix)
    site.add_job()
    asked = Asked(path=f"{prefix}/batch/jobs/batch_xyz789/cancel", base=base)
    assert site.ask(asked).status == 200
    document = site.ask(Asked("GET", f"{prefix}/openapi.json", [], base=base))
    assert json.loads(document.content)["servers"] == [{"url": (base + prefix) or "/"}]
    if prefix:
        assert site.ask(Asked()).status == 404


@pytest.mark.parametrize("prefix", ["v1", "/v1/", "/"])
def test_a_prefix_that_could_not_match_is_refused(site: Site, prefix: str) -> None:
    """At once, not by 404s."""
    with pytest.raises(ValueError, match="prefix"):
        site.restart(prefix=prefix)


# The body ----------------------------------------------------------------------------------------


def test_a_reason_is_kept(site: Site) -> None:
    """With the cancellation."""
    site.add_job()
    assert site.ask(with_body('{"reason": "zu früh"}'.encode())).status == 200
    assert site.record().reason == "zu früh"


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON", "application/json; charset=utf-8"]
)
def test_json_is_json(site: Site, content_type: str) -> None:
    """However its type is written."""
    site.add_job()
    asked = Asked(headers=[KEY_A, ("content-type", content_type)], chunks=[b'{"reason": "x"}'])
    assert site.ask(asked).status == 200


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_no_reason_is_no_reason(site: Site, body: bytes) -> None:
    """An empty body may be of any type."""
    site.add_job()
    assert site.ask(with_body(body)).status == 200
    assert site.record().reason is None


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"1",
        b'{"reason": ""}',
        b'{"reason": 1}',
        b'{"reason": null}',
        b'{"reason": ["x"]}',
        b'{"reasn": "x"}',
        b'{"reason": "x", "organization_id": "b"}',
        b'{"reason": "x", "reason": "y"}',
        b'{"reason": "x", "reason": "x"}',
        b'{"reason": 1, "reason": "x"}',
        b'{"reason": {"a": 1}, "reason": "x"}',
        b'{"reason": "x", "\\u0072eason": "y"}',
        b'{"reason": {"a": 1, "a": 2}}',
        b'{"": 1, "": 2}',
        b'{"reason": "\\u0000"}',
        b'{"reason": "\\ud800"}',
        b'{"reason": "\xff"}',
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b"[" * 30_000,
        b"9" * 30_000,
        b'{"reason": "' + b"x" * 1025 + b'"}',
        b" ",
    ],
    ids=named,
)
def test_a_body_that_is_not_as_described_is_refused(site: Site, body: bytes) -> None:
    """And nothing is cancelled."""
    site.add_job()
    before = site.state()
    assert site.ask(with_body(body)).status == 422
    assert site.state() == before


@pytest.mark.parametrize("character", ["x", "é", "\U0001f600", "\x01"])
def test_the_longest_reason_is_kept(site: Site, character: str) -> None:
    """1024 characters, whatever they are, however they are written."""
    site.add_job()
    reason = character * 1024
    assert site.ask(with_body(json.dumps({"reason": reason}).encode())).status == 200
    assert site.record().reason == reason


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("content-type", "")],
        [("content-type", "text/plain")],
        [("content-type", "application/x-www-form-urlencoded")],
        [("content-type", "application/jsonx")],
        [JSON, JSON],
        [JSON, ("content-encoding", "gzip")],
    ],
    ids=named,
)
def test_a_body_of_another_type_is_refused(site: Site, headers: list[tuple[str, str]]) -> None:
    """It might mean something."""
    site.add_job()
    asked = Asked(headers=[KEY_A, *headers], chunks=[b'{"reason": "x"}'])
    assert site.ask(asked).status == 415
    assert site.record() is None


def test_a_body_that_breaks_off_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """Servers raise what they like: it is the client's fault, and nothing is cancelled."""

    def body() -> Iterator[bytes]:
        yield b"{"
        msg = "Invalid chunk header"
        raise OSError(msg)

    async def body_async() -> AsyncIterator[bytes]:
        for piece in body():
            yield piece

    def cancel(*_: object, **__: object) -> Any:
        pytest.fail("cancelled")

    headers = {name.lower(): value for name, value in (KEY_A, JSON)}
    request = Request("POST", "/batch/jobs/j/cancel", headers)
    told = asyncio.run(AsgiApp(cancel, AUTHENTICATE).respond(request, body_async()))
    assert told == WsgiApp(cancel, AUTHENTICATE).respond(request, body())
    assert told.status == 422
    assert told.content == b'{"detail": "The body broke off, or its chunks are malformed"}'
    assert not caplog.records


@pytest.mark.parametrize("is_chunked", [True, False])
def test_a_large_body_is_refused(site: Site, is_chunked: bool) -> None:  # noqa: FBT001
    """Whether its length is told before or found out; the longest one is read."""
    site.add_job()
    longest = b'{"reason": "x"}'.ljust(32_768)
    too_long = longest + b" "
    for chunks, status in (([too_long], 413), ([longest, b" "], 413), ([longest], 200)):
        asked = Asked(headers=[KEY_A, JSON], chunks=chunks, is_chunked=is_chunked)
        assert site.ask(asked).status == status


@pytest.mark.parametrize(
    ("length", "status"), [("9" * 5000, 413), ("-1", 411), ("x", 411), ("1,1", 411), ("²", 411)]
)
def test_a_length_that_is_none_is_refused(site: Site, length: str, status: int) -> None:
    """Before anything is read."""
    site.add_job()
    assert site.ask(Asked(headers=[KEY_A, ("content-length", length)])).status == status
    assert site.record() is None


def test_an_empty_length_is_none(site: Site) -> None:
    """As PEP 3333 has it, and so everywhere: the body is read to its end."""
    site.add_job()
    asked = Asked(headers=[KEY_A, JSON, ("content-length", "")], chunks=[b'{"reason": "r"}'])
    assert site.ask(asked).status == 200
    assert site.record().reason == "r"


def test_a_body_that_ends_too_early_is_refused(site: Site) -> None:
    """Its client has gone, and may not have meant what has arrived of it."""
    site.add_job()
    asked = Asked(headers=[KEY_A, JSON, ("content-length", "20")], chunks=[b"{}"])
    assert site.ask(asked).status == 422
    assert site.record() is None


def test_a_body_in_pieces_is_read_whole(site: Site) -> None:
    """As a server hands it over."""
    site.add_job()
    asked = Asked(headers=[KEY_A, JSON], chunks=[b'{"rea', b"", b'son": "x"}'], is_chunked=True)
    assert site.ask(asked).status == 200
    assert site.record().reason == "x"


def test_a_wsgi_server_that_cannot_end_a_body_is_not_waited_for() -> None:
    """Reading on would block for ever."""
    site = Site("wsgi")
    site.add_job()
    asked = Asked(headers=[KEY_A, JSON], chunks=[b"{}"], is_chunked=True)
    assert ask_wsgi(site.app, asked, ends=False).status == 411
    assert ask_wsgi(site.app, Asked(), ends=False).status == 200


# Failures ----------------------------------------------------------------------------------------


def failing(site: Site, error: Exception) -> Any:
    """Give a cancel that fails."""

    def cancel(*_: object, **__: object) -> Any:
        raise error

    async def cancel_async(*_: object, **__: object) -> Any:
        raise error

    return cancel_async if site.kind == "asgi" else cancel


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault.CONFLICT, 503),
        (Fault.INTERRUPTED, 503),
        (Fault.LATE, 503),
        (Fault.BUSY, 429),
        (Fault.REFUSED, 500),
    ],
)
def test_what_may_pass_says_when_to_ask_again(site: Site, fault: Fault, status: int) -> None:
    """If the owner wants it so; else it is the contract's 500."""
    cancel = failing(site, CancelFailed(JobKey("batch_xyz789", "a"), "x", "unchanged", fault))
    site.restart(cancel=cancel, retry_after=timedelta(seconds=1.5))
    told = site.ask(Asked())
    assert (told.status, told.content) == (status, FAILED)
    assert (("retry-after", "2") in told.headers) is (status != 500)
    site.restart(cancel=cancel)
    told = site.ask(Asked())
    assert (told.status, told.content) == (500, FAILED)
    assert "retry-after" not in dict(told.headers)


@pytest.mark.parametrize("part", ["cancel", "authenticate"])
def test_what_nobody_foresaw_tells_no_secret(
    site: Site, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither to the client nor to the log."""
    site.restart(**{part: failing(site, RuntimeError("postgresql://ada:hunter2@db"))})
    told = site.ask(Asked())
    assert (told.status, told.content) == (500, FAILED)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "RuntimeError" in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize("answer", [True, "ada", {"may_cancel": True}])
def test_authenticate_must_give_a_principal(site: Site, answer: object) -> None:
    """Anything else admits nobody."""
    site.restart(authenticate=lambda key: answer)
    site.add_job()
    assert site.ask(Asked()).status == 500
    assert site.record() is None


def test_may_cancel_must_be_true(site: Site) -> None:
    """Not merely something."""
    site.restart(authenticate=lambda key: Principal("x", "a", may_cancel="no"))  # type: ignore[arg-type]
    site.add_job()
    assert site.ask(Asked()).status == 403


# Keys --------------------------------------------------------------------------------------------


def test_keys_are_kept_as_digests() -> None:
    """A dump of the helper shows none of them."""
    keys = ApiKeys({"secret-key": Principal("ada", "a", may_cancel=True)})
    assert keys("secret-key") == Principal("ada", "a", may_cancel=True)
    assert keys("secret-ke") is None
    assert "secret-key" not in repr(vars(keys))
    assert "ada" not in repr(vars(keys))


def test_each_key_is_compared_with_all_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests of one length, by the function made for it, first match or not."""
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr("batch_cancel.http.api_keys.compare_digest", compare)
    keys = ApiKeys({name: Principal(name, "a", may_cancel=True) for name in ("k1", "k2", "k3")})
    for asked in ("k1", "k3", "wrong"):
        compared.clear()
        keys(asked)
        assert [(len(one), len(other)) for one, other in compared] == [(32, 32)] * 3


@pytest.mark.parametrize("key", ["", "a b", "é", "a\n"])
def test_a_key_that_no_header_carries_is_refused(key: str) -> None:
    """An empty key above all."""
    with pytest.raises(ValueError, match="visible ASCII"):
        ApiKeys({key: Principal("ada", "a", may_cancel=True)})
