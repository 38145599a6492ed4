"""What is planted for the proof fits the code, and what is not found is told."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from tests.proof import mutation_run, report_page
from tests.proof.mutation_parts import NO_JUDGES, PARTS, Part
from tests.proof.mutation_run import (
    Mutant,
    Survivors,
    complaints,
    copy_sources,
    explained,
    is_of_a_cast,
    is_of_a_strict,
)
from tests.proof.planted_patches import PACKAGE, ROOT, Patch, complaint, patches
from tests.proof.report import Row

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PATCHES = patches()
HARMLESS = Patch(
    why="A comment says it in other words.",
    file="adapters/redis/scripts/ack.lua",
    written="-- Guarantees: 1 and finished",
    planted="-- Promises: 1 and finished",
    test="tests/unit/test_retry.py::test_a_lost_answer_is_not_forgotten",
)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Yield a copy of the package."""
    return shutil.copytree(PACKAGE, tmp_path / PACKAGE.name)


def test_every_file_of_tests_of_adapters_judges_mutants() -> None:
    """A new one is among the judges, or it is said why it is not."""
    judges = {test for part in PARTS for test in part.tests} | NO_JUDGES
    written = {f"integration/{it.name}" for it in (ROOT / "tests/integration").glob("test_*.py")}
    assert written == {it for it in judges if it.startswith("integration/")}


def test_there_are_at_least_fifty_patches() -> None:
    """No two of them plant the same."""
    assert len(PATCHES) >= 50
    assert len({(it.file, it.written, it.planted) for it in PATCHES}) == len(PATCHES)


def misfit(patch: Patch) -> Iterator[str]:
    """Yield why a patch does not fit the code."""
    if (PACKAGE / patch.file).read_text("utf-8").count(patch.written) != 1:
        yield f"{patch.file} does not hold once: {patch.written}"
    if patch.planted in {patch.written, ""} and not patch.written.strip():
        yield f"{patch.file}: nothing is planted"
    file, _, test = patch.test.partition("::")
    if f"def {test}(" not in (ROOT / file).read_text("utf-8"):
        yield f"{file} has no {test}"


def test_the_patches_fit_the_code() -> None:
    """The text that each replaces is there, once; its test is where it is said to be."""
    assert [it for patch in PATCHES for it in misfit(patch)] == []


def test_a_patch_that_does_not_fit_is_named() -> None:
    """With its file and its text, or the test that is not there."""
    patch = attrs.evolve(
        HARMLESS, written="-- nothing of the kind", test="tests/pairs/world.py::x"
    )
    assert list(misfit(patch)) == [
        "adapters/redis/scripts/ack.lua does not hold once: -- nothing of the kind",
        "tests/pairs/world.py has no x",
    ]


def test_a_patch_replaces_its_text_alone(package: Path) -> None:
    """Nothing else of the copy changes."""
    HARMLESS.plant(package)
    planted = (package / HARMLESS.file).read_text("utf-8")
    written = (PACKAGE / HARMLESS.file).read_text("utf-8")
    assert planted != written
    assert planted.replace("-- Promises: 1", "-- Guarantees: 1") == written


@pytest.mark.parametrize("written", ["what nobody wrote", "redis.call"])
def test_a_patch_that_is_outdated_is_an_error(package: Path, written: str) -> None:
    """Its text is not there any more, or more than once."""
    patch = Patch(
        why="-",
        file="adapters/redis/scripts/ack.lua",
        written=written,
        planted="-",
        test=HARMLESS.test,
    )
    with pytest.raises(ValueError, match="does not hold"):
        patch.plant(package)


@pytest.mark.parametrize("test", [HARMLESS.test, "tests/unit/test_retry.py::test_nothing"])
def test_a_bug_that_is_not_found_is_reported(test: str) -> None:
    """Whether its test passes or can't even run."""
    patch = Patch(
        why=HARMLESS.why,
        file=HARMLESS.file,
        written=HARMLESS.written,
        planted=HARMLESS.planted,
        test=test,
    )
    assert complaint(patch).startswith(f"not found by {test}: A comment says")


def test_a_bug_that_is_found_is_no_complaint() -> None:
    """Here in Python, where no server is needed."""
    patch = Patch(
        why="A lost answer is forgotten.",
        file="domain/retry.py",
        written="self.may_be_done or is_unknown",
        planted="is_unknown",
        test=HARMLESS.test,
    )
    assert not complaint(patch)


