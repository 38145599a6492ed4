"""Where the time of a run goes: the files whose tests took longest."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

FILES = 10


def slowest_files(reports: Iterable[pytest.TestReport]) -> list[str]:
    """
    Return a line for each of the ten files that took longest, setup and teardown included.

    There is none if the run is of no more files than that.
    """
    seconds = defaultdict[str, float](float)
    for report in reports:
        seconds[report.nodeid.partition("::")[0]] += report.duration
    if len(seconds) <= FILES:
        return []
    slowest = sorted(seconds, key=seconds.__getitem__, reverse=True)[:FILES]
    return [f"{seconds[file]:7.1f} s  {file}" for file in slowest]
