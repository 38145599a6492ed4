"""The recipes of docs/libraries.md: the library's side in its own environment, then the cancel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psycopg
import pytest
import redis

from tests.docs.given import Home, home
from tests.docs.pages import ROOT, Block, blocks
from tests.docs.test_blocks import run
from tests.schedulers.rig import python_of

PAGE: Final = ROOT / "docs" / "libraries.md"
JOB, WIRING, *_PARTS = blocks(PAGE)
"""What comes before the first recipe: a job, and the module that each recipe imports."""

RECIPES: Final[dict[str, tuple[Block, Block, Block]]] = {
    first.file.removesuffix("_starts.py"): (first, second, third)
    for first, second, third in zip(_PARTS[::3], _PARTS[1::3], _PARTS[2::3], strict=True)
    if first.file is not None
}
"""By library: the module of the tasks, what schedules one, and the cancel."""

CHOSEN = [*RECIPES] if os.environ.get("BATCH_CANCEL_TEST_LIBRARIES") == "all" else ["arq", "rq"]


@pytest.fixture
def at(postgres_schema: str, redis_database: str, tmp_path: Path) -> Iterator[Home]:
    """Yield a place to read the page at."""
    with home(postgres_schema, redis_database, tmp_path) as place:
        yield place


def make_tables(at: Home) -> None:
    """Create Procrastinate's tables, as its reader has."""
    program = (
        "import procrastinate\n"
        f"connector = procrastinate.SyncPsycopgConnector(conninfo={at.dsn!r})\n"
        "with procrastinate.App(connector=connector).open() as app:\n"
        "    app.schema_manager.apply_schema()\n"
    )
    subprocess.run([python_of("procrastinate"), "-c", program], check=True)


def schedule(library: str, tasks: Block, starts: Block, at: Home) -> None:
    """Run the library's side, which ends once the start is scheduled."""
    for block in (tasks, starts):
        assert block.file is not None
        code = at.at_home(block.code).replace('"redis://localhost"', repr(at.url))
        (at.folder / block.file).write_text(code, "utf-8")
    (at.folder / "wiring.py").write_text("uow = None\n", "utf-8")
    paths = os.pathsep.join([str(at.folder), str(ROOT / "src")])

    def python(*arguments: str) -> None:
        subprocess.run(
            [python_of(library), *arguments],
            check=True,
            cwd=at.folder,
            env=os.environ | {"PYTHONPATH": paths},
            timeout=60,
        )

    python("-c", f"import {library}_starts")  # As every worker does.
    with redis.Redis.from_url(at.url) as client:
        assert client.dbsize() == 0, "the module of the tasks has scheduled something"
    python("schedule_it.py")


def save_a_job(at: Home) -> None:
    """Run the page's SQL on its tables, which are empty, beside an empty Redis."""
    assert (JOB.kind, JOB.file) == ("sql", "job.sql")
    with psycopg.connect(at.dsn) as rows:
        rows.execute("TRUNCATE batch_jobs, batch_contacts, batch_cancellations")
        rows.execute(JOB.code.encode())
    with redis.Redis.from_url(at.url) as client:
        client.flushdb()


@pytest.mark.parametrize("library", CHOSEN)
def test_a_recipe_schedules_a_start_and_cancels_it(
    library: str, at: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing but what the page shows; the answer is the one beside the code."""
    tasks, starts, cancel = RECIPES[library]
    save_a_job(at)
    if library == "procrastinate":
        make_tables(at)
    schedule(library, tasks, starts, at)
    assert WIRING.file == "wiring.py"
    (at.folder / WIRING.file).write_text(at.at_home(WIRING.code), "utf-8")
    monkeypatch.syspath_prepend(at.folder)
    monkeypatch.setitem(sys.modules, "wiring", sys)  # Taken out when the test ends.
    del sys.modules["wiring"]
    assert run("\n" * (cancel.line - 1) + at.at_home(cancel.code), str(PAGE), {}) == []


def test_every_library_has_a_recipe() -> None:
    """Those of the table of adapters."""
    text = (ROOT / "docs" / "schedulers.md").read_text("utf-8")
    named = re.findall(r"^\| [^|]+ \d\S* \| `(?:adapters\.(\w+)|StartGate)`", text, re.MULTILINE)
    assert {*filter(None, named), "celery", "dramatiq"} == RECIPES.keys()
