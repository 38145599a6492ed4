"""
Pages of which a part is generated.

The part is between two comments, `<!-- begin: NAME -->` and `<!-- end: NAME -->`. What is around
it is written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

DOCS: Final = Path(__file__).parents[1] / "docs"


def filled(page: str, parts: Mapping[str, str]) -> str:
    """
    Return a page with its generated parts.

    Arguments:
        page: the name of its file.
        parts: each part by its name.
    """
    text = (DOCS / page).read_text("utf-8")
    for name, part in parts.items():
        begin, end = f"<!-- begin: {name} -->\n", f"<!-- end: {name} -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        if not pattern.search(text):
            msg = f"{page} has no part {name!r}"
            raise ValueError(msg)
        new = f"{begin}\n{part.strip()}\n\n{end}"
        text = pattern.sub(lambda _, new=new: new, text)  # type: ignore[misc]
    return text
