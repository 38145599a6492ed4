"""
Whether the conformance kit bites: broken adapters are rejected, good ones are not.

A broken adapter counts as found only if the test named for its bug fails, and not merely any. The
tests run in a pytest of their own, because they are to fail.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from tests.proof.broken_adapters.suites import REJECTED_BY
from tests.proof.report import Row

ROOT: Final = Path(__file__).parents[2]
BROKEN: Final = "tests/proof/broken_adapters/suites.py"
GOOD: Final = (
    "tests/contract/test_conformance.py",
    "tests/proof/good_adapters.py",
    "examples/own_adapter_test.py",
)


def rows(*, short: bool) -> list[Row]:
    """
    Run the kit on broken adapters, and on good ones.

    Arguments:
        short: leave out the good ones, which `make test` runs by themselves.
    """
    of_broken = _failed(f"{BROKEN}::{name}::{test}" for name, test in REJECTED_BY.items())
    missed = [
        f"{name.removeprefix('Test')} is broken, but {test} did not fail"
        for name, test in REJECTED_BY.items()
        if test not in of_broken.get(name, set())
    ]
    planted = len(REJECTED_BY)
    found = Row(
        "broken adapters, each rejected by the right test",
        f"{planted - len(missed)}/{planted}",
        f"{planted}/{planted}",
        missed,
    )
    if short:
        return [found]
    alarms = [f"{name}::{test}" for name, tests in _failed(GOOD).items() for test in tests]
    return [found, Row("false alarms on good adapters", f"{len(alarms)}", "0", alarms)]


def _failed(tests: Iterable[str]) -> Mapping[str, set[str]]:
    """Return the tests that failed (an error before the test is none), by class."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        options = ["-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:cov"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, f"--junitxml={report}", *tests],
            cwd=ROOT,
            check=False,
            capture_output=True,
            text=True,
        )
        # 0: all passed, 1: some failed; anything else, and nothing can be said of any.
        if done.returncode not in {0, 1}:
            raise RuntimeError(done.stdout + done.stderr)
        failed: dict[str, set[str]] = {}
        for case in ET.parse(report).iter("testcase"):  # noqa: S314  # Our own.
            if case.find("failure") is not None:
                of = case.attrib["classname"].rpartition(".")[2]
                failed.setdefault(of, set()).add(case.attrib["name"].partition("[")[0])
            elif case.find("error") is not None:
                msg = f"{case.attrib['name']} did not come to run: {done.stdout}"
                raise RuntimeError(msg)
        return failed
