"""`check()` and `waiting_among()` of the libraries' adapters, by breaking what they name."""

from __future__ import annotations

import asyncio
import gzip
import inspect
import pickle
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import redis
import redis.asyncio

from batch_cancel.adapters.apscheduler import ApschedulerScheduler, AsyncApschedulerScheduler
from batch_cancel.adapters.arq import ArqScheduler, AsyncArqScheduler
from batch_cancel.adapters.huey import AsyncHueyScheduler, HueyScheduler, watch
from batch_cancel.adapters.postgres import AsyncPostgresUnitOfWork, PostgresUnitOfWork
from batch_cancel.adapters.procrastinate import (
    AsyncProcrastinateScheduler,
    ProcrastinateScheduler,
)
from batch_cancel.adapters.redis import AsyncStartGate, StartGate
from batch_cancel.adapters.rq import AsyncRqScheduler, RqScheduler
from batch_cancel.adapters.saq import AsyncSaqScheduler, SaqScheduler
from batch_cancel.adapters.taskiq import AsyncTaskiqStarts, TaskiqStarts
from batch_cancel.ports import SchedulerUnavailable
from tests.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers import RedisServer

PATIENCE = timedelta(seconds=10)


def _gated(client: redis.Redis, **options: Any) -> ApschedulerScheduler:
    return ApschedulerScheduler(StartGate(client), client, **options)


def _gated_async(client: redis.asyncio.Redis, **options: Any) -> AsyncApschedulerScheduler:
    return AsyncApschedulerScheduler(AsyncStartGate(client), client, **options)


ADAPTERS: dict[str, tuple[Any, Any]] = {
    "arq": (ArqScheduler, AsyncArqScheduler),
    "RQ": (RqScheduler, AsyncRqScheduler),
    "SAQ": (SaqScheduler, AsyncSaqScheduler),
    "Huey": (HueyScheduler, AsyncHueyScheduler),
    "taskiq": (TaskiqStarts, AsyncTaskiqStarts),
    "APScheduler": (_gated, _gated_async),
}


def asked(name: str, url: str, method: str, *arguments: Any, **options: Any) -> Any:
    """Ask both halves, which say the same."""
    blocking, asyncio_half = ADAPTERS[name]

    async def ask() -> Any:
        async with redis.asyncio.Redis.from_url(url) as client:
            bound = getattr(asyncio_half(client, **options), method)
            assert inspect.iscoroutinefunction(bound)
            return await bound(*arguments)

    with redis.Redis.from_url(url) as client:
        answer = getattr(blocking(client, **options), method)(*arguments)
    assert asyncio.run(ask()) == answer
    return answer


def checked(name: str, url: str) -> list[str]:
    """Check, with time for a loaded machine."""
    found: list[str] = asked(name, url, "check", budget=PATIENCE)
    return found


