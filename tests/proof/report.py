"""One line of the proof's table, and the table."""

from __future__ import annotations

from collections.abc import Sequence

import attrs


@attrs.frozen
class Row:
    """
    What one part of the proof came to.

    Arguments:
        what: what was counted.
        seen: the figure seen.
        wanted: the figure that it takes, in words.
        complaints: what is wrong; nothing, if the part holds.
    """

    what: str
    seen: str
    wanted: str
    complaints: Sequence[str] = ()


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a table, and under it what is wrong."""
    cells = [("", "seen", "wanted", "")] + [
        (row.what, row.seen, row.wanted, "WRONG" if row.complaints else "holds") for row in rows
    ]
    widths = [max(len(line[at]) for line in cells) for at in range(4)]
    lines = [
        f"{what:<{widths[0]}}  {seen:>{widths[1]}}  {wanted:>{widths[2]}}  {verdict}".rstrip()
        for what, seen, wanted, verdict in cells
    ]
    return "\n".join(lines + [complaint for row in rows for complaint in row.complaints])
