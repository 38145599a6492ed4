"""What the documentation shows is what is tested."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

import pytest

from batch_cancel.testing.adapter import StoreAdapter

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "add-a-store.md").read_text(encoding="utf-8")
CODE: Final = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(
    ("block", "name"),
    [
        (0, "own_adapter.py"),
        (1, "server_adapter.py"),
        (2, "server_adapter_async.py"),
        (3, "own_adapter_test.py"),
    ],
)
def test_the_page_shows_the_example_to_the_letter(block: int, name: str) -> None:
    """The files are run through the kit; the page is a copy of them."""
    assert CODE[block] == (ROOT / "examples" / name).read_text(encoding="utf-8")


def test_an_adapter_is_small() -> None:
    """Under 120 lines for the adapter, under 40 for what the kit asks of it."""
    example = (ROOT / "examples" / "own_adapter.py").read_text(encoding="utf-8")
    assert len(example.splitlines()) < 120
    [tests] = [it for it in ast.parse(CODE[3]).body if isinstance(it, ast.ClassDef)]
    lines = CODE[3].splitlines()[tests.lineno - 1 : tests.end_lineno]
    assert len([line for line in lines if line.strip()]) < 40


def test_an_adapter_for_a_server_is_small() -> None:
    """With what the kit asks of it under 130 lines, blank ones not counted."""
    adapter = CODE[1]
    tests = (ROOT / "examples" / "server_adapter_kit.py").read_text(encoding="utf-8")
    kit = next(it for it in ast.parse(tests).body if isinstance(it, ast.ClassDef))
    lines = [*adapter.splitlines(), *tests.splitlines()[kit.lineno - 1 : kit.end_lineno]]
    assert len([line for line in lines if line.strip()]) < 130


def test_every_declaration_is_listed() -> None:
    """What an adapter can declare stands in the table of the page."""
    declared = {name for name in vars(StoreAdapter) if name in StoreAdapter.__annotations__}
    assert {it for it in declared if f"| `{it} = " not in PAGE} == set()
