"""The endpoint: who asks, what for, and what is answered."""

from __future__ import annotations

import json
import logging

import pytest

from tests.http.answers import CANCELLED, FAILED, NOT_FOUND, named, with_body
from tests.http.requests import KEY_A, KEY_B, VIEWER, Asked, Site


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


def test_a_foreign_job_and_a_missing_one_cannot_be_distinguished(site: Site) -> None:
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
def test_without_a_key_nothing_is_reported(site: Site, headers: list[tuple[str, str]]) -> None:
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


def test_a_role_that_may_not_cancel_gets_a_403(site: Site) -> None:
    """Whatever the request asks for: it does not learn whether the job is there."""
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
