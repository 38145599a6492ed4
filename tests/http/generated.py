"""
Generated requests against the applications, and what none of them may do.

    python -m tests.http.generated --requests 20000     (make http)

Rule 1: no answer is undocumented, none is a 5xx.
Rule 2: a request that was not answered with 200 has changed nothing; one that was has changed the
        job that it named, and that job is its key's own.
Rule 3: ASGI and WSGI give the same answer, byte for byte, headers included.
Rule 4: a foreign job and a missing one give the same answer, byte for byte, headers included.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from functools import partial
from typing import Any, Final

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.config import SchemathesisConfig
from schemathesis.generation import GenerationMode

from batch_cancel import cancel_job_async
from batch_cancel.domain.job import JobKey
from batch_cancel.http.openapi import openapi
from tests.http import frameworks
from tests.http.requests import AUTHENTICATE, JSON, KEY_A, KEY_B, VIEWER, Asked, Site, Told

PATH: Final = "/batch/jobs/{batch_job_id}/cancel"
DOCUMENTED: Final = frozenset(
    int(status) for status in openapi()["paths"][PATH]["post"]["responses"]
)
JOBS: Final = {
    JobKey("mine", "a"): "running",
    JobKey("late/r", "a"): "scheduled",
    JobKey("done", "a"): "completed",
    JobKey("foreign", "b"): "pending",
    JobKey("nobody's", None): "running",
    JobKey("\ufffd", "a"): "running",
}
WRITTEN: Final = (
    "mine",
    "late%2Fr",
    "late/r",
    "done",
    "foreign",
    "nobody's",
    "none",
    "%FF",
    "%00",
)


def seeded(kind: str) -> Site:
    """Return an application over a few jobs; a framework's, if the kind is its name."""
    site = Site("asgi" if kind in frameworks.ASGI else kind)
    for key, status in JOBS.items():
        site.store.add_job(key.batch_job_id, status, key.organization_id, None)
        site.store.add_contacts(key.batch_job_id, {"1": "pending"}, key.organization_id)
    if kind in frameworks.ASGI:
        cancel = partial(cancel_job_async, uow=site.store, scheduler=site.scheduler)
        site.app = frameworks.app_of(kind, cancel)
    return site


def statuses(site: Site) -> dict[JobKey, object]:
    """Return what is committed, but for its times and generated names."""
    store = site.store
    return {
        key: (row.status, store.contacts(key.batch_job_id, key.organization_id))
        for key, row in store._committed.items()
    }


# Our own requests --------------------------------------------------------------------------------

