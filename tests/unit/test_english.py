"""Docstrings are plain: what a function does, in the words of its field, about nobody's person."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import batch_cancel

PACKAGE: Final = Path(batch_cancel.__file__).parent
MODULES: Final = {
    path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8")
    for path in sorted(PACKAGE.rglob("*.py"))
}
FIRST_WORDS: Final = {
    "Give": "Return",
    "Lend": "Yield",
    "Say": "Return",
    "Tell": "Return, Check whether, Log or Print",
}
"""How no function's docstring begins, and how it begins instead."""

WORDS: Final = {"he", "him", "his", "she", "her", "hers"}
"""What stands in no docstring: an actor, a caller and a worker are programs."""


def docstrings(source: str) -> Iterator[tuple[int, str, bool]]:
    """Return line and text of each docstring, and whether it is a function's."""
    for node in ast.walk(ast.parse(source)):
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        if isinstance(node, kinds) and (text := ast.get_docstring(node)) is not None:
            is_function = not isinstance(node, ast.Module | ast.ClassDef)
            yield getattr(node, "lineno", 1), text, is_function


def complaints(source: str) -> list[str]:
    """Return what is not plain, with the line."""
    found = list[str]()
    for line, text, is_function in docstrings(source):
        words = text.split()
        if is_function and words[0] in FIRST_WORDS:
            found.append(f"line {line}: begins with {words[0]}: {FIRST_WORDS[words[0]]}")
        plain = {word.strip(".,:;()\"'").lower() for word in words}
        found += [f"line {line}: {word}" for word in sorted(plain & WORDS)]
    return found


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_are_plain(module: str) -> None:
    """Whoever adds one finds the word to use in the message."""
    assert complaints(MODULES[module]) == []


def test_what_is_not_plain_is_found() -> None:
    """In functions, classes and modules; the first word counts of functions alone."""
    source = (
        '"""Of him."""\nclass A:\n    """Tell."""\n    def f(self):\n        """Give his."""\n'
    )
    assert complaints(source) == [
        "line 1: him",
        "line 4: begins with Give: Return",
        "line 4: his",
    ]
