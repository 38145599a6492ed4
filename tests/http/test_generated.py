"""Some of the generated requests; `make http` sends twenty thousand."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.http.generated import (
    DOCUMENTED,
    JOBS,
    check_answer,
    generate,
    schemathesis_cases,
    seeded,
)
from tests.http.requests import KEY_B, Asked, Told


@pytest.mark.repeats
def test_generated_requests_break_no_rule() -> None:
    """Nothing undocumented, no 5xx, no change by a refused request; ASGI and WSGI agree."""
    tally: Counter[str] = Counter()
    generate(300, tally)
    assert tally.total() >= 300
    assert {"asgi 200", "wsgi 200", "asgi 404", "asgi 401", "asgi 422"} <= set(tally)


@pytest.mark.repeats
@pytest.mark.parametrize("kind", ["asgi", "wsgi", "fastapi", "litestar"])
def test_schemathesis_has_nothing_to_say(kind: str) -> None:
    """Each of its checks, on requests that fit the description and on ones that do not."""
    tally: Counter[str] = Counter()
    schemathesis_cases(kind, 12, tally)
    assert {f"{kind} 200", f"{kind} 401", f"{kind} 404"} <= set(tally)


def test_what_may_be_answered_is_written_out() -> None:
    """By hand, so that the description can't grow to fit an answer."""
    assert {200, 400, 401, 403, 404, 405, 408, 411, 413, 415, 422, 500} == DOCUMENTED


@pytest.mark.parametrize(
    "told",
    [Told(418, (), b""), Told(500, (), b""), Told(404, (), b"Batch job not found")],
)
def test_the_rules_catch_what_they_are_there_for(told: Told) -> None:
    """An undocumented answer, a failure, a change by a refused request."""
    site = seeded("wsgi")
    before = site.state()
    site.ask(Asked(path="/batch/jobs/foreign/cancel", headers=[KEY_B]))
    assert len(site.state()) == len(JOBS)
    with pytest.raises(AssertionError):
        check_answer(told, before, site.state())
