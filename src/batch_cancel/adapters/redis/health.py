"""Whether a Redis is fit for the native store or the start gate, in sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from batch_cancel.adapters.redis.encoding import decoded
from batch_cancel.adapters.redis.script_runner import Executor, Script
from batch_cancel.ports import SchedulerUnavailable

_VERSION_MIN: Final = 7
_NO_EVICTION: Final = "noeviction"

_REFUSALS: Final = {
    "NOPERM": "the user that connects may not run our scripts: grant it +@all on our keys",
    "READONLY": "Redis is read-only here: connect to the master",
    "WRONGTYPE": "our keys have another type: choose another namespace",
    "OOM": "Redis has no memory left, so that nothing can be scheduled: raise its maxmemory",
    "MISCONF": "Redis refuses writes, because it can't save to its disk",
    "NOREPLICAS": "Redis refuses writes, because it has too few replicas",
}
_HIDDEN: Final = (
    "Redis does not show its version and its maxmemory-policy to the user that connects: grant "
    "it +info, or make sure that they are 7 or later and noeviction"
)


async def checked(
    executor: Executor, check: Script, locations: Sequence[Sequence[bytes]], min_replicas: int = 0
) -> list[str]:
    """
    Return what is missing for our keys, on each server that has some.

    Arguments:
        executor: runs the script.
        check: the script whose answer `problems` reads.
        locations: keys to test each server with.
        min_replicas: how many replicas must have a write.
    """
    found: dict[str, None] = {}
    try:
        for keys in locations:
            info, refused = await executor.run(check, keys, ())
            found |= dict.fromkeys(problems(decoded(info), [decoded(it) for it in refused]))
    except SchedulerUnavailable as error:
        found[error.reason] = None
    if min_replicas and not found:
        try:
            await executor.run(check, locations[0], (), min_replicas)
        except SchedulerUnavailable as error:
            found[without_replicas(min_replicas, error.reason)] = None
    return list(found)


def problems(info: str, refused: Sequence[str]) -> Iterator[str]:
    """
    Yield what is missing.

    Arguments:
        info: the answer of INFO.
        refused: the errors of refused writes.
    """
    facts = dict(re.findall(r"^(\w+):(.*?)\r?$", info, flags=re.MULTILINE))
    version, policy = facts.get("redis_version"), facts.get("maxmemory_policy")
    if not version or not policy:
        yield _HIDDEN
    if version and int(version.partition(".")[0]) < _VERSION_MIN:
        yield f"Redis is version {version}: {_VERSION_MIN} or later, or Valkey, is needed"
    if policy and policy != _NO_EVICTION:
        yield (
            f"Redis may evict deferred starts (maxmemory-policy {policy}): CONFIG SET "
            f"maxmemory-policy {_NO_EVICTION}"
        )
    if facts.get("role", "master") != "master":
        yield _REFUSALS["READONLY"]
        return
    for error in refused:
        # In a script, the error of an ACL has no code.
        code = "NOPERM" if "ACL failure" in error else error.partition(" ")[0]
        yield _REFUSALS.get(code, "Redis refuses writes: see its log for the reason")


def without_replicas(min_replicas: int, reason: str) -> str:
    """Return the sentence that `min_replicas` cannot be met."""
    return f"min_replicas={min_replicas} cannot be met, so no call succeeds: {reason}"
