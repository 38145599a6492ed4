"""What the repository says of itself: version, classifiers, URLs, workflows and forms."""

from __future__ import annotations

import importlib
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))[
    "project"
]
VERSION: Final[str] = PROJECT["version"]

WORKFLOWS: Final = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS: Final = [ROOT / ".github" / "ISSUE_TEMPLATE" / it for it in ("bug.yml", "idea.yml")]

BY_BRANCH: Final = {"pypa/gh-action-pypi-publish@release/v1"}
"""The action whose hash was not verified."""


def loaded(path: Path) -> Any:
    """Return what a file of YAML holds; `on` is read as True."""
    yaml: Any = importlib.import_module("yaml")  # It brings no types along.
    return yaml.safe_load(path.read_text("utf-8"))


def test_the_changelog_has_the_version() -> None:
    """A version on its way is "Unreleased"; a release has a section with its day."""
    sections = re.findall(
        r"^## \[(.+)\](.*)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )
    assert sections[0] == ("Unreleased", "")
    days = dict(sections[1:])
    assert ".dev" in VERSION or VERSION in days
    assert all(re.fullmatch(r" - \d{4}-\d{2}-\d{2}", day) for day in days.values())


def test_the_citation_has_the_version() -> None:
    """And the name and the licence."""
    cited = loaded(ROOT / "CITATION.cff")
    named = (cited["title"], cited["version"], cited["license"], cited["abstract"])
    assert named == (PROJECT["name"], VERSION, PROJECT["license"], PROJECT["description"])


def test_the_urls_stand_in_one_place() -> None:
    """Whoever publishes the project replaces them in pyproject.toml, and must before a release."""
    hosts = {urlsplit(it).netloc for it in PROJECT["urls"].values()}
    for host in hosts:
        command = ["git", "grep", "--untracked", "-lF", host]
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert found.stdout.split() == ["pyproject.toml"], host
    assert ".dev" in VERSION or not any(it.endswith(".example") for it in hosts)


def test_the_pythons_of_ci_are_those_of_the_classifiers() -> None:
    """What CI does not run is not claimed."""
    claimed = [it.rpartition(" ")[2] for it in PROJECT["classifiers"] if " Python :: 3." in it]
    jobs = loaded(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]
    assert jobs["all"]["strategy"]["matrix"]["python"] == claimed
    assert {"run": ".ci/run"}.items() <= jobs["all"]["steps"][-1].items()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda it: it.stem)
def test_a_workflow_gets_no_more_than_it_needs(path: Path) -> None:
    """No permission by default, actions pinned by commit, targets that the Makefile has."""
    text = path.read_text("utf-8")
    workflow = loaded(path)
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert job["permissions"] in ({"contents": "read"}, {"id-token": "write"})
        assert job["timeout-minutes"]
    used = re.findall(r"uses: (\S+)(.*)", text)
    unpinned = {
        action
        for action, remark in used
        if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action)
        or not re.fullmatch(r"  # v\d+\.\d+\.\d+", remark)
    }
    assert unpinned <= BY_BRANCH
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert {*re.findall(r"run: make ([a-z-]+)", text)} <= {*targets}


@pytest.mark.parametrize("path", FORMS, ids=lambda it: it.stem)
def test_a_form_can_be_filled_in(path: Path) -> None:
    """Each field has a label and an id of its own."""
    form = loaded(path)
    fields = [it for it in form["body"] if it["type"] != "markdown"]
    assert form["name"]
    assert form["description"]
    assert all(it["attributes"]["label"] for it in fields)
    assert len({it["id"] for it in fields}) == len(fields)


@pytest.mark.parametrize("name", [".pre-commit-config.yaml", ".github/dependabot.yml"])
def test_other_yaml_can_be_read(name: str) -> None:
    """Neither has a test of its own where it is used."""
    assert isinstance(loaded(ROOT / name), dict)
