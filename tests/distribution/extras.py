"""
Install the wheel of dist/ with each extra alone and import its adapters.

`python -m tests.distribution.extras`, once with the newest versions of all, where a warning is an
error, and once with the lowest that pyproject.toml allows. The environments are made by uv, which
takes a second for each, and resolve from the index: a new release of a dependency that breaks us
is seen here first.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from ctypes.util import find_library
from pathlib import Path
from typing import Final

from tests.distribution import files

UV: Final = Path(sys.executable).with_name("uv")

CORE: Final = """
import batch_cancel, batch_cancel.http, batch_cancel.ports, batch_cancel.testing
import batch_cancel.adapters.asgi, batch_cancel.adapters.memory, batch_cancel.adapters.sqlite
import batch_cancel.adapters.wsgi
"""

COMMAND: Final = """
import sys
from batch_cancel.cli import main
for arguments in (["--help"], ["demo"]):
    try:
        main(arguments)
    except SystemExit as end:
        assert not end.code, end.code
"""

DJANGO: Final = """
import django
from django.conf import settings
app = "batch_cancel.adapters.django"
settings.configure(
    INSTALLED_APPS=[f"django.contrib.{it}" for it in ("admin", "auth", "contenttypes")] + [app],
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql"}},
    USE_TZ=True,
)
django.setup()
import batch_cancel.adapters.django.admin, batch_cancel.adapters.django.views
"""

SPECIAL: Final = {
    "cli": COMMAND,
    "django": DJANGO,
    "mysql": "import batch_cancel.adapters.sqlalchemy, pymysql",
    "postgres-binary": "import batch_cancel.adapters.postgres, psycopg\n"
    "assert psycopg.pq.__impl__ == 'binary', psycopg.pq.__impl__",
    "serve": "import uvicorn" + COMMAND,
    "testing": "import batch_cancel.testing.conformance, batch_cancel.testing.state_machine\n"
    "import _batch_cancel_pytest",
}
"""By the extra: what it must be able to do, where that is more than to import its adapter."""

NEEDS_LIBPQ: Final = ("postgres", "procrastinate", "django")
"""They leave libpq to the system. If it has none, they are tried with `postgres-binary`."""


def program(extra: str) -> str:
    """Return the Python code that an environment with this extra alone must run."""
    return SPECIAL.get(extra, f"import batch_cancel.adapters.{extra}") if extra else CORE


def main() -> None:
    """Try all extras; exit with the names of those that fail."""
    (wheel,) = (files.ROOT / "dist").glob("*.whl")
    has_libpq = find_library("pq") is not None
    failed = list[str]()
    for extra in ("", *files.extras()):
        also = ",postgres-binary" if extra in NEEDS_LIBPQ and not has_libpq else ""
        wanted = f"{wheel}[{extra}{also}]" if extra else str(wheel)
        for resolution in ("highest", "lowest-direct"):
            complaint = _tried(wanted, program(extra), resolution)
            name = f"{extra or 'no extra'}{also}, {resolution}"
            print(f"{'FAILED' if complaint else 'ok':6}  {name}", flush=True)  # noqa: T201
            failed += [f"{name}:\n{complaint}"] if complaint else []
    sys.exit("\n".join(failed) or None)


def _tried(wanted: str, code: str, resolution: str) -> str:
    """Return what an environment of its own complains about."""
    with tempfile.TemporaryDirectory() as folder:
        python = str(Path(folder, "bin", "python"))
        uv = [str(UV), "--no-config", "--quiet"]
        install = [*uv, "pip", "install", "--python", python]
        # Old versions warn of what newer Pythons and newer versions of others deprecate.
        strict = ["-W", "error"] if resolution == "highest" else []
        return (
            _run([*uv, "venv", "--python", sys.executable, folder], folder)
            or _run([*install, "--resolution", resolution, wanted], folder)
            or _run([python, "-I", *strict, "-c", code], folder)
        )


def _run(command: list[str], folder: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""


if __name__ == "__main__":
    main()
