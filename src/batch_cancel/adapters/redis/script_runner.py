"""
Run a Lua script on Redis within a time budget: its answer, or `SchedulerUnavailable`.

Rule 1: the budget holds whatever the client's own timeouts and retries are. A `Connection` sends
        commands before a deadline: `deadline_sync` for blocking clients, `deadline_async` for
        asyncio.
Rule 2: transient faults are retried within the budget: a lost answer, a failover, a migrating
        slot. So a script must return the same answer when it runs twice.
Rule 3: a message contains only the class of a fault and Redis's own error code; a driver's text
        may contain a host or a password.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence
from datetime import timedelta
from importlib.resources import files
from typing import Any, Final, Protocol

import attrs
import redis
import redis.asyncio
from redis import exceptions

from batch_cancel.adapters.redis.encoding import check_span
from batch_cancel.ports import SchedulerUnavailable

_FIRST_PAUSE_SECONDS: Final = 0.005
_LONGEST_PAUSE_SECONDS: Final = 0.1

_PASSING: Final = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ClusterError,  # Down, or too many redirections.
    exceptions.RedisClusterException,  # No node reached, or a slot without a node.
    exceptions.AskError,
    exceptions.TryAgainError,
    exceptions.ReadOnlyError,  # A demoted master.
    OSError,  # Includes asyncio's TimeoutError.
)
_WAITING_SHARE: Final = 0.5
"""The share of the remaining time for WAIT: a server ends it up to 100 ms late."""

_BUDGET_MAX: Final = timedelta(days=1)

_LASTING: Final = (exceptions.AuthenticationError, exceptions.AuthorizationError)
"""Connection errors that a retry does not repair."""


@attrs.frozen
class Script:
    """
    A Lua script.

    Arguments:
        source: its text. It must return the same answer when it runs twice, because its first
            answer may be lost.
    """

    source: str
    digest: str = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        digest = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "digest", digest)


_OURS: Final = "batch_cancel.adapters.redis.scripts"


def lua(*names: str, package: str = _OURS) -> str:
    """Return the text of these Lua files of a package, one after the other."""
    return "\n".join((files(package) / f"{name}.lua").read_text() for name in names)


def script(*names: str, package: str = _OURS) -> Script:
    """Return the script made of these Lua files of a package."""
    return Script(lua(*names, package=package))


Commands = Sequence[Sequence[Any]]


class Connection(Protocol):
    """A connection to Redis that keeps deadlines; a blocking one never suspends."""

    async def send(self, commands: Commands, key: bytes, deadline: float, /) -> list[Any]:
        """
        Send the commands, one after another, on one connection to the server of `key`.

        Return their answers undecoded, before the deadline on the clock of `time.monotonic`. There
        is one attempt: a fault raises the driver's error.
        """
        ...

    async def pause(self, seconds: float, /) -> None:
        """Wait before the next attempt."""


class Executor:
    """
    Runs scripts within a time budget.

    Arguments:
        connection: sends commands, see `connection_to` and `connection_to_async`.
        budget: how long one run may take, retries included.

    Raises:
        ValueError: the budget is not positive, or longer than a day.
    """

    def __init__(self, connection: Connection, budget: timedelta) -> None:
        self._budget_seconds = seconds_of(budget)
        self._connection = connection

    async def run(
        self,
        script: Script,
        keys: Sequence[bytes],
        arguments: Sequence[bytes],
        min_replicas: int = 0,
    ) -> Any:  # noqa: ANN401  # Whatever the script answers.
        """
        Run the script and return its answer, bytes undecoded.

        Arguments:
            script: the script.
            keys: its KEYS.
            arguments: its ARGV.
            min_replicas: how many replicas must have its writes; it must write even when it
                repeats an answer, or there is no write to wait for.

        Raises:
            SchedulerUnavailable: no answer within the budget, a refusal by Redis, or too few
                replicas.
        """
        deadline = time.monotonic() + self._budget_seconds
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return await self._attempt(script, keys, arguments, min_replicas, deadline)
            except (*_PASSING, exceptions.RedisError) as error:
                if not _may_pass(error):
                    raise _refused(error) from error
                if time.monotonic() + pause >= deadline:
                    raise _late(error, self._budget_seconds) from error
            await self._connection.pause(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _attempt(
        self,
        script: Script,
        keys: Sequence[bytes],
        arguments: Sequence[bytes],
        min_replicas: int,
        deadline: float,
    ) -> Any:  # noqa: ANN401  # Whatever the script answers.
        # Texts are sent as bytes: the client may have any encoding.
        operands = (len(keys), *keys, *arguments)
        # WAIT counts only the writes of its own connection.
        wait = _wait(min_replicas, deadline)
        try:
            by_digest = ("EVALSHA", script.digest.encode(), *operands)
            answers = await self._connection.send((by_digest, *wait), keys[0], deadline)
        except exceptions.NoScriptError:  # The server is new, or its scripts were flushed.
            by_source = ("EVAL", script.source.encode(), *operands)
            answers = await self._connection.send((by_source, *wait), keys[0], deadline)
        return _answer(answers, min_replicas)


def replicas_wanted(min_replicas: int, client: object) -> int:
    """
    Return the number, if this client can wait for replicas.

    Raises:
        TypeError: the client is for a cluster, and may wait on another connection than it wrote
            on.
        ValueError: it is negative.
    """
    if min_replicas < 0:
        msg = f"min_replicas must not be negative, got {min_replicas!r}"
        raise ValueError(msg)
    if min_replicas and isinstance(client, redis.RedisCluster | redis.asyncio.RedisCluster):
        msg = "min_replicas needs a client for one server or a Sentinel's master, not a cluster's"
        raise TypeError(msg)
    return min_replicas


def _wait(min_replicas: int, deadline: float) -> Commands:
    if not min_replicas:
        return ()
    milliseconds = (deadline - time.monotonic()) * 1000 * _WAITING_SHARE
    return (("WAIT", min_replicas, max(1, int(milliseconds))),)  # 0 would wait without end.


def _answer(answers: Sequence[Any], min_replicas: int) -> Any:  # noqa: ANN401  # Whatever the script answers.
    answer, *acknowledged = answers
    if acknowledged and acknowledged[0] < min_replicas:
        msg = f"too few replicas of Redis have the write ({acknowledged[0]} of {min_replicas})"
        raise SchedulerUnavailable(msg)
    return answer


def seconds_of(budget: timedelta) -> float:
    """
    Return the budget in seconds.

    Raises:
        ValueError: it is not positive, or longer than a day.
    """
    check_span("the budget", budget, _BUDGET_MAX, "a day")
    return budget.total_seconds()


def _may_pass(error: Exception) -> bool:
    return isinstance(error, _PASSING) and not isinstance(error, _LASTING)


def _refused(error: Exception) -> SchedulerUnavailable:
    code = re.match(r"[A-Z]{2,20}\b", str(error))
    what = f"{type(error).__name__}: {code.group()}" if code else type(error).__name__
    return SchedulerUnavailable(f"Redis refused ({what})")


def _late(error: Exception, budget_seconds: float) -> SchedulerUnavailable:
    budget = f"{budget_seconds * 1000:g} ms"
    return SchedulerUnavailable(f"Redis did not answer within {budget} ({type(error).__name__})")
