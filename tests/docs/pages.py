"""
The pages as values: their Python blocks, their links, their headings.

Rule 1: the pages are the README, CONTRIBUTING and those below docs/. `docs/proof.md` is written by
        a program and is no page.
Rule 2: a block is run as the reader would run it: the blocks of a page one after another, Python
        in one namespace. A block whose first line names a file is saved as that file, too.
Rule 3: a block `console` holds commands after "$ ", each followed by what it prints.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import attrs

ROOT: Final = Path(__file__).parents[2]
GENERATED: Final = ROOT / "docs" / "proof.md"
INCLUDED: Final = {"contributing.md", "changelog.md"}
"""Pages of the site that hold a file of the root; they are linked to by its name."""
PAGES: Final = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(path for path in (ROOT / "docs").glob("*.md") if path != GENERATED),
)

_BLOCK: Final = re.compile(r"^```(python|console|sql)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE: Final = re.compile(r"(?:#|--) (\w+\.(?:py|sql))\n")
_FENCED: Final = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_LINK: Final = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_HEADING: Final = re.compile(r"^#+ (.*)$", re.MULTILINE)


@attrs.frozen
class Block:
    """
    A block on a page that is run.

    Arguments:
        line: the line of the page that its first line is.
        code: what it holds.
        kind: python, console or sql.
    """

    line: int
    code: str
    kind: str = "python"

    @property
    def file(self) -> str | None:
        """The file that it is to be saved as; None if it names none."""
        found = _FILE.match(self.code)
        return found and found[1]


def text(page: Path) -> str:
    """Return what the page holds."""
    return page.read_text("utf-8")


def blocks(page: Path) -> list[Block]:
    """Return the page's blocks that are run."""
    whole = text(page)
    return [
        Block(whole.count("\n", 0, found.start(2)) + 1, found[2], found[1])
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