@pytest.fixture
def client(redis_database: str) -> Iterator[redis.Redis]:
    """Yield a client of an empty database."""
    with redis.Redis.from_url(redis_database) as client:
        yield client


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_redis_as_it_should_be_is_fit(
    name: str, client: redis.Redis, redis_database: str
) -> None:
    """And looking at it makes no key."""
    assert checked(name, redis_database) == []
    assert asked(name, redis_database, "waiting_among", {"a", "b"}, budget=PATIENCE) == set()
    assert list(client.scan_iter()) == []


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_redis_out_of_reach_is_a_sentence_of_a_check(name: str) -> None:
    """And no answer to the question what waits."""
    url = f"redis://ann:hunter2@127.0.0.1:{free_port()}"
    assert asked(name, url, "check") == ["Redis did not answer within 250 ms (ConnectionError)"]
    with pytest.raises(SchedulerUnavailable):
        asked(name, url, "waiting_among", {"a"})


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_eviction_policy_is_named(name: str, redis_to_break: RedisServer) -> None:
    """Whatever it is, unless it is none."""
    redis_to_break.client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        assert checked(name, redis_to_break.url()) == [
            (
                "Redis may evict deferred starts (maxmemory-policy allkeys-lru): "
                "CONFIG SET maxmemory-policy noeviction"
            )
        ]
    finally:
        redis_to_break.client.config_set("maxmemory-policy", "noeviction")


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        (["+@all", "-evalsha", "-eval", "~*"], "Redis refused (NoPermissionError)"),
        (["+@all", "~other*"], "Redis refused (NoPermissionError)"),
        (
            ["+@all", "-zadd", "~*"],
            "the user that connects may not run our scripts: grant it +@all on our keys",
        ),
    ],
)
def test_what_a_redis_user_may_not_do_is_named(
    name: str, rules: list[str], sentence: str, redis_server: RedisServer, redis_prefix: str
) -> None:
    """Its password is not shown."""
    user = redis_prefix.removesuffix(":")
    redis_server.command("ACL", "SETUSER", user, "on", ">hunter2", *rules)
    try:
        url = f"redis://{user}:hunter2@127.0.0.1:{redis_server.port}/0"
        assert checked(name, url) == [sentence]
    finally:
        redis_server.command("ACL", "DELUSER", user)


@pytest.mark.parametrize("name", ["arq", "RQ", "SAQ", "Huey", "taskiq"])
def test_replicas_that_are_missing_are_named(name: str, redis_database: str) -> None:
    """No cancel would ever be answered."""
    options = {"budget": timedelta(seconds=1), "min_replicas": 1}
    [sentence] = asked(name, redis_database, "check", **options)
    assert sentence.startswith("min_replicas=1 cannot be met, so no call succeeds: ")


WRONG_KEYS = {
    "arq": ("arq:queue", "zset"),
    "RQ": ("rq:queue:default", "list"),
    "SAQ": ("saq:default:active", "list"),
    "Huey": ("huey.redis.huey", "list zset"),
    "taskiq": ("schedule:cron", "list"),
}


@pytest.mark.parametrize("name", WRONG_KEYS)
def test_a_key_of_another_type_is_named(
    name: str, client: redis.Redis, redis_database: str
) -> None:
    """Every cancel would fail there."""
    key, expected = WRONG_KEYS[name]
    client.hset(key, "what", "is this?")
    assert checked(name, redis_database) == [
        (
            f"{key} is a hash, where a {expected} is expected: another program uses this key, or "
            "another version of the library"
        )
    ]


def test_jobs_of_saq_that_cannot_be_read_are_named(
    client: redis.Redis, redis_database: str
) -> None:
    """Their cancels answer that they had fired, whether they had or not."""
    client.zadd("saq:default:incomplete", {f"saq:job:default:{job}": 1 for job in "ab"})
    client.set("saq:job:default:a", b"{}")
    assert checked("SAQ", redis_database) == []
    client.set("saq:job:default:b", pickle.dumps({}))
    [sentence] = checked("SAQ", redis_database)
    assert sentence.startswith("SAQ writes jobs as something else than JSON (Queue(dump=...))")


def test_tasks_of_huey_that_are_compressed_with_gzip_are_named(
    client: redis.Redis, redis_database: str
) -> None:
    """None of them would be found again."""
    client.zadd("huey.schedule.huey", {gzip.compress(b"a task"): 1})
    [sentence] = checked("Huey", redis_database)
    assert sentence.startswith(
        "Huey compresses with gzip, which writes the time into each message"
    )


def test_a_queue_that_rq_does_not_know_is_named(client: redis.Redis, redis_database: str) -> None:
    """Where it knows others; a Redis in which RQ never was is no fault."""
    client.sadd("rq:queues", "rq:queue:high")
    assert checked("RQ", redis_database) == [
        "RQ has queues in this Redis, but none of the name default: see queue= and prefix="
    ]
    client.sadd("rq:queues", "rq:queue:default")
    assert checked("RQ", redis_database) == []


