"""Whether a Redis is fit for the native store or the start gate, in sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

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
