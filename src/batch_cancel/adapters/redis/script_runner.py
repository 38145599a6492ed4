"""
Run a Lua script on Redis within a time budget: its answer, or `SchedulerUnavailable`.

Rule 1: the budget holds whatever the client's own timeouts and retries are. How a command gets
        through in time is the business of a line; there is one for blocking clients
        (`deadline_sync`) and one for asyncio (`deadline_async`).
Rule 2: within the budget, what may pass is tried again: a lost answer, a failover, a slot on the
        move. A script must therefore give the same answer when it runs twice.
Rule 3: nothing of a fault but its class and Redis's own error code gets into a message; a driver's
        text may hold a host or a password.
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
    exceptions.ClusterError,  # Down, or no end of redirections.
    exceptions.RedisClusterException,  # No node reached, or a slot that nobody serves.
    exceptions.AskError,
    exceptions.TryAgainError,
    exceptions.ReadOnlyError,  # A master that was demoted.
    OSError,  # Among them the TimeoutError of asyncio.
)
_WAITING_SHARE: Final = 0.5
"""Of the time left, for replicas: a server ends such a wait up to 100 ms late, and then tells."""

_BUDGET_MAX: Final = timedelta(days=1)

_LASTING: Final = (exceptions.AuthenticationError, exceptions.AuthorizationError)
"""Connection errors that trying again does not mend."""


@attrs.frozen
class Script:
    """
    A Lua script.

    Arguments:
        source: its text. It must give the same answer when it is run twice, for its first answer
            may be lost.
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


class Line(Protocol):
    """A way to Redis; over a blocking client it looks awaited, and never suspends."""

    async def send(self, commands: Commands, key: bytes, deadline: float, /) -> list[Any]:
        """
        Send the commands, one after another, on one connection to where `key` is.

        Their answers are given undecoded, before the deadline, on the clock of `time.monotonic`.
        One attempt: a fault is raised as the driver's error.
        """
        ...

    async def pause(self, seconds: float, /) -> None:
        """Wait before the next attempt."""


class Executor:
    """
    Runs scripts within a time budget.

    Arguments:
        line: a way to Redis, see `line_to` and `line_to_async`.
        budget: how long one run may take, retries included.

    Raises:
        ValueError: a budget that is not positive, or longer than a day.
    """

    def __init__(self, line: Line, budget: timedelta) -> None:
        self._budget_seconds = seconds_of(budget)
        self._line = line

    async def run(
        self,
        script: Script,
        keys: Sequence[bytes],
        arguments: Sequence[bytes],
        min_replicas: int = 0,
    ) -> Any:  # noqa: ANN401  # Whatever the script answers.
        """
        Run the script and give its answer, bytes undecoded.

        Arguments:
            script: what to run.
            keys: its KEYS.
            arguments: its ARGV.
            min_replicas: how many must have what it wrote; it must write, even when it repeats
                an answer, or there is nothing to wait for.

        Raises:
            SchedulerUnavailable: no answer within the budget, or Redis refused, or too few
                replicas have it.
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
            await self._line.pause(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _attempt(
        self,
        script: Script,
        keys: Sequence[bytes],
        arguments: Sequence[bytes],
        min_replicas: int,
        deadline: float,
    ) -> Any:  # noqa: ANN401  # Whatever the script answers.
        # All that is text is sent as bytes: the client may have any encoding.
        operands = (len(keys), *keys, *arguments)
        # Redis waits for what this very connection has written.
        wait = _wait(min_replicas, deadline)
        try:
            by_digest = ("EVALSHA", script.digest.encode(), *operands)
            answers = await self._line.send((by_digest, *wait), keys[0], deadline)
        except exceptions.NoScriptError:  # The server is new, or was told to forget.
            by_source = ("EVAL", script.source.encode(), *operands)
            answers = await self._line.send((by_source, *wait), keys[0], deadline)
        return _answer(answers, min_replicas)


def replicas_wanted(min_replicas: int, client: object) -> int:
    """
    Return the number, if this client can wait for so many replicas.

    Raises:
        TypeError: a cluster's client: it may wait on another connection than it wrote on.
        ValueError: fewer than none.
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
    return (("WAIT", min_replicas, max(1, int(milliseconds))),)  # 0 is for ever.


def _answer(answers: Sequence[Any], min_replicas: int) -> Any:  # noqa: ANN401  # Whatever the script answers.
    answer, *acknowledged = answers
    if acknowledged and acknowledged[0] < min_replicas:
        msg = f"Redis has too few replicas that keep it ({acknowledged[0]} of {min_replicas})"
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
    return SchedulerUnavailable(f"Redis gave no answer within {budget} ({type(error).__name__})")
