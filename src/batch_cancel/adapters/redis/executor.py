"""
Run a Lua script on Redis within a time budget: its answer, or `SchedulerUnavailable`.

Rule 1: the budget holds whatever the client's own timeouts and retries are. How a command gets
        through in time is the business of a line; there is one for blocking clients (`blocking`)
        and one for asyncio (`nonblocking`).
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
from typing import Any, Final, Protocol

import attrs
import redis
import redis.asyncio
from redis import exceptions

from batch_cancel.adapters.redis.blocking import line_to
from batch_cancel.adapters.redis.nonblocking import line_to_async
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


class Line(Protocol):
    """A way to Redis."""

    def send(self, command: Sequence[Any], key: bytes, deadline: float, /) -> Any:  # noqa: ANN401  # Whatever the command answers.
        """
        Send the command to where `key` is, and give its answer, undecoded, before the deadline.

        One attempt: a fault is raised as the driver's error. `deadline` is on the clock of
        `time.monotonic`.
        """

    def pause(self, seconds: float, /) -> None:
        """Wait before the next attempt."""


class AsyncLine(Protocol):
    """A way to Redis."""

    async def send(self, command: Sequence[Any], key: bytes, deadline: float, /) -> Any:  # noqa: ANN401  # Whatever the command answers.
        """
        Send the command to where `key` is, and give its answer, undecoded, before the deadline.

        One attempt: a fault is raised as the driver's error. `deadline` is on the clock of
        `time.monotonic`.
        """

    async def pause(self, seconds: float, /) -> None:
        """Wait before the next attempt."""


class Executor:
    """
    Runs scripts within a time budget.

    Arguments:
        client: the user's own: for one server, a Sentinel's master, or a cluster.
        budget: how long one run may take, retries included.

    Raises:
        TypeError: a client of the other kind.
        ValueError: no budget at all.
    """

    def __init__(self, client: redis.Redis | redis.RedisCluster, budget: timedelta) -> None:
        self._budget_seconds = _positive_seconds(budget)
        self._line: Line = line_to(client)

    def run(self, script: Script, keys: Sequence[bytes], arguments: Sequence[bytes]) -> Any:  # noqa: ANN401  # Whatever the script answers.
        """
        Run the script and give its answer, bytes undecoded.

        Raises:
            SchedulerUnavailable: no answer within the budget, or Redis refused.
        """
        deadline = time.monotonic() + self._budget_seconds
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return self._attempt(script, keys, arguments, deadline)
            except (*_PASSING, exceptions.RedisError) as error:
                if not _may_pass(error):
                    raise _refused(error) from error
                if time.monotonic() + pause >= deadline:
                    raise _late(error, self._budget_seconds) from error
            self._line.pause(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _attempt(
        self, script: Script, keys: Sequence[bytes], arguments: Sequence[bytes], deadline: float
    ) -> Any:  # noqa: ANN401  # Whatever the script answers.
        operands = (len(keys), *keys, *arguments)
        try:
            return self._line.send(("EVALSHA", script.digest, *operands), keys[0], deadline)
        except exceptions.NoScriptError:  # The server is new, or was told to forget.
            return self._line.send(("EVAL", script.source, *operands), keys[0], deadline)


class AsyncExecutor:
    """
    Runs scripts within a time budget.

    Arguments:
        client: the user's own: for one server, a Sentinel's master, or a cluster.
        budget: how long one run may take, retries included.

    Raises:
        TypeError: a client of the other kind.
        ValueError: no budget at all.
    """

    def __init__(
        self, client: redis.asyncio.Redis | redis.asyncio.RedisCluster, budget: timedelta
    ) -> None:
        self._budget_seconds = _positive_seconds(budget)
        self._line: AsyncLine = line_to_async(client)

    async def run(self, script: Script, keys: Sequence[bytes], arguments: Sequence[bytes]) -> Any:  # noqa: ANN401  # Whatever the script answers.
        """
        Run the script and give its answer, bytes undecoded.

        Raises:
            SchedulerUnavailable: no answer within the budget, or Redis refused.
        """
        deadline = time.monotonic() + self._budget_seconds
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return await self._attempt(script, keys, arguments, deadline)
            except (*_PASSING, exceptions.RedisError) as error:
                if not _may_pass(error):
                    raise _refused(error) from error
                if time.monotonic() + pause >= deadline:
                    raise _late(error, self._budget_seconds) from error
            await self._line.pause(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _attempt(
        self, script: Script, keys: Sequence[bytes], arguments: Sequence[bytes], deadline: float
    ) -> Any:  # noqa: ANN401  # Whatever the script answers.
        operands = (len(keys), *keys, *arguments)
        try:
            return await self._line.send(("EVALSHA", script.digest, *operands), keys[0], deadline)
        except exceptions.NoScriptError:  # The server is new, or was told to forget.
            return await self._line.send(("EVAL", script.source, *operands), keys[0], deadline)


def _positive_seconds(budget: timedelta) -> float:
    if budget <= timedelta(0):
        msg = f"the budget must be longer than nothing, got {budget!r}"
        raise ValueError(msg)
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
