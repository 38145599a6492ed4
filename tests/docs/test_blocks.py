"""
Every block on every page runs, and shows what is said beside it.

sybil would find the blocks as well as the few lines in `pages` do. What remains would still be
ours: a job scheduled anew before each block, the reader's addresses replaced by those of the
tests' servers, values compared with the comment beside an expression, `await` at the top level.
And sybil makes a test of each block: pytest-xdist would run those of one page in several
processes, where they do not see each other's names.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import io
import os
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.docs.given import BEFORE, Home, home, names
from tests.docs.pages import PAGES, Block, blocks, text
from tests.servers import find_postgres

WITH_BLOCKS = [page for page in PAGES if blocks(page) and page.name != "libraries.md"]
"""Libraries are in environments of their own: their page runs in `tests/schedulers`."""

FROM_NOTHING = {"tutorial.md"}
"""Pages whose reader creates every table."""


@pytest.fixture
def at(postgres_schema: str, redis_database: str, tmp_path: Path) -> Iterator[Home]:
    """Yield a place to read a page at."""
    with home(postgres_schema, redis_database, tmp_path) as place:
        yield place


def comments(code: str) -> dict[int, str]:
    """Return the comment of each line that has one."""
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    return {it.start[0]: it.string[1:].strip() for it in tokens if it.type == tokenize.COMMENT}


def shown(code: str) -> dict[int, str]:
    """Return the lines that are an expression with a comment, and what the comment shows."""
    beside = comments(code)
    return {
        node.lineno: beside[node.lineno]
        for node in ast.parse(code).body
        if isinstance(node, ast.Expr) and node.lineno in beside
    }


def run(code: str, name: str, own: dict[str, Any]) -> list[str]:
    """Run the code, and return what it does not show although it says so."""
    wrong = list[str]()
    claims = shown(code)
    for node in ast.parse(code).body:
        if isinstance(node, ast.Expr) and node.lineno in claims:
            value = evaluated(ast.Expression(node.value), name, "eval", own)
            if repr(value) != claims[node.lineno]:
                wrong.append(f"{name}: it says {claims[node.lineno]}, and is {value!r}")
        else:
            evaluated(ast.Module([node], []), name, "exec", own)
    return wrong


def evaluated(
    tree: ast.Module | ast.Expression, name: str, mode: str, own: dict[str, Any]
) -> object:
    """Run a tree, in an event loop of its own if it awaits."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    made = compile(tree, name, mode, flags=flags, dont_inherit=True)
    value: object = eval(made, own)  # noqa: S307  # The pages are ours.
    return asyncio.run(value) if inspect.iscoroutine(value) else value


def url_of(dsn: str) -> str:
    """Return a connection string as a URL."""
    parts = {name: str(value) for name, value in conninfo_to_dict(dsn).items()}
    return f"postgresql://?{urlencode(parts, quote_via=quote)}"


def typed(commands: str, at: Home) -> str:
    """Return a block of commands with what each of them prints."""
    programs = (Path(sys.executable).parent, find_postgres().path.parent, os.environ["PATH"])
    own = {
        "BATCH_CANCEL_STORE": url_of(at.dsn),
        "BATCH_CANCEL_SCHEDULER": f"native+{at.url}",
        "PATH": os.pathsep.join(map(str, programs)),
        # Where this test's own package is imported from.
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    shown = list[str]()
    for command in (line for line in commands.splitlines() if line.startswith("$ ")):
        done = subprocess.run(
            ["sh", "-c", command.removeprefix("$ ")],
            cwd=at.folder,
            env=os.environ | own,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        code = f"[exit code {done.returncode}]\n" if done.returncode else ""
        shown.append(f"{command}\n{done.stdout}{code}")
    return "".join(shown)


def run_page(page_blocks: list[Block], at: Home, own: dict[str, Any], name: str) -> list[str]:
    """Run the blocks of a page in their order, the example's job scheduled anew before each."""
    wrong = list[str]()
    for block in page_blocks:
        at.seed()
        for part, prepare in BEFORE.items():
            if part in block.code:
                prepare(at, own)
        code = at.at_home(block.code)
        if block.file is not None:
            (at.folder / block.file).write_text(code, "utf-8")
        if block.kind == "console":
            seen = typed(code, at)
            wrong += [] if seen == code else [f"{name}: it says\n{code}\nand is\n{seen}"]
        elif block.kind == "python":
            # Blank lines before it: a traceback names the line of the page.
            wrong += run("\n" * (block.line - 1) + code, name, own)
    return wrong


@pytest.mark.parametrize("page", WITH_BLOCKS, ids=lambda page: page.name)
def test_the_blocks_of_a_page_run(
    page: Path, at: Home, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """One after another, in one namespace."""
    monkeypatch.chdir(at.folder)
    monkeypatch.syspath_prepend(at.folder)
    for block in blocks(page):
        if block.file is not None:
            # Not there yet, and taken out when the test ends: no other page imports it.
            monkeypatch.setitem(sys.modules, Path(block.file).stem, sys)
            del sys.modules[Path(block.file).stem]
    if page.name in FROM_NOTHING:
        at = at.emptied(request.getfixturevalue("postgres_database"))
    module = ModuleType(f"docs.{page.stem}")
    # Litestar looks there for what annotations name.
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with names(at) as given:
        own = vars(module)
        own |= given
        wrong = run_page(blocks(page), at, own, str(page))
    assert not wrong, "\n".join(wrong)


def test_what_a_page_gets_wrong_is_found(at: Home) -> None:
    """A comment beside an expression is compared with its value."""
    code = "import psycopg\n1 + 1  # 3\n'a'  # 'a'\n"
    assert run_page([Block(1, code)], at, {}, "page") == ["page: it says 3, and is 2"]


def test_a_command_that_prints_something_else_is_found(at: Home) -> None:
    """What it prints and its exit code are compared with the page."""
    [wrong] = run_page([Block(1, "$ echo no; exit 3\nyes\n", "console")], at, {}, "page")
    assert wrong.endswith("and is\n$ echo no; exit 3\nno\n[exit code 3]\n")


def test_what_raises_on_a_page_is_found(at: Home) -> None:
    """And nothing after it runs."""
    with pytest.raises(NameError, match="no_such_name"):
        run_page([Block(1, "no_such_name()")], at, {}, "page")


def test_every_page_shows_python_that_is_run() -> None:
    """No block is written in a way that the test above does not see."""
    for page in PAGES:
        written = re.findall(r"^```(?:python|console|sql)$", text(page), re.MULTILINE)
        assert len(written) == len(blocks(page)), page
        assert not re.search(r"```(?:py|sh|bash|shell|pycon)\b", text(page)), page


def test_blocks_are_found_on_the_pages_that_show_how_to_do_something() -> None:
    """If none were found there, nothing would be tested."""
    assert {page.name for page in WITH_BLOCKS} >= {
        "README.md",
        "add-a-scheduler.md",
        "add-a-store.md",
        "django.md",
        "frameworks.md",
        "history.md",
        "how-it-works.md",
        "http.md",
        "operations.md",
        "schedulers.md",
        "testing.md",
        "transactions.md",
        "tutorial.md",
        "workers.md",
        "your-tables.md",
    }
    assert sum(len(blocks(page)) for page in PAGES) >= 30
