"""
PgBouncer in front of the Postgres of the tests, in transaction mode.

There is no wheel of it. Where the system has none, its tests are left out, and the report header
says so; where it has one, they run like all others.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Self

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.processes import (
    HOST,
    ServerError,
    ServerProcess,
    free_port,
    scratch_folder,
    unprivileged,
    wait_until,
)
from tests.servers import PostgresServer, Program

_TARGET = ("host", "port", "user", "password")
_CONFIG = """
[databases]
* = {target}

[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {pool_size}
ignore_startup_parameters = extra_float_digits
"""


def find_pgbouncer() -> Program | None:
    """Find the system's PgBouncer; None if there is none."""
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which("pgbouncer", path=search)
    return Program(Path(found), "system") if found else None


class PgBouncer:
    """One PgBouncer; connections to it share few server connections, a transaction at a time."""

    def __init__(self, server: PostgresServer, pool_size: int = 2, settings: str = "") -> None:
        """
        Start in front of a server.

        Arguments:
            server: the server.
            pool_size: how many connections to have to each database at most.
            settings: more lines of pgbouncer.ini.
        """
        program = find_pgbouncer()
        if program is None:
            message = "no pgbouncer on this system"
            raise ServerError(message)
        self._server = server
        self._port = free_port()
        account = unprivileged()
        given = conninfo_to_dict(server.dsn())
        known = {name: str(given[name]) for name in _TARGET if name in given}
        with contextlib.ExitStack() as cleanup:
            folder = cleanup.enter_context(scratch_folder(account))
            config = folder / "pgbouncer.ini"
            text = _CONFIG.format(
                target=make_conninfo("", **known), host=HOST, port=self._port, pool_size=pool_size
            )
            config.write_text(text + settings)
            self._process = ServerProcess([program.path, config], folder, account)
            cleanup.callback(self._process.stop)
            self._process.spawn()
            wait_until(self._serves, "PgBouncer serves")
            self._cleanup = cleanup.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def dsn(self, dsn: str) -> str:
        """
        Return the way through PgBouncer to the same database as `dsn`.

        A schema in `dsn` is lost on the way: isolate by database here.
        """
        name = conninfo_to_dict(dsn)["dbname"]
        return make_conninfo(self._server.dsn(str(name)), host=HOST, port=self._port)

    def _serves(self) -> bool:
        if not self._process.running:
            message = f"PgBouncer did not start:\n{self._process.log()}"
            raise ServerError(message)
        try:
            psycopg.connect(self.dsn(self._server.dsn("postgres")), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True
