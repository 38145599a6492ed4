"""The fixtures for the tests of others: pytest finds them, and nothing else changes."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks
from tests.unit.twin_comparison import definitions, difference, halves

MODULE = "_batch_cancel_pytest"
SOURCE = (ROOT / "src" / f"{MODULE}.py").read_text("utf-8")

USES_THEM = """
import asyncio

import pytest

from batch_cancel import cancel_job, cancel_job_async
from batch_cancel.adapters import memory


@pytest.mark.parametrize("turn", [1, 2])
def test_blocking(cancel_store, cancel_scheduler, turn):
    assert type(cancel_store) is memory.MemoryStore
    assert type(cancel_scheduler) is memory.MemoryScheduler
    cancel_store.add_job("job")
    cancel_job("job", uow=cancel_store, scheduler=cancel_scheduler)
    cancel_scheduler.stop_answering()


@pytest.mark.parametrize("turn", [1, 2])
def test_asyncio(cancel_store_async, cancel_scheduler_async, turn):
    assert type(cancel_store_async) is memory.AsyncMemoryStore
    assert type(cancel_scheduler_async) is memory.AsyncMemoryScheduler
    cancel_store_async.add_job("job")
    asyncio.run(
        cancel_job_async("job", uow=cancel_store_async, scheduler=cancel_scheduler_async)
    )
"""

USES_NONE = """
import sys

def test_nothing_is_imported():
    assert "_batch_cancel_pytest" in sys.modules
    assert [it for it in sys.modules if it.startswith("batch_cancel")] == []
"""


def pytest_on(folder: Path, code: str) -> str:
    """Run pytest with the plugin on tests, in a process of its own, and return its last line."""
    file = folder / "test_theirs.py"
    file.write_text(code, "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-Werror", "-p", MODULE, "-p", "no:cacheprovider"],
        cwd=folder,
        # An installed package has its plugin loaded by itself, and a plugin twice is an error.
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def test_the_fixtures_are_fresh_for_each_test(tmp_path: Path) -> None:
    """The stores and schedulers in memory; a job of the test before is not there."""
    assert pytest_on(tmp_path, USES_THEM).startswith("4 passed")


def test_a_run_that_uses_none_imports_nothing_of_the_package(tmp_path: Path) -> None:
    """It costs a module with four functions."""
    assert pytest_on(tmp_path, USES_NONE).startswith("1 passed")


IMPORTS_IT_FIRST = """
import pytest

import batch_cancel

def test_the_mark_of_a_package_with_a_plugin():
    pytest.register_assert_rewrite("batch_cancel")
"""


def test_a_program_may_import_the_package_and_then_call_pytest(tmp_path: Path) -> None:
    """Pytest marks a package that has a plugin, and warns of one that it can't rewrite."""
    assert pytest_on(tmp_path, IMPORTS_IT_FIRST).startswith("1 passed")


def test_what_the_page_on_testing_shows_passes(tmp_path: Path) -> None:
    """Its blocks with fixtures, run by pytest as a reader's tests are."""
    first, *others = (it.code for it in blocks(ROOT / "docs" / "testing.md"))
    shown = [first, *(it for it in others if "cancel_store" in it)]
    tests = sum(code.count("def test_") for code in shown)
    assert pytest_on(tmp_path, "\n".join(shown)).startswith(f"{tests} passed")
    assert tests >= 15


def test_pytest_finds_the_plugin_where_the_package_is_installed() -> None:
    """By its entry point, and in the wheel."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert project["project"]["entry-points"]["pytest11"] == {"batch_cancel": MODULE}
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    assert f"src/{MODULE}.py" in included


@pytest.mark.parametrize("node", list(halves(SOURCE)), ids=lambda it: it.name)
def test_each_fixture_has_its_twin(node: ast.FunctionDef) -> None:
    """As all else that is written twice."""
    assert not difference(f"{MODULE}.py", node, definitions(SOURCE))
