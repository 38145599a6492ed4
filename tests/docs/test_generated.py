"""What `make docs` draws and writes is checked in as the code is."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from batch_cancel.testing.invariants import INVARIANTS
from documentation import generated, promises
from documentation.pictures import PICTURES, sequences
from documentation.pictures.svg import Box, Drawing
from tests.docs.pages import ROOT, text

DOCS = ROOT / "docs"


def test_no_picture_and_no_generated_page_is_stale() -> None:
    """If one is: `python -m documentation`."""
    assert generated.stale() == []


def test_a_stale_picture_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another word in the code is another picture."""
    said = {**sequences.SAID, "jobs.lock": "lock the job twice"}
    monkeypatch.setattr(sequences, "SAID", said)
    assert "pictures/crash-points.svg" in generated.stale()


def test_a_call_without_a_word_is_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new step of a use case is not left out in silence."""
    said = {name: words for name, words in sequences.SAID.items() if name != "outbox.settle"}
    monkeypatch.setattr(sequences, "SAID", said)
    with pytest.raises(KeyError):
        sequences.crash_points()


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_needs_nothing_else_and_is_shown(name: str) -> None:
    """No address, no script; light and dark; on a page, with words for those who don't see it."""
    drawn = (DOCS / name).read_text("utf-8")
    ET.fromstring(drawn)  # noqa: S314  # Ours.
    addresses = set(re.findall(r"https?://[^\"]+", drawn))
    assert addresses == {"http://www.w3.org/2000/svg"}
    assert "<script" not in drawn
    assert "prefers-color-scheme: dark" in drawn
    shown = [page for page in DOCS.glob("*.md") if f"]({name})" in text(page)]
    assert shown, name
    assert all(re.search(rf"!\[[^\]]{{10,}}\]\({name}\)", text(page)) for page in shown)


def test_what_is_drawn_is_escaped() -> None:
    """A text is a text."""
    drawing = Drawing("<title>", 10, 10)
    drawing.box(Box(5, 5, 5, 5), "<script>&\nline")
    assert "<script>" not in drawing.svg()


def test_every_promise_has_tests() -> None:
    """In the kit, but for the one that no store alone can break."""
    assert all(promises.tests_of_kit().values())
    assert promises.bugs_of_explorer().keys() <= INVARIANTS.keys()
    page = text(DOCS / "promises.md")
    for name, promise in INVARIANTS.items():
        assert f"### {name}\n" in page
        assert promise in " ".join(page.split())


def test_the_tests_named_for_a_promise_exist() -> None:
    """Those outside of the kit."""
    for path in re.findall(r"`(tests/[\w/.]+)`", text(DOCS / "promises.md")):
        assert (ROOT / path).exists(), path
