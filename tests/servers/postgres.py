"""A Postgres server, and schemas and databases on it."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

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
from tests.servers.lifetime import Server
from tests.servers.programs import POSTGRES_DSN, find_postgres


class PostgresServer(Server):
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
            folder = cleanup.enter_context(scratch_folder(account, in_memory=not fsync))
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
        """Yield a fresh schema: a connection string whose search_path is that schema alone."""
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
        """Yield a fresh database: for what a schema cannot isolate, and behind PgBouncer."""
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
