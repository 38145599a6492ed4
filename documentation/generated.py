"""What is written from the source: which files, and by whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from documentation.cli_page import cli_page
from documentation.endpoint_page import endpoint_page
from documentation.messages import messages_page
from documentation.pictures import PICTURES
from documentation.promises import promises_page

DOCS: Final = Path(__file__).parents[1] / "docs"

WRITERS: Final[Mapping[str, Callable[[], str]]] = {
    **PICTURES,
    "cli.md": cli_page,
    "endpoint.md": endpoint_page,
    "messages.md": messages_page,
    "promises.md": promises_page,
}
"""Each file below docs/, and the function that returns what it is to hold."""


def write_all() -> list[str]:
    """Write the files that differ, and return their names."""
    changed = stale()
    for name in changed:
        path = DOCS / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(WRITERS[name](), "utf-8")
    return changed


def stale() -> list[str]:
    """Return the names of the files that are not what they are to be."""
    return [
        name
        for name, writer in WRITERS.items()
        if not (DOCS / name).exists() or (DOCS / name).read_text("utf-8") != writer()
    ]
