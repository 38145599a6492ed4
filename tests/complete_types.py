"""
Check that a type checker knows the type of each name that the package offers.

`make check` runs this, since no other environment has pyright: `python -m tests.complete_types`.
What inherits from a class without types is left out, in modules that are listed here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

UNTYPED: Final = {
    "batch_cancel.adapters.django": "Django has no types",
    "batch_cancel.adapters.dramatiq": "dramatiq is in an environment of its own",
    "batch_cancel.adapters.taskiq.source": "taskiq is in an environment of its own",
}
"""By the module: why the types of what it inherits are not known here."""


def incomplete(symbols: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the exported names whose types are not known, with pyright's reasons."""
    return {
        symbol["name"]: [" ".join(it["message"].split()) for it in symbol["diagnostics"]]
        for symbol in symbols
        if symbol["isExported"] and not symbol["isTypeKnown"]
    }


def is_beyond(name: str) -> bool:
    """Check whether the name is in a module whose types depend on one without types."""
    return any(name.startswith(f"{module}.") for module in UNTYPED)


def main() -> None:
    """Ask pyright; exit with the names that lack types."""
    folder = Path(sys.executable).parent
    done = subprocess.run(
        [folder / "pyright", "--verifytypes", "batch_cancel", "--ignoreexternal", "--outputjson"],
        # It asks the first Python on the path for the packages, whatever its options say.
        env={**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    if not done.stdout.startswith("{"):
        sys.exit(done.stdout + done.stderr)
    symbols: list[dict[str, Any]] = json.loads(done.stdout)["typeCompleteness"]["symbols"]
    found = incomplete(symbols)
    ours = {name: reasons for name, reasons in found.items() if not is_beyond(name)}
    if ours or not symbols:
        sys.exit("\n".join(f"{name}: {reasons}" for name, reasons in ours.items()) or "no names")
    unused = [it for it in UNTYPED if not any(name.startswith(f"{it}.") for name in found)]
    if unused:
        sys.exit(f"their types are known: {unused}")
    known = sum(it["isExported"] for it in symbols) - len(found)
    print(f"the types of {known} names are known; {len(found)} inherit from untyped classes")  # noqa: T201


if __name__ == "__main__":
    main()
