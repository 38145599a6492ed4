"""What `import batch_cancel` brings along, and what it does not."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import metadata

import pytest

import batch_cancel
import batch_cancel.http

DRIVERS_AND_FRAMEWORKS = [
    "aiohttp",
    "arq",
    "asyncio",
    "asyncpg",
    "celery",
    "click",
    "django",
    "dramatiq",
    "fastapi",
    "flask",
    "hypothesis",
    "litestar",
    "opentelemetry",
    "psycopg",
    "psycopg_pool",
    "pydantic",
    "pytest",
    "redis",
    "rich",
    "rq",
    "sqlalchemy",
    "sqlite3",
    "starlette",
    "typer",
    "valkey",
]


def run(command: str) -> str:
    """Run Python code in an interpreter of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True
    )
    assert not done.stderr
    return done.stdout


def loaded_by(module: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has loaded after this import."""
    printed = run(f"import {module}, sys; print(sorted({{m.split('.')[0] for m in sys.modules}}))")
    names: list[str] = ast.literal_eval(printed)
    return set(names)


def test_the_package_comes_without_its_drivers() -> None:
    """The command of issue 2, to the letter."""
    command = (
        "import batch_cancel, sys; "
        "print([m for m in sys.modules if m.startswith(('psycopg','redis'))])"
    )
    assert run(command) == "[]\n"


def test_the_package_comes_without_a_log() -> None:
    """A program that logs nothing need not wait for it."""
    assert "logging" not in loaded_by("batch_cancel")


def test_the_package_comes_without_the_endpoint() -> None:
    """A program without a web server does not load one's rules."""
    command = (
        "import batch_cancel, sys; "
        "print([m for m in sys.modules if m.startswith('batch_cancel.http')])"
    )
    assert run(command) == "[]\n"


@pytest.mark.parametrize(
    "module",
    [
        "batch_cancel",
        "batch_cancel.ports",
        "batch_cancel.presenter",
        "batch_cancel.testing",
        "batch_cancel.http",
        "batch_cancel.http.endpoint",
        "batch_cancel.adapters.wsgi",
    ],
)
def test_the_package_comes_without_any_framework(module: str) -> None:
    """No driver, no framework, no event loop: attrs and the standard library."""
    loaded = loaded_by(module)
    assert "attr" in loaded
    assert loaded.isdisjoint(DRIVERS_AND_FRAMEWORKS)


OWN_DRIVERS: dict[str, set[str]] = {
    "batch_cancel.adapters.memory": {"asyncio"},
    "batch_cancel.adapters.sqlite": {"sqlite3"},
    "batch_cancel.adapters.postgres": {"psycopg", "asyncio"},
    "batch_cancel.adapters.redis": {"redis"},
    "batch_cancel.adapters.otel": {"opentelemetry"},
    "batch_cancel.adapters.asgi": {"asyncio"},
    "batch_cancel.adapters.wsgi": set(),
    "batch_cancel.adapters.aiohttp": {"aiohttp"},
    "batch_cancel.adapters.fastapi": {"fastapi"},
    "batch_cancel.adapters.flask": {"flask"},
    "batch_cancel.adapters.litestar": {"litestar"},
    "batch_cancel.adapters.sqlalchemy": {"sqlalchemy", "asyncio"},
    "batch_cancel.adapters.django": {"django", "psycopg"},
    "batch_cancel.adapters.apscheduler": {"redis"},
    "batch_cancel.adapters.arq": {"redis"},
    "batch_cancel.adapters.docket": {"redis"},
    "batch_cancel.adapters.huey": {"redis"},
    "batch_cancel.adapters.rq": {"redis"},
    "batch_cancel.adapters.saq": {"redis"},
    "batch_cancel.adapters.taskiq": {"redis"},
    "batch_cancel.adapters.procrastinate": {"psycopg"},
}


@pytest.fixture(scope="module")
def loaded_by_adapters() -> dict[str, set[str]]:
    """Return what each adapter loads, in a copy of a process that has the package alone."""
    code = f"""
import os, sys, batch_cancel
for module in {[*OWN_DRIVERS]}:
    if os.fork():
        assert os.wait()[1] == 0, module
        continue
    __import__(module)
    print(repr((module, sorted(it.split(".")[0] for it in sys.modules))), flush=True)
    os._exit(0)
"""
    lines = [ast.literal_eval(line) for line in run(code).splitlines()]
    return {module: set(names) for module, names in lines}


@pytest.mark.parametrize("module", OWN_DRIVERS)
def test_an_adapter_comes_with_its_own_driver_alone(
    module: str, loaded_by_adapters: dict[str, set[str]]
) -> None:
    """Whoever uses one need not install another's."""
    loaded, own = loaded_by_adapters[module], OWN_DRIVERS[module]
    assert own <= loaded
    drivers = {"psycopg", "psycopg_pool", "redis", "sqlite3", "arq", "docket", "huey", "rq"}
    drivers |= {"saq", "aiohttp", "django", "fastapi", "flask", "litestar"}
    assert loaded & drivers == own & drivers


def test_the_plugin_of_pytest_comes_with_pytest_alone() -> None:
    """Every test run of an environment loads it, whatever it tests."""
    assert loaded_by("_batch_cancel_pytest") - loaded_by("pytest") == {"_batch_cancel_pytest"}


def test_djangos_app_comes_without_settings() -> None:
    """Its models and its admin are left to Django to load."""
    modules = ("", ".apps", ".removals", ".tables", ".unit_of_work", ".views")
    imports = "; ".join(f"import batch_cancel.adapters.django{it}" for it in modules)
    printed = run(
        f"{imports}; import sys; from django.conf import settings\n"
        "names = [f'batch_cancel.adapters.django.{it}' for it in ('models', 'admin')]\n"
        "print(settings.configured, [it for it in names if it in sys.modules])"
    )
    assert printed == "False []\n"


def test_the_version_comes_without_the_command_line() -> None:
    """Neither typer nor rich need be there to print one line."""
    printed = run(
        "import sys; sys.argv[1:] = ['--version']\n"
        "from batch_cancel.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    print(end.code, sorted(sys.modules))"
    )
    version, told = printed.split("\n", 1)
    code, names = told.split(" ", 1)
    assert version == f"batch-cancel {metadata.version('batch_cancel')}"
    assert code == "None"
    loaded = {name.split(".")[0] for name in ast.literal_eval(names)}
    assert loaded.isdisjoint(DRIVERS_AND_FRAMEWORKS)
    assert "batch_cancel.cli.run" not in names


def test_a_command_comes_without_what_another_shows() -> None:
    """Each costs the time that importing it takes: a cancel needs no demo and no server."""
    printed = run(
        "import sys; from batch_cancel.cli import run\n"
        "names = ['sqlite3', 'uvicorn', 'batch_cancel.cli.demo']\n"
        "print([it for it in names if it in sys.modules])"
    )
    assert printed == "[]\n"


def test_these_names_are_public() -> None:
    """Others write against them."""
    assert batch_cancel.__all__ == sorted(
        [
            "cancel_job",
            "cancel_job_async",
            "cancel_jobs",
            "cancel_jobs_async",
            "JobFilter",
            "BulkResult",
            "cancel_rows",
            "cancel_rows_async",
            "remove_deferred",
            "remove_deferred_async",
            "JobStatus",
            "ContactStatus",
            "JobKey",
            "CancelResult",
            "Cancellation",
            "CancellationPage",
            "Drift",
            "Preview",
            "Progress",
            "Removal",
            "BatchCancelError",
            "JobNotFound",
            "AlreadyTerminal",
            "CancelFailed",
            "CancellationRecord",
            "Claimed",
            "ClaimedContacts",
            "Fault",
            "Job",
            "SchedulerUnavailable",
            "StoreFailed",
            "pump",
            "pump_async",
            "UnknownJobStatus",
            "append_contacts",
            "append_contacts_async",
            "cancellation_of",
            "cancellation_of_async",
            "cancellations",
            "cancellations_async",
            "claim_contacts",
            "claim_contacts_async",
            "expire_calls",
            "expire_calls_async",
            "finish_job",
            "finish_job_async",
            "forget",
            "forget_async",
            "inspect",
            "inspect_async",
            "job_progress",
            "job_progress_async",
            "preview_job",
            "preview_job_async",
            "reconcile",
            "reconcile_async",
            "settle_contact",
            "settle_contact_async",
            "start_job",
            "start_job_async",
            "still_running",
            "still_running_async",
        ]
    )


def test_every_public_name_is_there() -> None:
    """And documented."""
    for name in batch_cancel.__all__:
        assert getattr(batch_cancel, name).__doc__


def test_these_names_of_the_endpoint_are_public() -> None:
    """Web code needs no module below `batch_cancel.http`."""
    assert batch_cancel.http.__all__ == sorted(
        [
            "ApiKeys",
            "AsyncAuthenticate",
            "AsyncCancel",
            "AsyncEndpoint",
            "Authenticate",
            "Cancel",
            "Endpoint",
            "Page",
            "Principal",
            "Request",
            "Response",
            "decoded",
            "joined",
            "present",
            "present_error",
        ]
    )
    for name in batch_cancel.http.__all__:
        assert hasattr(batch_cancel.http, name)


@pytest.mark.parametrize(
    "module",
    [
        "api_keys",
        "endpoint",
        "endpoint_kinds",
        "openapi",
        "request",
        "response",
    ],
)
def test_a_module_of_the_endpoint_can_be_imported_first(module: str) -> None:
    """There is no circle through the package's own names."""
    name = f"batch_cancel.http.{module}"
    assert run(f"import {name}, sys; print(sys.modules['{name}'].__name__)") == f"{name}\n"
