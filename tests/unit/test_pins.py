"""The pins hold for an old pip too: every extra that a pinned distribution asks for is named."""

from __future__ import annotations

from importlib.metadata import requires
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LINES: Final = (
    (Path(__file__).parents[2] / "requirements" / "test.txt")
    .read_text(encoding="utf-8")
    .splitlines()
)
PINS: Final[dict[str, Requirement]] = {
    canonicalize_name(pin.name): pin
    for line in LINES
    if "==" in line
    for pin in [Requirement(line.removesuffix("\\"))]
    if pin.marker is None or pin.marker.evaluate()
}


@pytest.mark.parametrize("name", PINS)
def test_what_a_pin_asks_for_is_pinned_with_its_extras(name: str) -> None:
    """To pip 23.2, Python 3.11's, `coverage==7` does not pin `coverage[toml]`."""
    for line in requires(name) or ():
        wanted = Requirement(line)
        # Without a marker always, with one here, or where an extra of the pin asks for it.
        if wanted.marker is None or any(
            wanted.marker.evaluate({"extra": extra}) for extra in {"", *PINS[name].extras}
        ):
            assert wanted.extras <= PINS[canonicalize_name(wanted.name)].extras, line
