"""
The table of libraries in docs/schedulers.md: what the campaign has shown, kept in `table.json`.

The page is not written by machine; a test holds it equal to what `rows` gives.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs

from tests.wiring.catalogue import LIBRARIES
from tests.wiring.verdict import Tally

FILE = Path(__file__).with_name("table.json")


def shown() -> dict[str, Any]:
    """Return what the campaign has shown."""
    found: dict[str, Any] = json.loads(FILE.read_text())
    return found


def keep(tallies: dict[str, Tally]) -> None:
    """Keep what the campaign has shown."""
    kept = shown() if FILE.exists() else {}
    kept |= {name: attrs.asdict(it) for name, it in tallies.items()}
    FILE.write_text(json.dumps(kept, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


def rows() -> list[str]:
    """Return the rows of the page's table."""
    return [
        "| {} | {} | {} | {} | {} |".format(
            library.name,
            library.adapter,
            library.exact,
            f"{len(found['settings'])}, {found['combinations']}",
            "; ".join(dict.fromkeys(it.sentence for it in library.documented)),
        )
        for name, library in LIBRARIES.items()
        for found in [shown()[name]]
    ]
