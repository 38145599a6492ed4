"""
Plant a forbidden import for each contract of import-linter: it must break that one alone.

A contract that lets everything pass is kept, too. `make check` runs this, since no other
environment has import-linter: `python -m tests.layers`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from os import environ
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]

PLANTED: Final = {
    "The layers of the package": ("ports.py", "batch_cancel.use_cases.lock"),
    "The layers of the domain": ("domain/statuses.py", "batch_cancel.domain.errors"),
    "Adapters are strangers to each other": (
        "adapters/sqlite/store.py",
        "batch_cancel.adapters.memory",
    ),
    "The core knows no driver, no framework, no clock and no thread": (
        "use_cases/cancel.py",
        "threading",
    ),
    "The domain does no I/O, and draws no lots": ("domain/retry.py", "random"),
    "import batch_cancel brings no adapter along": (
        "use_cases/pump.py",
        "hypothesis",
    ),
}
"""By the contract: the file in which an import is planted, and what it imports."""


def contracts() -> set[str]:
    """Return the names of all contracts."""
    configured = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    return {it["name"] for it in configured["tool"]["importlinter"]["contracts"]}


def broken(tree: Path) -> set[str]:
    """Return the contracts that the copy breaks."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--cache-dir", "cache"],
        cwd=tree,
        env={**environ, "PYTHONPATH": str(tree / "src"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    verdicts = dict(re.findall(r"^(.+) (KEPT|BROKEN)\b", done.stdout, re.MULTILINE))
    if verdicts.keys() != contracts():
        raise SystemExit(done.stdout + done.stderr)
    return {name for name, verdict in verdicts.items() if verdict == "BROKEN"}


def findings(tree: Path) -> list[str]:
    """Return what is wrong with the contracts, in sentences."""
    found = [f"no import is planted for: {it}" for it in contracts() - PLANTED.keys()]
    found += [f"broken with nothing planted: {it}" for it in broken(tree)]
    for name, (path, imported) in PLANTED.items():
        file = tree / "src" / "batch_cancel" / path
        written = file.read_text("utf-8")
        file.write_text(f"{written}\nimport {imported}\n", "utf-8")
        if broken(tree) != {name}:
            found.append(f"{path} imports {imported}, which breaks {sorted(broken(tree))}: {name}")
        file.write_text(written, "utf-8")
    return found


def main() -> None:
    """Print what is found; exit with 1 if anything is."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        shutil.copytree(ROOT / "src", tree / "src", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", tree)
        found = findings(tree)
    print("\n".join(found) or f"each of {len(PLANTED)} contracts can be broken")  # noqa: T201
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
