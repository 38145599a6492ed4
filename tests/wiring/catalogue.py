"""The libraries of the campaign, and what is documented of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from tests.wiring.verdict import HAD_NOT_RUN, HAD_RUN, NOT_AGAIN, RAN, Documented


@attrs.frozen
class Library:
    """
    A library of the campaign.

    Arguments:
        name: as it calls itself, and its version.
        adapter: what of ours serves it.
        exact: what makes it exact, as docs/schedulers.md says.
        documented: what is not as the rules ask for.
        environments: variables of a process of its own, for the settings that need one.
        on_postgres: whether its starts are rows.
    """

    name: str
    adapter: str
    exact: str
    documented: Sequence[Documented] = ()
    environments: Mapping[str, Mapping[str, str]] = {}
    on_postgres: bool = False


_RUNS_AGAIN = Documented(
    "a start that runs is left to run, and is retried if it then fails", [RAN], ["fails"]
)
_PASSES_AGAIN = Documented(
    "what has passed the gate passes it again: retries run", [RAN], ["fails", "failed"]
)
_ONE_LIFE = "an id that was cancelled or sent is used up: scheduled again it is not sent"
_WAITS = [
    "scheduled",
    "on its way",
    "far ahead",
    "due",
    "queued",
    "between",
    "again",
    "after a run",
]
_NOT_FOUND = "nor is a task with a set among its arguments"
_NOT_READ = "with a `dump=` of your own that is no JSON every answer is False; the job is gone"

LIBRARIES: Final[dict[str, Library]] = {
    "arq": Library("arq 0.28", "`adapters.arq`", "alone", [_RUNS_AGAIN]),
    "rq": Library(
        "RQ 3.0, rq-scheduler 0.14",
        '`adapters.rq`; `scheduled="rq:scheduler:scheduled_jobs"` for rq-scheduler',
        "with `@guarded(scheduler)` on the job's function",
        [
            _RUNS_AGAIN,
            Documented(
                "one that runs is repeated, if it has a `Repeat`", [RAN], ["running"], ["Repeat"]
            ),
        ],
        environments={"RQ_KEY_PREFIX": {"RQ_KEY_PREFIX": "{mine}.rq"}},
    ),
    "saq": Library(
        "SAQ 0.26",
        "`adapters.saq`",
        "alone",
        [
            _RUNS_AGAIN,
            *(
                Documented(
                    _NOT_READ,
                    found,
                    _WAITS,
                    ["dump and load, pickle"],
                )
                for found in ([HAD_NOT_RUN], [HAD_NOT_RUN, NOT_AGAIN])
            ),
        ],
    ),
    "huey": Library(
        "Huey 3.5",
        "`adapters.huey`",
        "with `watch(huey, scheduler)` where you schedule and in the consumers",
        [
            _RUNS_AGAIN,
            Documented(
                "from a consumer that is not watched a retry is not found: False, and it runs",
                [RAN],
                ["failed"],
                ["consumer not watched", "set, not watched"],
            ),
            Documented(
                _NOT_FOUND,
                [RAN, HAD_NOT_RUN],
                ["scheduled", "due", "queued", "between", "moved", "after a run"],
                ["set, not watched"],
            ),
            Documented(_NOT_FOUND, [HAD_NOT_RUN], ["far ahead", "again"], ["set, not watched"]),
        ],
    ),
    "docket": Library(
        "docket 0.27",
        "`adapters.docket`",
        "alone",
        [
            _RUNS_AGAIN,
            Documented(
                "the next run of a `Perpetual` or a `Cron` is removed, with True",
                [HAD_RUN],
                ["finished", "failed"],
                ["Perpetual"],
            ),
        ],
    ),
    "taskiq": Library(
        "taskiq-redis 1.2",
        "`adapters.taskiq`",
        "with `CancellableScheduleSource` as the scheduler's source",
        [
            Documented(
                "what was sent to the broker has fired: False, and it runs",
                [RAN, HAD_NOT_RUN],
                ["queued"],
            ),
            Documented(_ONE_LIFE, [NOT_AGAIN], ["again"]),
            Documented(_ONE_LIFE, [HAD_NOT_RUN], ["after a run"]),
        ],
    ),
    "procrastinate": Library(
        "Procrastinate 3.10",
        "`adapters.procrastinate`",
        "alone; in your transaction, too",
        [_RUNS_AGAIN],
        on_postgres=True,
    ),
    "apscheduler": Library(
        "APScheduler 3.11",
        "`adapters.apscheduler`",
        "with the start gate",
        [
            Documented(
                "a job that repeats goes on once it has run: False",
                [RAN],
                ["running", "fails", "finished", "failed"],
                ["interval"],
            ),
        ],
    ),
    "celery": Library(
        "Celery 5.7",
        "`StartGate`",
        "with `@app.task(base=gated(gate))` of `adapters.celery`",
        [_PASSES_AGAIN],
    ),
    "dramatiq": Library(
        "Dramatiq 2.2",
        "`StartGate`",
        "with `StartGateMiddleware` of `adapters.dramatiq`",
        [_PASSES_AGAIN],
    ),
}