def _seed_apscheduler(client: redis.Redis, start: str) -> None:
    StartGate(client, budget=PATIENCE).arm(start, datetime.now(UTC))
    client.zadd("apscheduler.run_times", {start: 1})


def _seed_huey(client: redis.Redis, start: str) -> None:
    HueyScheduler(client, budget=PATIENCE).remember(start, f"message of {start}".encode())
    client.zadd("huey.schedule.huey", {f"message of {start}": 1})


SEEDS: dict[str, Any] = {
    "arq": lambda client, start: client.zadd("arq:queue", {start: 1}),
    "RQ": lambda client, start: client.zadd("rq:scheduled:default", {start: 1}),
    "SAQ": lambda client, start: client.zadd(
        "saq:default:incomplete", {f"saq:job:default:{start}": 1}
    ),
    "Huey": _seed_huey,
    "taskiq": lambda client, start: client.set(f"schedule:data:{start}", "a schedule"),
    "APScheduler": _seed_apscheduler,
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_those_of_the_starts_that_wait_are_reported(
    name: str, client: redis.Redis, redis_database: str
) -> None:
    """Of more than are asked for at once; nothing is changed."""
    waiting = {f"start {number}" for number in range(401)}
    for start in waiting:
        SEEDS[name](client, start)
    changes = client.info("persistence")["rdb_changes_since_last_save"]
    asked_for = {*waiting, "", "unknown", "x" * 2000} - {"start 7"}
    told = asked(name, redis_database, "waiting_among", asked_for, budget=PATIENCE)
    assert told == waiting - {"start 7"}
    assert asked(name, redis_database, "waiting_among", set(), budget=PATIENCE) == set()
    assert client.info("persistence")["rdb_changes_since_last_save"] == changes


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("arq", {"arq:in-progress:start": "1"}),
        ("SAQ", {"saq:default:active": ["saq:job:default:start"]}),
        ("taskiq", {"batch_cancel:decided:8:schedule:start": "cancelled"}),
    ],
)
def test_what_a_worker_has_does_not_wait(
    name: str, keys: dict[str, Any], client: redis.Redis, redis_database: str
) -> None:
    """Though it is still where it waited."""
    SEEDS[name](client, "start")
    for key, value in keys.items():
        client.set(key, value) if isinstance(value, str) else client.rpush(key, *value)
    assert asked(name, redis_database, "waiting_among", {"start"}, budget=PATIENCE) == set()


# Huey: what is refused -------------------------------------------------------------------------


class _Kept:
    """What a Huey keeps its tasks with."""

    conn = None

    def __init__(self, **names: Any) -> None:
        self.__dict__.update(names)


@pytest.mark.parametrize(
    ("storage", "serializer", "kind", "words"),
    [
        ({}, {}, TypeError, "a RedisHuey is needed, got one with _Kept"),
        ({"schedule_key": "huey.schedule.mine"}, {}, ValueError, "pass name=huey.storage.name"),
        (
            {"schedule_key": "huey.schedule.huey"},
            {"comp": True, "use_zlib": False},
            ValueError,
            "compress with zlib",
        ),
    ],
)
def test_a_huey_whose_tasks_cannot_be_found_again_is_not_watched(
    storage: dict[str, Any], serializer: dict[str, Any], kind: type[Exception], words: str
) -> None:
    """At once: each of its cancels would be a no, and its start would fire."""
    huey = _Kept(storage=_Kept(**storage), serializer=_Kept(**serializer))
    with redis.Redis() as client, pytest.raises(kind, match=words):
        watch(huey, HueyScheduler(client))


# Procrastinate ---------------------------------------------------------------------------------

