"""
The pages as values: their Python blocks, their links, their headings.

Rule 1: the pages are the README, CONTRIBUTING and those below docs/. `docs/proof.md` is written by
        a program and is no page.
Rule 2: a block of Python is run as the reader would run it: the blocks of a page one after
        another, in one namespace.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import attrs

ROOT: Final = Path(__file__).parents[2]
GENERATED: Final = ROOT / "docs" / "proof.md"
PAGES: Final = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(path for path in (ROOT / "docs").glob("*.md") if path != GENERATED),
)

_BLOCK: Final = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FENCED: Final = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_LINK: Final = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_HEADING: Final = re.compile(r"^#+ (.*)$", re.MULTILINE)


@attrs.frozen
class Block:
    """
    A block of Python on a page.

    Arguments:
        line: the line of the page that its first line is.
        code: what it holds.
    """

    line: int
    code: str


def text(page: Path) -> str:
    """Return what the page holds."""
    return page.read_text("utf-8")


def blocks(page: Path) -> list[Block]:
    """Return the page's blocks of Python."""
    whole = text(page)
    return [
        Block(whole.count("\n", 0, found.start(1)) + 1, found.group(1))
        for found in _BLOCK.finditer(whole)
    ]


def links(page: Path) -> list[str]:
    """Return what the page links to."""
    return _LINK.findall(_FENCED.sub("", text(page)))


def anchors(page: Path) -> set[str]:
    """Return the anchors of the page's headings, as GitHub makes them."""
    headings = _HEADING.findall(_FENCED.sub("", text(page)))
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}
