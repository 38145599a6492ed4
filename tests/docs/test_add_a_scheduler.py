"""The scheduler that docs/add-a-scheduler.md shows, run through the kit as the page does it."""

from __future__ import annotations

from typing import Any

from tests.docs.pages import ROOT, blocks

_own: dict[str, Any] = {"__name__": __name__}
for _block in blocks(ROOT / "docs" / "add-a-scheduler.md"):
    exec(_block.code, _own)  # noqa: S102  # The page is ours.

TestMyScheduler: type = _own["TestMyScheduler"]
