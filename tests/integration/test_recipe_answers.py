"""
What a recipe answers where an id lives twice, waits in an odd place, or cannot be known.

Played by hand on the library's keys; that they are the keys of the real libraries, and that their
workers do the same, `tests/schedulers` shows.
"""

from __future__ import annotations

import json
import pickle
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import redis

from batch_cancel.adapters.arq import ArqScheduler
from batch_cancel.adapters.docket import DocketScheduler
from batch_cancel.adapters.huey import HueyScheduler
from batch_cancel.adapters.rq import RqScheduler
from batch_cancel.adapters.saq import SaqScheduler
from batch_cancel.adapters.taskiq import TaskiqStarts
from batch_cancel.ports import SchedulerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = timedelta(seconds=10)
FAR = 9_999_999_999


@pytest.fixture
def client(redis_database: str) -> Iterator[redis.Redis]:
    """Yield a client of an empty database."""
    with redis.Redis.from_url(redis_database) as client:
        yield client


def arq(client: redis.Redis, job_id: str) -> ArqScheduler:
    """Schedule a job as arq does."""
    client.zadd("arq:queue", {job_id: FAR})
    client.set(f"arq:job:{job_id}", "job")
    return ArqScheduler(client, budget=PATIENCE)


def saq(client: redis.Redis, key: str) -> SaqScheduler:
    """Schedule a job as SAQ does."""
    client.zadd("saq:default:incomplete", {f"saq:job:default:{key}": FAR})
    client.set(f"saq:job:default:{key}", json.dumps({"attempts": 0}))
    return SaqScheduler(client, budget=PATIENCE)


def docket(client: redis.Redis, key: str) -> DocketScheduler:
    """Schedule a task as docket does."""
    client.zadd("docket:queue", {key: FAR})
    client.hset(f"docket:{key}", mapping={"key": key, "attempt": "1"})
    client.hset(f"docket:runs:{key}", mapping={"state": "scheduled", "known": FAR})
    return DocketScheduler(client, budget=PATIENCE)


def huey(client: redis.Redis, task_id: str) -> HueyScheduler:
    """Schedule a task as Huey does, and have it remembered."""
    scheduler = HueyScheduler(client, budget=PATIENCE)
    scheduler.remember(task_id, b"message of " + task_id.encode())
    client.zadd("huey.schedule.huey", {b"message of " + task_id.encode(): FAR})
    return scheduler


def rq(client: redis.Redis, job_id: str) -> RqScheduler:
    """Schedule a job as RQ does."""
    client.zadd("rq:scheduled:default", {job_id: FAR})
    job: dict[Any, Any] = {"status": "scheduled", "origin": "default", "started_at": ""}
    client.hset(f"rq:job:{job_id}", mapping=job)
    return RqScheduler(client, budget=PATIENCE)


def taskiq(client: redis.Redis, schedule_id: str) -> TaskiqStarts:
    """Schedule as taskiq-redis does."""
    client.set(f"schedule:data:{schedule_id}", '{"time": "2031-01-01T00:00:00Z"}')
    client.rpush("schedule:time:2031-01-01T00:00", schedule_id)
    return TaskiqStarts(client, budget=PATIENCE)


SEEDS: list[Callable[[redis.Redis, str], Any]] = [arq, docket, saq, huey, rq, taskiq]
FREE_AGAIN: list[Callable[[redis.Redis, str], Any]] = [arq, docket, saq, huey]


# One id, two lives ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", FREE_AGAIN)
def test_the_same_operation_takes_back_what_came_again(
    seed: Callable[[redis.Redis, str], Any], client: redis.Redis
) -> None:
    """Its answer stays the one that it had; the start of the second life does not stay."""
    scheduler = seed(client, "a")
    assert scheduler.cancel("a", "operation") is True
    seed(client, "a")
    assert scheduler.waiting_among({"a"}) == {"a"}
    assert scheduler.cancel("a", "operation") is True
    assert scheduler.waiting_among({"a"}) == set()


@pytest.mark.parametrize("seed", FREE_AGAIN)
def test_an_operation_that_found_nothing_takes_back_what_came_later(
    seed: Callable[[redis.Redis, str], Any], client: redis.Redis
) -> None:
    """It was answered no, and is so again; but what waits now is gone."""
    scheduler = seed(client, "other")
    assert scheduler.cancel("a", "operation") is False
    seed(client, "a")
    assert scheduler.cancel("a", "operation") is False
    assert scheduler.waiting_among({"a"}) == set()
    assert scheduler.was_taken_back("a") is True


# Names ---------------------------------------------------------------------------------------


