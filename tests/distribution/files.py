"""What is in an sdist and in a wheel, and what ought to be."""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

IN_WHEEL: Final = ("batch_cancel/", "_batch_cancel_pytest.py")
"""How the path of each file of a wheel begins, apart from its metadata."""


def tracked() -> set[str]:
    """Return the paths of the files that git has, or is about to have."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    paths = listed.stdout.decode().split("\0")
    return {path for path in paths if path and (ROOT / path).is_file()}


def of_sdist(path: Path) -> set[str]:
    """Return the paths in an sdist, without the folder that they all are in."""
    with tarfile.open(path) as archive:
        return {it.name.partition("/")[2] for it in archive.getmembers() if it.isfile()}


def of_wheel(path: Path) -> set[str]:
    """Return the paths in a wheel."""
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def wrong_in_sdist(names: set[str], tracked_files: set[str]) -> set[str]:
    """Return what an sdist has beside the files of git and its metadata, and what it lacks."""
    return names ^ (tracked_files | {"PKG-INFO"})


def wrong_in_wheel(names: set[str], tracked_files: set[str]) -> set[str]:
    """Return what a wheel has beside the package and its metadata, and what it lacks."""
    sources = {it.removeprefix("src/") for it in tracked_files if it.startswith("src/")}
    files = {it for it in names if ".dist-info/" not in it}
    return (files ^ sources) | {it for it in files if not it.startswith(IN_WHEEL)}


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def extras() -> list[str]:
    """Return the names of all extras."""
    configured = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    names: dict[str, list[str]] = configured["project"]["optional-dependencies"]
    return sorted(names)
