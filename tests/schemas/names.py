"""Names of tables and columns, and how SQL quotes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

STYLES: Final[Mapping[str, Callable[[str], str]]] = {
    "plain": lambda name: name,
    "quotes": lambda name: f"""{name}"'s '""",
    "percent": lambda name: f"%{name}%s %(x)s",
    "blanks": lambda name: f" {name} of it ",
    "capitals": lambda name: name.title(),
    "brackets": lambda name: f"{name}[](x){{0}}",
    "colons": lambda name: f"{name}:x ::y",
}


def quoted(name: str) -> str:
    """Return a name as SQL reads it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str | None) -> str:
    """Return a text as SQL reads it; of any type, as its place asks for."""
    return "NULL" if text is None else "'" + text.replace("'", "''") + "'"


def listed(names: tuple[str, ...]) -> str:
    """Return names in a list of columns."""
    return ", ".join(map(quoted, names))
