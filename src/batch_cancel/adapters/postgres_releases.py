"""
The releases whose tables on Postgres have another shape than the current ones.

Rule: a file of SQL brings the tables of one release to the current shape, whatever lies between.
      Who changes `tables.sql` after a release writes the file for it, and completes the others.
"""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Final

from batch_cancel.domain.errors import shown

RELEASES: Final = {"0.1": "from_0_1.sql"}
"""The file that brings the tables of a release to the current shape."""


def migration_text(release: str) -> str:
    """
    Return the SQL that brings the tables of a release to the current shape.

    Arguments:
        release: the release, such as "0.1" or "0.1.0".

    Raises:
        ValueError: its tables have the current shape, or there is no such release.
    """
    found = re.fullmatch(r"(\d+\.\d+)(\.\d+)?", release)
    if found is None or found[1] not in RELEASES:
        msg = (
            f"no release {shown(release)} has made tables of another shape: name the one that "
            f"made yours, {', '.join(RELEASES)}"
        )
        raise ValueError(msg)
    # Not by the name of the package, whose import needs psycopg.
    folder = files("batch_cancel.adapters") / "postgres"
    return (folder / RELEASES[found[1]]).read_text("utf-8")
