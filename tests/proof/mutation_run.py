"""
Code mutants: mutmut changes the Python code, piece by piece, and some test must notice.

Each mutant that survives is explained in `survivors.toml`; where all are tried, the explained ones
must be exactly the ones that survive. A mutant that changes the type in a `cast(type, value)` is
none: `cast` never looks at it. Nor is one of `strict=True` in a `zip`.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs

from tests.proof.mutation_parts import PARTS, SAMPLES, Part
from tests.proof.planted_patches import ROOT, lent_servers
from tests.proof.report import Row, table

ALL = ("*",)
SAMPLE = ("*__mutmut_5", "*[!0-9]")
"""
Which mutants are tried where not all can be. The second pattern fits no mutant but every function:
so mutmut runs the tests by their names first, and tells if it can't; else it would take that for a
mutant killed.
"""

_NO_SERVER = re.compile(r"batch_cancel\.(domain|use_cases|adapters\.memory)\.")

NOTICED = {"killed", "segfault", "suspicious"}
"""What mutmut says of a mutant that some test noticed."""

TIMED_OUT = "timeout"
"""
What mutmut says of a mutant whose tests took too long. It is counted apart: an endless loop ends
so on every machine, and any other mutant may on a slow one.
"""

SETTINGS = """
[tool.mutmut]
source_paths = ["src"]
only_mutate = {files}
pytest_add_cli_args = ["-p", "no:cacheprovider", "-p", "tests.proof.forgetful", "-k", "{world}"]
pytest_add_cli_args_test_selection = {tests}
timeout_constant = 1.5
timeout_multiplier = 3.0
track_dependencies = false
use_git_change_detection = false
"""


@attrs.frozen(order=True)
class Mutant:
    """
    One change of the code.

    Arguments:
        function: where, as mutmut spells it.
        change: the lines it takes away, each after a `-`, and those it adds, each after a `+`.
    """

    function: str
    change: str

    def __str__(self) -> str:
        """Return the line that explains it."""
        return f"'{self.function}' = ['{self.change}']"


@attrs.frozen(kw_only=True)
class Survivors:
    """
    Mutants that are known to survive.

    Arguments:
        why: no test notices them.
        mutants: the functions, as mutmut spells them, each with what is changed in it.
    """

    why: str
    mutants: Mapping[str, Sequence[str]]

    def __iter__(self) -> Iterator[Mutant]:
        """Return them one by one."""
        return (
            Mutant(function, change)
            for function, changes in self.mutants.items()
            for change in changes
        )


def explained() -> list[Survivors]:
    """Return the survivors that are explained."""
    with (Path(__file__).parent / "survivors.toml").open("rb") as file:
        return [Survivors(**entry) for entry in tomllib.load(file)["survivors"]]


def copy_sources(folder: Path) -> None:
    """Copy what mutmut is given: the package and the tests, and nothing beside them."""
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))


def try_out(part: Part, folder: Path, servers: Mapping[str, str]) -> dict[str, str]:
    """
    Let mutmut try the mutants of a part, in an empty folder, and give what became of each.

    Arguments:
        part: the part.
        folder: the folder.
        servers: where the servers are, as tests are given them.

    Raises:
        RuntimeError: mutmut could not begin; its words say why.
    """
    copy_sources(folder)
    settings = SETTINGS.format(
        files=[f"src/batch_cancel/{pattern}" for pattern in part.files],
        tests=[f"tests/{test}" for test in part.tests],
        world=part.world,
    )
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    (folder / "pyproject.toml").write_text(project + settings, "utf-8")
    patterns = SAMPLE if part.is_sampled else ALL
    ran = _mutmut(["run", "--max-children", "2", *patterns], folder, servers)
    told = _mutmut(["results", "--all", "true"], folder).stdout
    states = dict(re.findall(r"^ +(\S+): (.+)$", told, re.MULTILINE))
    if part.is_sampled:
        states = {name: state for name, state in states.items() if name.endswith("__mutmut_5")}
    if ran.returncode or not states or "not checked" in states.values():
        message = f"mutmut did not go through {part.name}:\n{_end_of(ran.stdout)}"
        raise RuntimeError(message)
    return states


_MUTMUT = """
import sys
from mutmut.__main__ import cli
from mutmut.core import MutmutCallStack

