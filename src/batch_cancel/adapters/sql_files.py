"""Readers of the SQL files beside the adapters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files


def sql_text(package: str, file: str) -> str:
    """Return the text of a file of a package."""
    return (files(package) / file).read_text("utf-8")


@cache
def statements(package: str, file: str) -> Mapping[str, str]:
    """Return the statements of a file by their `-- name:` lines, without comment lines."""
    _, *parts = re.split(r"^-- name: (\w+)\n", sql_text(package, file), flags=re.MULTILINE)
    bare = (re.sub(r"^--.*\n", "", part, flags=re.MULTILINE).strip() for part in parts[1::2])
    return dict(zip(parts[::2], bare, strict=True))