JOBS = """
    CREATE TYPE procrastinate_job_status AS ENUM ('todo', 'doing', 'succeeded', 'cancelled');
    CREATE TABLE procrastinate_jobs (
        id bigserial PRIMARY KEY,
        status procrastinate_job_status NOT NULL DEFAULT 'todo',
        args jsonb NOT NULL DEFAULT '{}',
        attempts int NOT NULL DEFAULT 0
    );
"""


def procrastinate(dsn: str, method: str, *arguments: Any) -> Any:
    """Ask both halves, which say the same."""

    async def ask() -> Any:
        uow = AsyncPostgresUnitOfWork(lambda: psycopg.AsyncConnection.connect(dsn))
        return await getattr(AsyncProcrastinateScheduler(uow), method)(*arguments)

    uow = PostgresUnitOfWork(lambda: psycopg.connect(dsn))
    answer = getattr(ProcrastinateScheduler(uow), method)(*arguments)
    assert asyncio.run(ask()) == answer
    return answer


@pytest.mark.parametrize(
    ("change", "sentences"),
    [
        (None, []),
        (
            "DROP TABLE procrastinate_jobs",
            [
                (
                    "table procrastinate_jobs is missing: apply Procrastinate's schema, or let "
                    "the connection's search_path lead to it"
                )
            ],
        ),
        (
            "ALTER TABLE procrastinate_jobs ALTER args TYPE json, DROP attempts",
            ["procrastinate_jobs lacks columns that a cancel needs: args jsonb, attempts int4"],
        ),
        (
            "ALTER TYPE procrastinate_job_status RENAME VALUE 'todo' TO 'ready'",
            ["Procrastinate's jobs have no status todo or cancelled: this version is not known"],
        ),
    ],
)
def test_procrastinate_s_table_is_checked(
    change: str | None, sentences: list[str], postgres_schema: str
) -> None:
    """Each thing that a cancel needs, by taking it away."""
    with psycopg.connect(postgres_schema, autocommit=True) as connection:
        connection.execute(JOBS)
        if change:
            connection.execute(change.encode())
    assert procrastinate(postgres_schema, "check") == sentences


def test_a_user_of_procrastinate_s_table_may_have_to_be_let(postgres_schema: str) -> None:
    """One that may read alone cannot cancel."""
    with psycopg.connect(postgres_schema, autocommit=True) as connection:
        connection.execute(JOBS)
        connection.execute("CREATE ROLE reads_alone")
        try:
            connection.execute("GRANT SELECT ON procrastinate_jobs TO reads_alone")
            [(schema,)] = connection.execute("SELECT current_schema()").fetchall()
            connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO reads_alone".encode())
            dsn = f"{postgres_schema} options='-c search_path={schema} -c role=reads_alone'"
            assert procrastinate(dsn, "check") == [
                "the user that connects may not cancel: GRANT SELECT, UPDATE ON procrastinate_jobs"
            ]
        finally:
            connection.execute("DROP OWNED BY reads_alone")
            connection.execute("DROP ROLE reads_alone")


def test_those_of_procrastinate_s_jobs_that_wait_are_reported(postgres_schema: str) -> None:
    """In digits; what cannot be an id is none."""
    with psycopg.connect(postgres_schema, autocommit=True) as connection:
        connection.execute(JOBS)
        connection.execute(
            "INSERT INTO procrastinate_jobs (status) VALUES ('todo'), ('doing'), ('todo')"
        )
    ids = {"1", "2", "3", "4", "", "x", "9" * 30}
    assert procrastinate(postgres_schema, "waiting_among", ids) == {"1", "3"}
    assert procrastinate(postgres_schema, "waiting_among", set()) == set()


def test_a_postgres_out_of_reach_is_a_sentence_of_a_check() -> None:
    """And no answer to the question what waits."""
    dsn = f"host=127.0.0.1 port={free_port()} connect_timeout=2"
    [sentence] = procrastinate(dsn, "check")
    assert sentence
    with pytest.raises(SchedulerUnavailable):
        procrastinate(dsn, "waiting_among", {"1"})