_latin: Final = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=40)
_paths: Final = st.one_of(
    st.sampled_from(WRITTEN).map("/batch/jobs/{}/cancel".format),
    st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="?#")).map(
        "/batch/jobs/{}/cancel".format
    ),
    st.text("/.%20cancelbtjos", max_size=30).map("/{}".format),
    st.sampled_from(["/openapi.json", "/docs", "/", "/batch/jobs//cancel"]),
)
_methods: Final = st.one_of(
    st.just("POST"), st.sampled_from(["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "post", "X-Y"])
)
_keys: Final = st.one_of(
    st.sampled_from([KEY_A, KEY_B, VIEWER]),
    st.tuples(st.just("Authorization"), _latin),
    st.tuples(st.just("authorization"), _latin.map("Bearer {}".format)),
)
_headers: Final = st.one_of(
    st.tuples(st.just("Idempotency-Key"), _latin),
    st.tuples(st.just("content-type"), _latin),
    st.tuples(st.just("content-encoding"), st.sampled_from(["gzip", "identity"])),
    st.tuples(st.just("content-length"), st.one_of(_latin, st.integers().map(str))),
    st.tuples(st.just("x-forwarded-for"), _latin),
    st.just(JSON),
)
_reasons: Final = st.fixed_dictionaries({}, optional={"reason": st.text(max_size=20)})
_bodies: Final = st.one_of(
    st.just(b""),
    st.binary(max_size=40),
    _reasons.map(lambda reason: json.dumps(reason).encode()),
    st.sampled_from([b"[" * 32_768, b"x" * 32_769, b'{"reason": null}', b"{}"]),
)
_hostile: Final = st.builds(
    Asked,
    _methods,
    _paths,
    st.builds(lambda keys, rest: [*keys, *rest], st.lists(_keys, max_size=2), st.lists(_headers)),
    st.lists(_bodies, max_size=2),
    st.booleans(),
)
_decent: Final = st.builds(
    Asked,
    st.just("POST"),
    st.sampled_from(WRITTEN).map("/batch/jobs/{}/cancel".format),
    st.builds(
        lambda key, operation_id: [key, JSON, ("Idempotency-Key", operation_id)],
        st.sampled_from([KEY_A, KEY_B]),
        st.from_regex(r"[!-+\--~]{1,40}", fullmatch=True),
    ),
    _reasons.map(lambda reason: [json.dumps(reason).encode()]),
    st.booleans(),
)
REQUESTS: Final = st.one_of(_hostile, _hostile, _decent)


def check_pair(asked: Asked, tally: Counter[str]) -> None:
    """Ask both applications the same, and hold their answers to the rules."""
    answers, states = [], []
    for kind in ("asgi", "wsgi"):
        site = seeded(kind)
        before = site.state()
        told = site.ask(asked)
        tally[f"{kind} {told.status}"] += 1
        check_answer(told, before, site.state())
        answers.append(told)
        states.append(statuses(site))
    assert answers[0] == answers[1]
    assert states[0] == states[1]


def check_answer(told: Told, before: Any, after: Any) -> None:
    """Hold one answer to the rules."""
    assert told.status in DOCUMENTED
    assert told.status < 500
    changed = {key for key in after if after[key] != before.get(key)}
    if told.status != 200:
        assert not changed
        return
    assert len(changed) <= 1  # None for a page.
    for key in changed:
        assert key.organization_id in {"a", "b"}
        assert key.batch_job_id.encode() in told.content or b"\\u" in told.content
        assert after[key].cancellation.actor == {"a": "ada", "b": "bob"}[key.organization_id]


def check_foreign(asked: Asked, tally: Counter[str]) -> None:
    """Ask for a foreign job and for a missing one, otherwise the same, with a good key."""
    for kind in ("asgi", "wsgi"):
        site = seeded(kind)
        before = site.state()
        headers = [KEY_A, *(h for h in asked.headers if h[0].lower() != "authorization")]
        pair = [
            site.ask(Asked("POST", f"/batch/jobs/{job_id}/cancel", headers, asked.chunks))
            for job_id in ("foreign", "missing")
        ]
        tally[f"{kind} {pair[0].status}"] += 2
        assert pair[0] == pair[1]
        assert pair[0].status >= 400
        assert site.state() == before


def _settings(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
    )


def generate(requests: int, tally: Counter[str]) -> None:
    """Ask at least so many generated requests in all."""

    @_settings(-(-requests // 6))  # Each example is asked six times.
    @given(REQUESTS)
    def ask(asked: Asked) -> None:
        check_pair(asked, tally)
        check_foreign(asked, tally)

    ask()


# Schemathesis's ----------------------------------------------------------------------------------

_CONFIG: Final = {
    "checks": {
        # A valid request may name a job that has ended, one of its own kinds of refusal.
        "positive_data_acceptance": {"expected-statuses": ["2xx", "400", "401", "403", "404"]},
        "negative_data_rejection": {
            "expected-statuses": [
                "400",
                "401",
                "403",
                "404",
                "405",
                "408",
                "411",
                "413",
                "415",
                "422",
            ]
        },
    }
}


class Watched:
    """An application that is held to the rules at each of its answers."""

    def __init__(self, kind: str, tally: Counter[str]) -> None:
        self._tally = tally
        self._kind = kind
        self.restart()

    def restart(self) -> None:
        """Begin anew, with no job cancelled."""
        self._site = seeded(self._kind)

    def asgi(self) -> Any:
        """Return the ASGI application."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            before = self._site.state()

            async def watched(message: Any) -> None:
                if message["type"] == "http.response.start":
                    self._note(message["status"], before)
                await send(message)

            await self._site.app(scope, receive, watched)

        return app

    def wsgi(self) -> Any:
        """Return the WSGI application."""

        def app(environ: Any, start_response: Any) -> Any:
            before = self._site.state()

            def watched(status: str, headers: Any) -> Any:
                self._note(int(status.split(maxsplit=1)[0]), before)
                return start_response(status, headers)

            return self._site.app(environ, watched)

        return app

    def _note(self, status: int, before: Any) -> None:
        self._tally[f"{self._kind} {status}"] += 1
        assert status in DOCUMENTED
        assert status < 500
        if status != 200:
            assert self._site.state() == before


def schemathesis_cases(kind: str, examples: int, tally: Counter[str]) -> None:
    """Let schemathesis make requests, good and bad, and run all of its checks on the answers."""
    watched = Watched(kind, tally)
    config = SchemathesisConfig.from_dict(_CONFIG)
    if kind == "wsgi":
        schema = schemathesis.openapi.from_wsgi("/openapi.json", watched.wsgi(), config=config)
    else:
        path = "/schema/openapi.json" if kind == "litestar" else "/openapi.json"
        schema = schemathesis.openapi.from_asgi(path, watched.asgi(), config=config)
    operation = schema[PATH]["POST"]
    for mode in GenerationMode:
        _ask_cases(operation.as_strategy(mode), mode, examples, watched)


def _ask_cases(cases: Any, mode: GenerationMode, examples: int, watched: Watched) -> None:
    @_settings(examples)
    @given(cases)
    def ask(case: Any) -> None:
        if mode is GenerationMode.POSITIVE and case.path_parameters["batch_job_id"] < "M":
            # Of a job that is there: what was cancelled before is there again.
            case.path_parameters["batch_job_id"] = "mine"
            watched.restart()
        case.call_and_validate(headers={"Authorization": "Bearer key-a"})

    ask()


def main() -> None:
    """Ask, and print how often each status was the answer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--schemathesis", type=int, default=1_000, help="examples of each kind")
    arguments = parser.parse_args()
    assert AUTHENTICATE("key-a") is not None
    tally: Counter[str] = Counter()
    for kind in ("asgi", "wsgi", *frameworks.ASGI):
        schemathesis_cases(kind, arguments.schemathesis, tally)
    told = f"schemathesis: {sum(tally.values())} requests, all checks passed\n"
    own: Counter[str] = Counter()
    generate(arguments.requests, own)
    for what in sorted(tally | own):
        told += f"  {what}: {tally[what] + own[what]}\n"
    told += f"generated: {sum(own.values())} requests; 0 undocumented, 0 5xx, 0 changes refused\n"
    sys.stdout.write(told)


if __name__ == "__main__":
    main()
