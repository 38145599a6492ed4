"""
Bugs planted in the SQL, the Lua and the stores, one at a time, each to be found by one test.

A mutation tool for Python does not look into SQL and Lua, and takes only a sample of the stores:
the bugs are written by hand, in the `.toml` files of `PLANTED`. Each is planted in a copy of the
package; the test named for it runs against that copy, and must fail. Unpatched, it must pass.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import attrs

from tests.proof.report import Row
from tests.servers import POSTGRES_DSN, REDIS_URL, PostgresServer, RedisServer

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "batch_cancel"
PLANTED = (
    "sql_and_lua",
    "postgres",
    "sqlalchemy",
    "sqlite",
    "starts",
    "wiring",
    "telling",
    "reconcile",
    "libraries",
    "reports",
    "bulk",
    "sweep",
    "dialing",
    "django",
    "memory",
    "frameworks",
)
"""The files that say what is planted."""

PATIENCE_SECONDS = 120
"""How long a test may take with a bug planted; one that hangs has not found it."""


@attrs.frozen(kw_only=True)
class Patch:
    """
    A bug to plant.

    Arguments:
        why: what goes wrong, in a sentence.
        file: below the package.
        written: the text that stands there, once.
        planted: the text to put in its place.
        test: the test that must find it, by file and name.
        world: what the test is narrowed to, as pytest's -k; nothing for all of it.
    """

    why: str
    file: str
    written: str
    planted: str
    test: str
    world: str = ""

    def plant(self, package: Path) -> None:
        """
        Plant it in a copy of the package.

        Raises:
            ValueError: the text is not there, or not once: the patch is outdated.
        """
        path = package / self.file
        text = path.read_text("utf-8")
        if text.count(self.written) != 1:
            message = f"{self.file} does not hold {self.written!r} once"
            raise ValueError(message)
        path.write_text(text.replace(self.written, self.planted), "utf-8")


def patches() -> list[Patch]:
    """Return every bug to plant."""
    files = (Path(__file__).with_name(f"{name}.toml") for name in PLANTED)
    return [
        Patch(**it) for file in files for it in tomllib.loads(file.read_text("utf-8"))["patch"]
    ]


@contextmanager
def lent_servers() -> Generator[Mapping[str, str]]:
    """Start a Postgres and a Redis, and yield where they are, as tests are given them."""
    with PostgresServer.find() as postgres, RedisServer.find() as redis:
        yield {POSTGRES_DSN: postgres.dsn(), REDIS_URL: redis.url()}


@contextmanager
def servers() -> Generator[None]:
    """Start one Postgres and one Redis for all the tests that run within."""
    with lent_servers() as given:
        before = {name: os.environ.get(name) for name in given}
        os.environ.update(given)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def pytest(
    tests: Iterable[str], world: str, source: Path, patience_seconds: int = PATIENCE_SECONDS
) -> tuple[int, str]:
    """Run tests against the package in `source`, and give the exit code and what was printed."""
    command = [sys.executable, "-m", "pytest", "-qx", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            [*command, "-k", world] if world else command,
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": str(source),
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # To find plugins takes as long as a test.
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=patience_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return -1, f"nothing within {patience_seconds} s"
    return done.returncode, done.stdout


def complaint(patch: Patch) -> str:
    """Plant a bug and run its test; nothing if the test fails, else what is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(PACKAGE, Path(folder) / PACKAGE.name)
        patch.plant(copy)
        code, told = pytest([patch.test], patch.world, copy.parent)
    if code == 1 and _is_of_a_test(told):
        return ""
    return f"not found by {patch.test}: {patch.why}\n{told if code else ''}".rstrip()


def _is_of_a_test(told: str) -> bool:
    """Check whether a test failed; one that could not begin, or invalid SQL, finds nothing."""
    errors = "SyntaxError|UndefinedColumn|ProgrammingError|compiling script"
    # Not the last line: a warning of the interpreter may come after it.
    has_failed = re.search(r"^\d+ failed\b", told, re.MULTILINE)
    return has_failed is not None and not re.search(rf"^E .*({errors})", told, re.MULTILINE)


def unpatched(every: Sequence[Patch]) -> list[str]:
    """Run the tests with nothing planted, and give what is wrong."""
    complaints: list[str] = []
    for world in sorted({patch.world for patch in every}):
        tests = sorted({patch.test for patch in every if patch.world == world})
        patience_seconds = PATIENCE_SECONDS + PATIENCE_SECONDS * len(tests) // 10
        code, told = pytest(tests, world, PACKAGE.parent, patience_seconds)
        if code:
            complaints.append(f"fails with nothing planted:\n{told}")
    return complaints


def rows(*, processes: int = 2) -> list[Row]:
    """Plant every bug, and give the row of the table."""
    every = patches()
    with servers(), ThreadPoolExecutor(processes) as pool:
        complaints = unpatched(every)
        not_found = [told for told in pool.map(complaint, every) if told]
    found = len(every) - len(not_found)
    return [
        Row(
            "SQL, Lua and store mutants found",
            f"{found}/{len(every)}",
            "all, at least 50",
            [*complaints, *not_found],
        )
    ]


if __name__ == "__main__":
    for row in rows():
        print(row.what, row.seen, *row.complaints, sep="\n")  # noqa: T201  # Its answer.