@pytest.mark.repeats
@pytest.mark.parametrize("part", [it for it in PARTS if not it.is_sampled], ids=lambda it: it.name)
def test_what_judges_mutants_passes_beside_no_other_file(tmp_path: Path, part: Part) -> None:
    """A judge that fails without a mutant ends the proof before it begins."""
    copy_sources(tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n0", "-p", "tests.proof.forgetful"]
    done = subprocess.run(
        [*command, "-k", part.world, *(f"tests/{it}" for it in part.tests)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path / 'src'}:{tmp_path}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5_000:]


def test_survivors_and_explanations_must_be_the_same() -> None:
    """Neither one without the other."""
    here, there = "batch_cancel.domain.f", "batch_cancel.adapters.redis.f"
    known = [Survivors(why="A reason.", mutants={here: ["-x +y", "-x +z"]})]
    y, z, other = Mutant(here, "-x +y"), Mutant(here, "-x +z"), Mutant(there, "-x +y")
    assert complaints([y, z], [], known) == []
    assert complaints([y, z, other], [], known) == [
        f"survives without an explanation: '{there}' = ['-x +y']"
    ]
    assert complaints([y], [], known) == [f"explained, but does not survive: '{here}' = ['-x +z']"]
    assert complaints([y, z], [], [*known, *known]) == [
        f"explained twice: '{here}' = ['-x +y']",
        f"explained twice: '{here}' = ['-x +z']",
    ]
    assert complaints([y], [], known, is_all=False) == []
    assert complaints([y], [z], known) == []
    assert complaints([], [], [Survivors(why="Of a server.", mutants={there: ["-x +y"]})]) == []


@pytest.mark.parametrize(
    ("change", "is_none"),
    [
        ('- x = cast("str", row) + x = cast(None, row)', True),
        ('- x = f(cast("str | None", a), 1) + x = f(cast("XXstr | NoneXX", a), 1)', True),
        ('- x = cast("str", row) + x = cast("str", None)', False),
        ('- x = cast("str", row) + x = None', False),
        ("- x = a + b + x = a - b", False),
        ("- case _: - assert_never(status)", False),
    ],
)
def test_a_change_of_a_cast_is_none(change: str, *, is_none: bool) -> None:
    """Unless the value changes."""
    assert is_of_a_cast(change) is is_none


@pytest.mark.parametrize(
    ("change", "is_none"),
    [
        ("- for a, b in zip(x, y, strict=True): + for a, b in zip(x, y, ):", True),
        ("- for a, b in zip(x, y, strict=True): + for a, b in zip(x, y, strict=None):", True),
        ("- for a, b in zip(x, y, strict=True): + for a, b in zip(x, y, strict=False):", True),
        ("- for a, b in zip(x, y, strict=True): + for a, b in zip(None, y, strict=True):", False),
        ("- if a: + if not a:", False),
    ],
)
def test_a_change_of_a_strict_zip_is_none(change: str, *, is_none: bool) -> None:
    """Unless what is zipped changes."""
    assert is_of_a_strict(change) is is_none


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_what_is_mutated_and_what_judges_it_exists(part: Part) -> None:
    """A file that was renamed would end the whole proof."""
    assert [it for it in part.tests if not (ROOT / "tests" / it).is_file()] == []
    assert [it for it in part.files if not list(PACKAGE.glob(it))] == []


def test_each_survivor_is_explained_once() -> None:
    """With a reason, and with what it changes."""
    every = explained()
    mutants = [mutant for entry in every for mutant in entry]
    assert complaints(mutants, [], every) == []
    assert all(entry.why.endswith(".") for entry in every)
    assert all(mutant.change.startswith(("-", "+")) for mutant in mutants)


def test_each_survivor_is_of_a_function_that_exists() -> None:
    """An explanation under an old name explains nothing."""
    for mutant in (mutant for entry in explained() for mutant in entry):
        module, _, function = mutant.function.rpartition(".")
        path = PACKAGE.parent.joinpath(*module.split("."))
        file = (
            path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"
        )
        code = file.read_text()
        *of_class, name = function.removeprefix("x").removeprefix("_").strip("ǁ").split("ǁ")
        assert f"def {name}(" in code, mutant
        assert all(f"class {it}" in code for it in of_class), mutant


def test_a_part_that_cannot_begin_is_wrong_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the others came to is told."""

    def begin(part: Part, _: Path, servers: Mapping[str, str]) -> dict[str, str]:
        assert servers == {}
        if part == PARTS[1]:
            message = "a test fails"
            raise RuntimeError(message)
        return {"f__mutmut_1": "killed"}

    monkeypatch.setattr(mutation_run, "lent_servers", partial(nullcontext, {}))
    monkeypatch.setattr(mutation_run, "try_out", begin)
    broken, good, total, *_ = mutation_run.rows(processes=1, parts=PARTS[1:3])
    assert (broken.seen, broken.complaints) == ("-", ["a test fails"])
    assert (good.seen, good.complaints) == ("1/1 (100.0%)", ())
    assert total.seen == "1/1 (100.0%)"


def test_the_page_holds_everything() -> None:
    """The table, each bug with the test that finds it, and the survivors."""
    told = report_page.text([Row("bugs planted", "3", "2", ["one is missing"])])
    assert "| bugs planted | 3 | 2 | WRONG |" in told
    for patch in PATCHES:
        assert patch.why in told
    for entry in explained():
        assert entry.why in told
