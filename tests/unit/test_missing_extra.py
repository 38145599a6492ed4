"""What an import of an adapter raises if its extra is not installed."""

from __future__ import annotations

import subprocess
import sys

MISSING = (
    "aiohttp celery django dramatiq fastapi flask hypothesis litestar opentelemetry psycopg "
    "pytest redis sqlalchemy"
)

# The adapter, the extra, and the first module that was not found.
EXPECTED = """\
adapters.aiohttp [aiohttp] aiohttp
adapters.apscheduler [apscheduler] redis
adapters.arq [arq] redis
adapters.celery [celery] celery
adapters.django [django] django
adapters.django.views [django] django
adapters.docket [docket] redis
adapters.dramatiq [dramatiq] dramatiq.middleware
adapters.fastapi [fastapi] fastapi
adapters.flask [flask] flask
adapters.huey [huey] redis
adapters.litestar [litestar] litestar
adapters.otel [otel] opentelemetry
adapters.postgres [postgres] psycopg
adapters.procrastinate [procrastinate] psycopg
adapters.redis [redis] redis
adapters.rq [rq] redis
adapters.saq [saq] redis
adapters.sqlalchemy [sqlalchemy] sqlalchemy
adapters.taskiq [taskiq] redis
testing.conformance [testing] pytest
"""

PROGRAM = """
import importlib, re, sys
sys.modules.update(dict.fromkeys(sys.argv[1].split()))  # As if none were installed.
for name in sys.argv[2:]:
    try:
        importlib.import_module(f"batch_cancel.{name}")
    except ModuleNotFoundError as error:
        words = r"batch_cancel\\.(\\S+) needs more: pip install 'batch_cancel(\\S+)'"
        of, extra = re.fullmatch(words, str(error)).groups()
        print(name, extra, error.name)
        assert name.startswith(of), error
"""


def test_an_adapter_without_its_extra_names_it() -> None:
    """In the words of pip."""
    names = [line.split()[0] for line in EXPECTED.splitlines()]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, MISSING, *names],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == (EXPECTED, "")
