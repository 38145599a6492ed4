"""
A MariaDB server, and databases on it.

No wheel has one: it is Debian's `mariadb-server`, which `make mysql` installs where it may. Only
the tests with the mark `mysql` ask for it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy import exc

from tests.processes import (
    HOST,
    ServerError,
    ServerProcess,
    free_port,
    run_as,
    scratch_folder,
    unprivileged,
)
from tests.servers.lifetime import Server
from tests.servers.programs import MARIADB_DRIVERS, Program

_USER = "batch_cancel"
_SETTINGS: Mapping[str, str] = {
    "bind-address": HOST,
    "innodb-buffer-pool-size": "64M",
    "innodb-log-file-size": "16M",
    "innodb-flush-log-at-trx-commit": "0",
    "skip-name-resolve": "1",
    "skip-log-bin": "1",
    "performance-schema": "0",
    "max-connections": "200",
}


def find_mariadb() -> Program | None:
    """Find the program `mariadbd`; None where it is not installed."""
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which("mariadbd", path=search)
    return None if found is None else Program(Path(found), "system")


def _configuration(settings: Mapping[str, str]) -> str:
    lines = [f"{name}={value}" for name, value in settings.items()]
    return "\n".join(["[mariadbd]", *lines, ""])


class MariaDbServer(Server):
    """One MariaDB server. Isolate tests by `database`."""

    def __init__(self, port: int, process: ServerProcess, cleanup: contextlib.ExitStack) -> None:
        self.port = port
        self._process = process
        self._cleanup = cleanup
        self._engine = sa.create_engine(
            self.url(),
            poolclass=sa.NullPool,
            isolation_level="AUTOCOMMIT",
            pool_reset_on_return=None,  # A node that is cut off refuses even a ROLLBACK.
        )

    @classmethod
    def own(cls, settings: Mapping[str, str] | None = None) -> Self:
        """
        Start a server of our own.

        Arguments:
            settings: more of its configuration.
        """
        server = cls.made(settings)
        try:
            server.start()
        except BaseException:
            server.close()
            raise
        return server

    @classmethod
    def made(cls, settings: Mapping[str, str] | None = None) -> Self:
        """Return a server of our own that is not started yet."""
        program = find_mariadb()
        if program is None:
            message = "no mariadbd: install Debian's mariadb-server, as `make mysql` does"
            raise ServerError(message)
        account = unprivileged()
        port = free_port()
        with contextlib.ExitStack() as cleanup:
            folder = cleanup.enter_context(scratch_folder(account, in_memory=True))
            every = {
                **_SETTINGS,
                "datadir": str(folder / "data"),
                "socket": str(folder / "mariadb.sock"),
                "pid-file": str(folder / "mariadb.pid"),
                "tmpdir": str(folder),
                "port": str(port),
                "init-file": str(folder / "init.sql"),
                **(settings or {}),
            }
            (folder / "my.cnf").write_text(_configuration(every))
            # Without what is for the server in use, such as a cluster.
            (folder / "install.cnf").write_text(
                _configuration({**_SETTINGS, "datadir": every["datadir"], "tmpdir": str(folder)})
            )
            (folder / "init.sql").write_text(
                f"CREATE USER IF NOT EXISTS {_USER}@'{HOST}';\n"
                f"GRANT ALL ON *.* TO {_USER}@'{HOST}' WITH GRANT OPTION;\n"
            )
            install = [
                "mariadb-install-db",
                f"--defaults-file={folder / 'install.cnf'}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ]
            run_as(account, install, folder)
            command = [str(program.path), f"--defaults-file={folder / 'my.cnf'}"]
            process = ServerProcess(command, folder, account)
            return cls(port, process, cleanup.pop_all())

    def url(self, database: str = "", *, is_async: bool = False, user: str = _USER) -> sa.URL:
        """Return a URL for SQLAlchemy, with one of the drivers that the environment names."""
        driver = os.environ.get(MARIADB_DRIVERS, "pymysql,asyncmy").split(",")[is_async]
        return sa.URL.create(
            f"mysql+{driver}",
            user,
            host=HOST,
            port=self.port,
            database=database or None,
            # Our server speaks no TLS, and PyMySQL reads all certificates for each connection.
            query={"ssl_disabled": "true"} if driver == "pymysql" else {},
        )

    @property
    def version(self) -> str:
        """Return the version that the server itself tells."""
        return str(self.query("SELECT version()"))

    def query(self, statement: str) -> Any:
        """Run one statement in autocommit; return the first column of the first row."""
        with self._engine.connect() as connection:
            done = connection.exec_driver_sql(statement)
            return done.scalar() if done.returns_rows else None

    @contextlib.contextmanager
    def database(self) -> Generator[str]:
        """Yield the name of a fresh database."""
        name = f"test_{secrets.token_hex(6)}"
        self.query(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        try:
            yield name
        finally:
            self.heal()
            self.query(f"SET STATEMENT lock_wait_timeout=10 FOR DROP DATABASE {name}")

    def _disconnect(self) -> None:
        self._engine.dispose()

    def _serves(self) -> bool:
        if not self.process.running:
            message = f"MariaDB did not start:\n{self.process.log()}"
            raise ServerError(message)
        try:
            return bool(self.query("SELECT 1"))
        except exc.OperationalError:
            return False
