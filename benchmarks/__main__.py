"""
Measure every bar beside its floor and its peers; print the bars, and write figures and plots.

    python -m benchmarks            in full, some 15 minutes: writes docs/benchmarks.md
    python -m benchmarks --quick    with small tables, two minutes: writes below build/
    python -m benchmarks --tiny     only whether it runs

The full run exits with 1 if a bar is missed. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Final

from benchmarks import (
    bulk,
    cancels,
    machine,
    memory,
    million,
    network,
    page,
    peers,
    plots,
    reconciling,
    redis_cancels,
    throughput,
)
from benchmarks.findings import Findings
from benchmarks.place import Place, opened, progress
from benchmarks.report import Report, printed
from benchmarks.sizes import FULL, QUICK, TINY, Sizes

# Very large jobs come last because they leave millions of dead rows.
FAMILIES: Final[Mapping[str, Callable[[Place], Findings]]] = {
    "network": network.measured,
    "redis": redis_cancels.measured,
    "reconcile": reconciling.measured,
    "throughput": throughput.measured,
    "bulk": bulk.measured,
    "peers": peers.measured,
    "cancels": cancels.measured,
    "memory": memory.measured,
    "million": million.measured,
}


def main() -> int:
    """Run, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_const", const=QUICK, dest="sizes")
    size.add_argument("--tiny", action="store_const", const=TINY, dest="sizes")
    parser.add_argument("families", nargs="*", choices=[*FAMILIES, []], help="only these")
    given = parser.parse_args()
    report, failed = measured(given.sizes or FULL, given.families or list(FAMILIES))
    write(report, is_whole=not given.families and not failed)
    sys.stdout.write(printed(report))
    sys.stdout.writelines(f"FAILED, see above: {name}\n" for name in failed)
    return 1 if failed or (report.is_full and report.missed()) else 0


def measured(sizes: Sizes, families: list[str]) -> tuple[Report, list[str]]:
    """
    Measure some families, and describe the machine.

    Returns:
        the report, and the families that failed: the figures of the others are kept.
    """
    load = machine.load()
    if machine.is_busy(load):
        progress(f"the load is {load:.2f}: others are at work here, and figures mean little")
    progress(f"{sizes.other_contacts:,} other contacts")
    with opened(sizes) as place:
        facts = machine.described(place, load)
        found, failed = [Findings()], list[str]()
        for name in families:
            try:
                found.append(FAMILIES[name](place))
            except Exception:  # noqa: BLE001  # It is printed.
                traceback.print_exc()
                failed.append(name)
    return Report(sizes.name, facts, reduce(Findings.joined, found)), failed


def write(report: Report, *, is_whole: bool) -> None:
    """Write JSON, plots and the page: those of the project only after a whole and full run."""
    is_real = report.is_full and is_whole
    folder = page.FOLDER if is_real else page.QUICK
    target = page.PAGE if is_real else page.QUICK / page.PAGE.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(report.as_json(), "utf-8")
    done = plots.drawn(report.findings.curves, folder)
    from_page = folder.relative_to(target.parent)
    shown = [(it.title, (from_page / f"{it.name}.png").as_posix()) for it in done]
    text = page.with_report(page.PAGE.read_text("utf-8"), report, shown)
    target.write_text(text, "utf-8")
    progress(f"written: {target.relative_to(page.ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
