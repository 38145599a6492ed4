"""Check whether a Redis is fit for the native store or the start gate, in sentences."""

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
    "NOPERM": "the user that connects may not do what the scripts do: grant it +@all on our keys",
    "READONLY": "Redis is read-only here: connect to the master",
    "WRONGTYPE": "our keys are taken by something else: choose another namespace",
    "OOM": "Redis has no memory left, so that nothing can be scheduled: raise its maxmemory",
    "MISCONF": "Redis takes no writes, because it can't save to its disk",
    "NOREPLICAS": "Redis takes no writes, because it has too few replicas",
}
_HIDDEN: Final = (
    "Redis does not tell its version and its maxmemory-policy to the user that connects: grant it "
    "+info, or see to it that they are 7 or later and noeviction"
)


async def checked(
    executor: Executor, check: Script, places: Sequence[Sequence[bytes]], min_replicas: int = 0
) -> list[str]:
    """
    Name what is missing wherever our keys are.

    Arguments:
        executor: runs the script.
        check: returns what `problems` judges.
        places: keys to try each place with.
        min_replicas: how many must have what is written.
    """
    found: dict[str, None] = {}
    try:
        for keys in places:
            told, refused = await executor.run(check, keys, ())
            found |= dict.fromkeys(problems(decoded(told), [decoded(it) for it in refused]))
    except SchedulerUnavailable as error:
        found[error.reason] = None
    if min_replicas and not found:
        try:
            await executor.run(check, places[0], (), min_replicas)
        except SchedulerUnavailable as error:
            found[without_replicas(min_replicas, error.reason)] = None
    return list(found)


def problems(told: str, refused: Sequence[str]) -> Iterator[str]:
    """
    Name what is missing.

    Arguments:
        told: what INFO says.
        refused: why writes were refused.
    """
    facts = dict(re.findall(r"^(\w+):(.*?)\r?$", told, flags=re.MULTILINE))
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
        # Of an ACL, a script is told without the code that everybody else is told.
        code = "NOPERM" if "ACL failure" in error else error.partition(" ")[0]
        yield _REFUSALS.get(code, "Redis refuses to write: its log tells why")


def without_replicas(min_replicas: int, reason: str) -> str:
    """Return the sentence that `min_replicas` cannot be kept."""
    return f"min_replicas={min_replicas} cannot be kept, so nothing is ever answered: {reason}"
