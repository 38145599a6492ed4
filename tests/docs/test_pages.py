"""The pages: links, paths, commands and lengths."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from batch_cancel.cli import run
from documentation.markdown import groups_of
from tests.docs.pages import GENERATED, INCLUDED, PAGES, ROOT, anchors, links, text

README = ROOT / "README.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
README_LINES_MAX = 200
COLUMNS_MAX = 99
ELSEWHERE = {
    ".venv/",
    "build/",
    "recipe.lua",
    "names.py",
    "tables.sql",
    "wiring.py",
    "job.sql",
    "records.py",
}
"""What `make` makes, a name that several files have, and what a reader saves."""

by_name = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@by_name
def test_what_a_page_links_to_exists(page: Path) -> None:
    """File and anchor; nothing outside is linked to, so that the pages are whole offline."""
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_linked_to_from_another() -> None:
    """Nobody has to find one in the folder."""
    linked = {
        (page.parent / link.partition("#")[0]).resolve() for page in PAGES for link in links(page)
    }
    included = {ROOT / "docs" / name for name in INCLUDED}
    assert {*PAGES, GENERATED} - linked - included == {README}


def test_every_page_is_on_the_site() -> None:
    """In one table of contents of the first page, once."""
    index = text(ROOT / "docs" / "index.md")
    listed = [name for _, names in groups_of(index) for name in names]
    assert sorted([*listed, "index"]) == sorted(path.stem for path in (ROOT / "docs").glob("*.md"))


@by_name
def test_no_line_of_a_page_is_too_long(page: Path) -> None:
    """A row of a table, a picture and an address can't be broken, and are left out."""
    long = [it for it in text(page).splitlines() if len(it) > COLUMNS_MAX]
    assert [it for it in long if not re.match(r"\||!\[|- .*<https://", it)] == []


def test_the_readme_is_short() -> None:
    """What is beyond it is on a page of its own."""
    assert len(text(README).splitlines()) <= README_LINES_MAX


def test_every_example_is_on_its_page() -> None:
    """Those that are one file; the others are named by their folder."""
    linked = links(ROOT / "docs" / "examples.md")
    for path in (ROOT / "examples").iterdir():
        if not path.name.startswith("_"):
            assert any(it.startswith(f"../examples/{path.name}") for it in linked), path.name


def paths(page: Path) -> list[str]:
    """Return the paths that the page names."""
    return re.findall(r"`([\w./-]+(?:/|\.(?:py|sql|lua|toml|md)))`", text(page))


@by_name
def test_every_path_on_a_page_exists(page: Path) -> None:
    """Below the package or below the root."""
    roots = (ROOT / "src" / "batch_cancel", ROOT, ROOT / "examples")
    missing = {it for it in paths(page) if not any((root / it).exists() for root in roots)}
    assert missing - ELSEWHERE == set()


def test_the_map_names_the_files() -> None:
    """If it named none, nothing would be tested."""
    assert len(paths(ARCHITECTURE)) >= 60


@by_name
def test_what_is_typed_on_a_page_is_a_command(page: Path) -> None:
    """Each command of `batch-cancel` and each option is one that there is."""
    group = typer.main.get_command(run.program)
    known = {
        name: {option for it in command.params for option in it.opts}
        for name, command in getattr(group, "commands").items()  # noqa: B009  # Not in its type.
    }
    joined = text(page).replace("\\\n", " ")
    typed = re.findall(r"(?:^ {4}|`)batch-cancel ([\w-]+)([^\n`#]*)", joined, re.MULTILINE)
    for command, rest in typed:
        assert {*re.findall(r"--[\w-]+", rest)} <= known[command], (command, rest)


def test_the_operators_page_names_every_command_and_exit_code() -> None:
    """Those that the help of a command lists; what is wrong or fails is the same for all."""
    page = text(ROOT / "docs" / "operations.md")
    rows = dict(re.findall(r"^\| (\d+) \| (.*) \|$", page, re.MULTILINE))
    _, _, table = page.partition("| command | what it does |")
    group = typer.main.get_command(run.program)
    for name, command in getattr(group, "commands").items():  # noqa: B009  # Not in its type.
        assert f"`{name}`" in table.partition("\n\n")[0], name
        for code in re.findall(r"^\s*(\d+)  \w", command.help or "", re.MULTILINE):
            assert code in rows, (name, code)
            is_common = code in {"0", "2", "5"}
            assert is_common or re.search(rf"`{name}[` ]", rows[code]), (name, code)


@by_name
def test_what_is_made_on_a_page_is_a_target(page: Path) -> None:
    """Each `make` names a target of the Makefile."""
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    made = re.findall(r"(?:^ {4}|`)make ([a-z-]+)", text(page), re.MULTILINE)
    assert {*made} <= {*targets}


def test_the_readme_names_the_commands_that_show_and_prove_it() -> None:
    """A demonstration and the tests: the test command of the project is there."""
    assert {*re.findall(r"^ {4}make ([a-z]+)", text(README), re.MULTILINE)} == {"demo", "test"}


def test_anchors_are_those_of_headings() -> None:
    """As GitHub makes them: code, commas and quotes fall out."""
    assert "failover" in anchors(ROOT / "docs" / "schedulers.md")
    assert "your-workers-must-ask" in anchors(README)
    assert "a-lost-answer-and-a-redis-that-is-down" in anchors(README)
