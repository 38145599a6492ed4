"""The floors of the package, from the contracts that import-linter checks."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

from documentation.pictures.svg import Box, Drawing

ROOT: Final = Path(__file__).parents[2]

SAID: Final = {
    "cli": "the command batch-cancel",
    "adapters | testing": "one technology each; the conformance kit and the explorer",
    "presenter": "the published path of the answers",
    "http": "the endpoint as values, without a framework",
    "use_cases": "the order of the I/O",
    "ports": "what a store and a scheduler must have",
    "domain": "every decision, as pure functions",
}
"""What each floor does; a floor that is not here cannot be drawn."""


def layers() -> str:
    """Draw the floors, the highest first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    [floors] = [
        it["layers"] for it in contracts["contracts"] if it.get("containers") == ["batch_cancel"]
    ]
    drawing = Drawing(
        "The floors of the package; imports go down only", 820, 54 * len(floors) + 40
    )
    for number, floor in enumerate(floors):
        name = floor.translate({ord("("): None, ord(")"): None})
        y = 40 + 54 * number
        drawing.box(Box(190, y, 300, 38), name, "mark" if name == "domain" else "box")
        drawing.text(360, y + 4.5, SAID[name], "soft", anchor="start")
        if number:
            drawing.path([(190, y - 35), (190, y - 20)])
    drawing.text(190, 54 * len(floors) + 28, "imports go down, never up", "soft")
    return drawing.svg()
