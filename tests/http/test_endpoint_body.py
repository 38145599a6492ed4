"""The endpoint: the body, failures, and keys."""

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
from batch_cancel.domain.job import JobKey
from batch_cancel.http.api_keys import ApiKeys, Principal
from batch_cancel.http.request import Request
from tests.http.answers import FAILED, named, with_body
from tests.http.requests import AUTHENTICATE, JSON, KEY_A, Asked, Site, ask_wsgi

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
    """Return a cancel that fails."""

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
def test_an_unexpected_error_shows_no_secret(
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
