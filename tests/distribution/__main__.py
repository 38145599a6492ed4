"""
Build sdist and wheel twice, compare them and check what is in them.

`python -m tests.distribution`.

Rule 1: the second build starts from a copy of the files that git has, in another folder, at
        another time and under another umask. What depends on these makes the hashes differ.
Rule 2: the wheel is built from the sdist, so an sdist that lacks something fails.
Rule 3: the time in the archives is SOURCE_DATE_EPOCH, or that of the last commit.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.distribution import files

DIST: Final = files.ROOT / "dist"


def main() -> None:
    """Build, compare and check; leave the files in dist/ and print their hashes."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": _epoch()}
    shutil.rmtree(DIST, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        tracked = files.tracked()
        copy = Path(folder, "copy")
        for path in sorted(tracked, reverse=True):
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(files.ROOT / path, copy / path)
            mode = 0o755 if os.access(files.ROOT / path, os.X_OK) else 0o644
            (copy / path).chmod(mode & ~0o044)
        _build(files.ROOT, DIST, environment)
        _build(copy, Path(folder, "again"), environment, umask=0o077)
        sdist, wheel = sorted(DIST.iterdir(), key=lambda it: it.suffix)
        wrong = {
            "sdist": files.wrong_in_sdist(files.of_sdist(sdist), tracked),
            "wheel": files.wrong_in_wheel(files.of_wheel(wheel), tracked),
        }
        wrong["hashes"] = {
            it.name
            for it in (sdist, wheel)
            if files.digest(it) != files.digest(Path(folder, "again", it.name))
        }
    _run([sys.executable, "-m", "twine", "--no-color", "check", "--strict", sdist, wheel])
    if any(wrong.values()):
        sys.exit("\n".join(f"{what}: {sorted(it)}" for what, it in wrong.items() if it))
    for built in (sdist, wheel):
        size = f"{built.stat().st_size:,} bytes"
        print(f"{files.digest(built)}  dist/{built.name}  {size}, twice")  # noqa: T201


def _epoch() -> str:
    last = ["git", "log", "-1", "--format=%ct"]
    return os.environ.get("SOURCE_DATE_EPOCH") or _run(last).stdout.strip()


def _build(source: Path, target: Path, environment: dict[str, str], umask: int = 0o022) -> None:
    # The backend of this environment, whose version is pinned: none is fetched.
    build = [sys.executable, "-m", "build", "--no-isolation"]
    command = [*build, "--outdir", str(target), str(source)]
    _run(command, environment, umask)


def _run(
    command: Sequence[str | Path], environment: dict[str, str] | None = None, umask: int = -1
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command,
        cwd=files.ROOT,
        env=environment,
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}")
    return done


if __name__ == "__main__":
    main()
