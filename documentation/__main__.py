"""Draw the pictures and write the generated pages, below docs/: `python -m documentation`."""

from __future__ import annotations

from documentation.generated import write_all

if __name__ == "__main__":
    for path in write_all():
        print(f"written: {path}")  # noqa: T201  # For whoever typed it.
