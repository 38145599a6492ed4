"""The version of the program, without imports beyond the library."""

from __future__ import annotations

from importlib import metadata


def version_line() -> str:
    """Return the line that `batch-cancel --version` prints."""
    return f"batch-cancel {metadata.version('batch_cancel')}\n"
