"""A Redis or Valkey server, and prefixes and databases on it."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Generator
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.processes import (
    HOST,
    ServerError,
    ServerProcess,
    free_port,
    scratch_folder,
)
from tests.servers.lifetime import Server
from tests.servers.programs import REDIS_URL, find_redis


class RedisServer(Server):
    """One Redis (or Valkey) server. Isolate tests by `prefix`, or by `database`."""

    def __init__(
        self,
        url: str,
        process: ServerProcess | None = None,
        cleanup: contextlib.ExitStack | None = None,
    ) -> None:
        self._url = url
        self._process = process
        self._cleanup = cleanup or contextlib.ExitStack()
        # No retries: redis-py's own take seconds while a server is down.
        self.client = redis.Redis.from_url(
            url, retry=Retry(NoBackoff(), 0), socket_timeout=5, decode_responses=True
        )

    @classmethod
    def find(cls) -> RedisServer:
        """Take the server that the environment names, or start one."""
        given = os.environ.get(REDIS_URL)
        return cls(given) if given else cls.own()

    @classmethod
    def own(cls, *arguments: str, durable: bool = False, config: str = "") -> RedisServer:
        """
        Start a server of our own.

        Arguments:
            arguments: more of the command line.
            durable: whether what was answered survives `kill` and `start`.
            config: the text of a configuration file which the server may rewrite.
        """
        port = free_port()
        command = [str(find_redis().path)]
        with contextlib.ExitStack() as cleanup:
            folder = cleanup.enter_context(scratch_folder())
            if config:
                (folder / "server.conf").write_text(config)
                command.append(str(folder / "server.conf"))
            command += ["--bind", HOST, "--port", str(port), "--dir", str(folder), *arguments]
            if "--sentinel" not in arguments:
                command += ["--enable-debug-command", "local", "--save", ""]
                command += ["--repl-diskless-sync-delay", "0"]
            if durable:
                command += ["--appendonly", "yes", "--appendfsync", "always"]
            process = ServerProcess(command, folder)
            server = cls(f"redis://{HOST}:{port}/0", process, cleanup.pop_all())
        try:
            server.start()
        except BaseException:
            server.close()
            raise
        return server

    def url(self, database: int | None = None) -> str:
        """Return the server's URL, for another database if one is numbered."""
        if database is None:
            return self._url
        return re.sub(r"(/\d+)?/?$", f"/{database}", self._url, count=1)

    @property
    def port(self) -> int:
        """Return the port the server listens on."""
        return int(self.client.connection_pool.connection_kwargs["port"])

    @property
    def version(self) -> str:
        """Return the version that the server itself tells."""
        info = self.client.info("server")
        return str(info.get("valkey_version") or info["redis_version"])

    def command(self, *words: str | int) -> Any:
        """Run any command and return its answer as it comes."""
        return self.client.execute_command(*words)

    def flush(self) -> None:
        """Empty every database."""
        self.client.flushall()

    @contextlib.contextmanager
    def prefix(self) -> Generator[str]:
        """Yield a fresh key prefix; keys that begin with it are deleted afterwards."""
        prefix = f"test-{secrets.token_hex(6)}:"
        try:
            yield prefix
        finally:
            self.heal()
            if keys := list(self.client.scan_iter(f"{prefix}*", count=1000)):
                self.client.delete(*keys)

    @contextlib.contextmanager
    def database(self, number: int = 1) -> Generator[str]:
        """Yield the URL of an empty database: for libraries whose keys have no prefix."""
        url = self.url(number)
        with contextlib.closing(redis.Redis.from_url(url)) as client:
            client.flushdb()
            try:
                yield url
            finally:
                self.heal()
                client.flushdb()

    def _disconnect(self) -> None:
        self.client.close()

    def _serves(self) -> bool:
        if not self.process.running:
            message = f"Redis did not start:\n{self.process.log()}"
            raise ServerError(message)
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False