def test_two_queues_whose_names_and_ids_read_alike_have_answers_of_their_own(
    client: redis.Redis,
) -> None:
    """One operation id for a bulk cancel; each job is taken back, not only the first."""
    low, high = (
        ArqScheduler(client, queue=queue, budget=PATIENCE)
        for queue in ("arq:queue", "arq:queue:high")
    )
    client.zadd("arq:queue", {"high:42": FAR})
    client.zadd("arq:queue:high", {"42": FAR})
    assert low.cancel("high:42", "stop all") is True
    assert high.cancel("42", "stop all") is True
    assert client.zcard("arq:queue:high") == 0
    client.zadd("arq:queue", {"high:7": FAR})
    assert low.cancel("high:7", "stop all") is True
    assert high.cancel("7", "stop all") is False  # It never was there.


@pytest.mark.parametrize("start", ["a:message", "messages:a", "a"])
def test_a_huey_id_that_reads_like_a_key_of_ours_is_an_id(start: str, client: redis.Redis) -> None:
    """What is remembered of one task is never another's."""
    huey(client, "a")
    assert huey(client, start).cancel(start, "operation") is True


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("start", ["ä" * 513, "x" * 100_000, "nul\0", "a b\nc{d}", ""])
def test_an_id_of_any_length_is_asked_for(
    seed: Callable[[redis.Redis, str], Any], start: str, client: redis.Redis
) -> None:
    """A no without asking would leave it, and nobody would ask again."""
    assert seed(client, start).cancel(start, "operation") is True


# Where it waits ------------------------------------------------------------------------------


def test_an_arq_job_of_another_queue_is_no_answer(client: redis.Redis) -> None:
    """Not False, which would settle the removal; and asked at the right queue, True."""
    arq(client, "a")
    wrong = ArqScheduler(client, queue="arq:other", budget=PATIENCE)
    for _ in range(2):
        with pytest.raises(SchedulerUnavailable, match="another queue of arq than arq:other"):
            wrong.cancel("a", "operation")
    assert ArqScheduler(client, budget=PATIENCE).cancel("a", "operation") is True
    assert wrong.cancel("a", "operation") is False


def test_an_rq_job_of_another_queue_is_no_answer(client: redis.Redis) -> None:
    """Its body names its queue, and so does the message."""
    rq(client, "a")
    wrong = RqScheduler(client, queue="high", budget=PATIENCE)
    for _ in range(2):
        with pytest.raises(SchedulerUnavailable, match="another queue of RQ: default"):
            wrong.cancel("a", "operation")
    assert wrong.was_taken_back("a") is False
    assert RqScheduler(client, budget=PATIENCE).cancel("a", "operation") is True
    assert wrong.cancel("a", "operation") is False


@pytest.mark.parametrize("place", ["deferred", "ready", "rate limit", "queue"])
def test_an_rq_job_is_taken_back_wherever_it_waits(place: str, client: redis.Redis) -> None:
    """For another job, between the two, for a free slot, for a worker."""
    job: dict[Any, Any] = {"status": "rate_limited", "origin": "default", "started_at": ""}
    client.hset("rq:job:a", mapping=job | {"rate_limit_key": "campaigns"})
    match place:
        case "rate limit":
            client.zadd("rq:rl:campaigns:rate_limited", {"a": 1})
        case "queue":
            client.hset("rq:job:a", "status", "queued")
            client.rpush("rq:queue:default", "a")
            client.zadd("rq:rl:campaigns:allowed", {"a": 1})
        case _:
            client.zadd(f"rq:{place}:default", {"a": 1})
    scheduler = RqScheduler(client, budget=PATIENCE)
    assert scheduler.waiting_among({"a", "b"}) == {"a"}
    assert scheduler.cancel("a", "operation") is True
    assert [key for key in client.scan_iter() if not key.startswith(b"batch_cancel:")] == []


@pytest.mark.parametrize("place", ["scheduled", "queue"])
def test_an_rq_job_that_ran_and_waits_again_has_fired(place: str, client: redis.Redis) -> None:
    """A retry, a repetition: it is gone, it must not come back, and the answer is no."""
    scheduler = rq(client, "a")
    client.hset("rq:job:a", "started_at", "2026-01-01T00:00:00.000000Z")
    if place == "queue":
        client.delete("rq:scheduled:default")
        client.rpush("rq:queue:default", "a")
        client.hset("rq:job:a", "status", "queued")
    assert scheduler.cancel("a", "operation") is False
    assert scheduler.waiting_among({"a"}) == set()
    assert scheduler.was_taken_back("a") is True


