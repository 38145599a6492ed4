"""
The pins hold, for an old pip too.

Every extra that a pinned distribution asks for is named, and whatever pyproject.toml asks for is
pinned as it asks for it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
EXTRAS: Final[dict[str, list[str]]] = PROJECT["project"]["optional-dependencies"]
GROUPS: Final[dict[str, list[Any]]] = PROJECT["dependency-groups"]

WANTED: Final = {
    "bench": ["group bench"],
    "check": ["group check"],
    "demo": ["extra serve"],
    "dist": ["group dist"],
    "docs": ["group docs"],
    "lowest": ["group test", *(f"extra {it}" for it in EXTRAS)],
    "proof": ["group proof"],
    "test": ["group test"],
}
"""By the file of pins: what `make pins` makes it from."""

NOT_LOWEST: Final = {"rich", "pytest"}
"""In `lowest.txt` above the bound of an extra, since the others in it ask for more."""


def pins_of(name: str) -> dict[str, list[Requirement]]:
    """Return what a file pins: more than one version where Pythons differ."""
    pins: dict[str, list[Requirement]] = {}
    for line in (ROOT / "requirements" / f"{name}.txt").read_text("utf-8").splitlines():
        if "==" in line:
            pin = Requirement(line.removesuffix("\\"))
            pins.setdefault(canonicalize_name(pin.name), []).append(pin)
    return pins


PINS: Final[dict[str, Requirement]] = {
    name: pin
    for name, several in pins_of("test").items()
    for pin in several
    if pin.marker is None or pin.marker.evaluate()
}


def asked_for(source: str) -> Iterator[Requirement]:
    """Return the requirements of a group or an extra, with all that it includes."""
    kind, _, name = source.partition(" ")
    for it in PROJECT["project"]["dependencies"]:
        yield Requirement(it)
    for it in (GROUPS if kind == "group" else EXTRAS)[name]:
        if isinstance(it, dict):
            yield from asked_for(f"group {it['include-group']}")
        elif (wanted := Requirement(it)).name == "batch_cancel":
            for extra in wanted.extras:
                yield from asked_for(f"extra {extra}")
        else:
            yield wanted


@pytest.mark.parametrize("name", WANTED)
def test_what_pyproject_asks_for_is_pinned(name: str) -> None:
    """In a version and with the extras that it allows: `make pins` after a change of it."""
    pins = pins_of(name)
    for source in WANTED[name]:
        for wanted in asked_for(source):
            for pin in pins[canonicalize_name(wanted.name)]:
                (version,) = (it.version for it in pin.specifier)
                assert version in wanted.specifier, f"{wanted} of {source}: pinned is {pin}"
                assert wanted.extras <= pin.extras, f"{wanted} of {source}: pinned is {pin}"


def test_the_lowest_pins_are_the_lower_bounds() -> None:
    """So that `make lowest` tests what pyproject.toml promises."""
    lowest = pins_of("lowest")
    above = {
        wanted.name
        for extra in EXTRAS
        for wanted in asked_for(f"extra {extra}")
        for bound in wanted.specifier
        for pin in lowest[canonicalize_name(wanted.name)]
        for pinned in pin.specifier
        if bound.operator == ">=" and _padded(bound.version) != _padded(pinned.version)
    }
    assert above == NOT_LOWEST


def _padded(version: str) -> list[str]:
    return [*version.split("."), "0", "0"][:3]


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