# Who called whom is not asked for; keeping book of it fails where a generator outlives its caller.
MutmutCallStack.set = MutmutCallStack.reset = staticmethod(lambda _: None)
sys.exit(cli())
"""


def _mutmut(
    arguments: list[str], folder: Path, servers: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _MUTMUT, *arguments],
        cwd=folder,
        # Each mutant is a pytest of its own: finding its plugins would take as long as the tests.
        env={**os.environ, **(servers or {}), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def _end_of(told: str) -> str:
    return "\n".join(re.split(r"[\r\n]+", told)[-40:])


def change_of(mutant: str, folder: Path) -> str:
    """Return what a mutant changes, in one line: what it takes away, and what it adds."""
    diff = _mutmut(["show", mutant], folder).stdout
    lines = [line for line in diff.splitlines() if re.match(r"[-+](?![-+])", line)]
    return re.sub(r"\s+", " ", " ".join(lines))


def is_of_a_cast(change: str) -> bool:
    """Check whether a change is one of the type in a cast alone."""
    written, _, planted = re.sub(r"cast\((\"[^\"]*\"|None), ", "cast(", change).partition(" + ")
    return written.removeprefix("-").strip() == planted.strip()


def is_of_a_strict(change: str) -> bool:
    """
    Check whether a change is one of `strict=True` in a `zip` alone.

    Both are of one length wherever the linter asks for it: no test can tell.
    """
    written, _, planted = change.removeprefix("-").strip().partition(" + ")
    there, it, after = written.partition(", strict=True")
    others = [f"{there}, {less}{after}" for less in ("", "strict=None", "strict=False")]
    return it != "" and planted.strip() in others


def complaints(
    survived: Iterable[Mutant],
    timed_out: Iterable[Mutant],
    known: Iterable[Survivors],
    *,
    is_all: bool = True,
) -> list[str]:
    """
    Compare the mutants that survived with those that are explained.

    Arguments:
        survived: those that no test noticed.
        timed_out: those of which a timeout alone decided. On another machine they may survive, or
            a test may notice them, so that they are never held against an explanation.
        known: the explanations. Where real servers judge, a test may notice one of them by its
            own timeout, so that only the others must survive each time.
        is_all: whether all of those others were tried.
    """
    explanations = Counter(mutant for entry in known for mutant in entry)
    seen = set(survived)
    missing = sorted(set(explanations) - seen - set(timed_out))
    killed = (it for it in missing if is_all and _NO_SERVER.match(it.function))
    return [
        *(f"survives without an explanation: {it}" for it in sorted(seen - set(explanations))),
        *(f"explained, but does not survive: {it}" for it in killed),
        *(f"explained twice: {it}" for it in sorted(explanations) if explanations[it] > 1),
    ]


def rows(*, processes: int = 2, parts: Sequence[Part] = SAMPLES) -> list[Row]:
    """Try the mutants, several parts at a time, and give the rows of the table."""
    with ThreadPoolExecutor(processes) as pool:
        outcomes = list(pool.map(_outcome, parts))
    found = [_row(part, outcome) for part, outcome in zip(parts, outcomes, strict=True)]
    results = [it for it in outcomes if isinstance(it, Result)]
    survivors = [mutant for result in results for mutant in result.survived]
    timed_out = [mutant for result in results for mutant in result.timed_out]
    judged = sum(result.judged for result in results)
    killed = sum(result.killed for result in results)
    too_few = ["too few code mutants are killed"] if killed < 0.95 * judged else []
    known = explained()
    explanations = {mutant for entry in known for mutant in entry}
    return [
        *found,
        Row("code mutants killed", _share(killed, judged), "at least 95 %", too_few),
        Row("decided by a timeout alone", str(len(timed_out)), "any"),
        Row(
            "survivors explained",
            f"{sum(mutant in explanations for mutant in survivors)}/{len(survivors)}",
            "all",
            complaints(survivors, timed_out, known, is_all=PARTS[0] in parts),
        ),
    ]


@attrs.frozen
class Result:
    """
    What became of the mutants of a part.

    Arguments:
        killed: how many some test noticed.
        survived: those that no test noticed.
        timed_out: those of which a timeout alone decided.
    """

    killed: int
    survived: Sequence[Mutant]
    timed_out: Sequence[Mutant]

    @property
    def judged(self) -> int:
        """How many ran to the end of their tests."""
        return self.killed + len(self.survived)


def _outcome(part: Part) -> Result | RuntimeError:
    """Try the mutants of a part. If it cannot begin, the others go on."""
    try:
        return _result(part)
    except RuntimeError as error:
        return error


def _row(part: Part, outcome: Result | RuntimeError) -> Row:
    name = f"code mutants killed: {part.name}{' (sample)' if part.is_sampled else ''}"
    if isinstance(outcome, Result):
        return Row(name, _share(outcome.killed, outcome.judged), "any")
    return Row(name, "-", "any", [str(outcome)])


def _result(part: Part) -> Result:
    """
    Try the mutants of a part, and tell what became of them.

    On servers of its own: some tests set what holds for a whole server.
    """
    with tempfile.TemporaryDirectory() as folder, lent_servers() as servers:
        states = try_out(part, Path(folder), servers)
        unnoticed = {
            name: Mutant(name.rpartition("__mutmut_")[0], change_of(name, Path(folder)))
            for name, state in states.items()
            if state not in NOTICED
        }
    none = {
        name
        for name, mutant in unnoticed.items()
        if is_of_a_cast(mutant.change) or is_of_a_strict(mutant.change)
    }
    timed_out = {name for name in unnoticed.keys() - none if states[name] == TIMED_OUT}
    return Result(
        len(states) - len(unnoticed),
        [unnoticed[name] for name in sorted(unnoticed.keys() - none - timed_out)],
        [unnoticed[name] for name in sorted(timed_out)],
    )


def _share(killed: int, judged: int) -> str:
    return f"{killed}/{judged} ({killed / judged:.1%})" if judged else "-"


def main() -> int:
    """Try the mutants of some parts, all of those that need no server; give the exit status."""
    parsed = argparse.ArgumentParser(prog="python -m tests.proof.mutation_run")
    parsed.add_argument("part", help="some letters of the names of the parts")
    word: str = parsed.parse_args().part
    found = rows(parts=[it for it in PARTS if word in it.name])
    print(table(found))  # noqa: T201  # Its answer.
    return any(row.complaints for row in found)


if __name__ == "__main__":
    sys.exit(main())