@pytest.mark.parametrize("given", ["argument", "environment"])
def test_rq_s_keys_begin_as_rq_begins_them(
    given: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With RQ_KEY_PREFIX, or told; the job's body goes, too."""
    client.zadd("mine:scheduled:default", {"a": FAR})
    client.hset("mine:job:a", mapping={"status": "scheduled", "origin": "default"})
    if given == "environment":
        monkeypatch.setenv("RQ_KEY_PREFIX", "mine")
        scheduler = RqScheduler(client, budget=PATIENCE)
    else:
        scheduler = RqScheduler(client, prefix="mine", budget=PATIENCE)
    assert scheduler.cancel("a", "operation") is True
    assert client.exists("mine:job:a", "mine:scheduled:default") == 0


def test_a_saq_job_that_cannot_be_read_counts_as_fired(client: redis.Redis) -> None:
    """Whether it ran is not known, and a yes must be known; it is gone all the same."""
    scheduler = saq(client, "a")
    client.set("saq:job:default:a", pickle.dumps({"attempts": 1}))
    assert scheduler.cancel("a", "operation") is False
    assert scheduler.waiting_among({"a"}) == set()
    assert client.exists("saq:job:default:a", "saq:default:incomplete") == 0


# Huey: a task is its messages ------------------------------------------------------------------


def test_a_huey_task_that_was_moved_is_taken_back_with_all_its_messages(
    client: redis.Redis,
) -> None:
    """Scheduled twice under one id: neither stays."""
    scheduler = huey(client, "a")
    scheduler.remember("a", b"moved")
    client.zadd("huey.schedule.huey", {b"moved": FAR})
    assert scheduler.cancel("a", "operation") is True
    assert client.exists("huey.schedule.huey") == 0


def test_a_huey_task_that_waits_for_its_retry_has_fired(client: redis.Redis) -> None:
    """It is taken back, and the answer is no; also when a consumer has written it anew."""
    scheduler = HueyScheduler(client, budget=PATIENCE)
    scheduler.remember("a", b"retry", "retry")
    scheduler.remember("a", b"retry in other bytes", "again")
    client.zadd("huey.schedule.huey", {b"retry in other bytes": FAR})
    assert scheduler.cancel("a", "operation") is False
    assert client.exists("huey.schedule.huey") == 0


@pytest.mark.parametrize("written", [b"message of a", b"message of a, in other bytes"])
def test_a_huey_task_cancelled_on_its_way_is_dropped_by_its_consumer(
    written: bytes, client: redis.Redis
) -> None:
    """In no place that can be looked into: the answer is no, and the consumer drops it."""
    scheduler = huey(client, "a")
    client.delete("huey.schedule.huey")  # A consumer has it.
    assert scheduler.cancel("a", "operation") is False
    client.zadd("huey.schedule.huey", {written: FAR})
    scheduler.remember("a", written, "again")
    assert client.exists("huey.schedule.huey") == 0


def test_a_huey_id_is_free_again_after_a_cancel_on_its_way(client: redis.Redis) -> None:
    """The new task is no longer the one that was to be dropped."""
    scheduler = huey(client, "a")
    client.delete("huey.schedule.huey")
    assert scheduler.cancel("a", "operation") is False
    scheduler.remember("a", b"another life")
    scheduler.remember("a", b"another life in other bytes", "again")
    client.zadd("huey.schedule.huey", {b"another life in other bytes": FAR})
    assert scheduler.waiting_among({"a"}) == {"a"}
    assert scheduler.cancel("a", "another") is True


@pytest.mark.parametrize("kind", ["list", "zset"])
def test_a_huey_task_is_taken_out_of_its_queue(kind: str, client: redis.Redis) -> None:
    """Of a queue with priorities as well; others stay."""
    scheduler = huey(client, "a")
    client.delete("huey.schedule.huey")
    for message in (b"message of a", b"message of ab"):
        if kind == "list":
            client.lpush("huey.redis.huey", message)
        else:
            client.zadd("huey.redis.huey", {b"\0\0\0\1\2\3\4\5" + message: -1})
    assert scheduler.waiting_among({"a"}) == {"a"}
    assert scheduler.cancel("a", "operation") is True
    assert (client.llen if kind == "list" else client.zcard)("huey.redis.huey") == 1


def test_a_huey_queue_of_another_type_changes_nothing(client: redis.Redis) -> None:
    """No answer, each time; and the task still waits."""
    scheduler = huey(client, "a")
    client.set("huey.redis.huey", "what is this?")
    for _ in range(2):
        with pytest.raises(SchedulerUnavailable, match="WRONGTYPE"):
            scheduler.cancel("a", "operation")
    assert client.zcard("huey.schedule.huey") == 1


# taskiq: what repeats --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("decided", "answer"),
    [(None, True), ("repeats", False), ("started", False), ("cancelled", False)],
)
def test_a_taskiq_schedule_is_taken_back_unless_it_was_sent_before(
    decided: str | None, answer: object, client: redis.Redis
) -> None:
    """What was sent once has fired; whatever else is there under its id is sent no more."""
    scheduler = taskiq(client, "a")
    client.rpush("schedule:cron", "a")
    key = scheduler._recipe.keys("a")[1]
    if decided:
        client.set(key, decided)
    assert scheduler.waiting_among({"a"}) == (set() if decided == "cancelled" else {"a"})
    assert scheduler.cancel("a", "operation") is answer
    assert client.exists("schedule:data:a", "schedule:cron") == 0
    assert client.get(key) == b"cancelled"
