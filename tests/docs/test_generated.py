"""What `make docs` draws and writes is checked in as the code is."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest
import typer.main

import batch_cancel
from batch_cancel.cli import run
from batch_cancel.http.request import Refusal
from batch_cancel.testing.invariants import INVARIANTS
from documentation import generated, markdown, messages, promises
from documentation.pictures import PICTURES, sequences
from documentation.pictures.svg import Box, Drawing
from tests.docs.pages import ROOT, anchors, text

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


def test_every_sentence_has_one_place_and_says_what_to_do() -> None:
    """A new one belongs to a group of `documentation/messages.toml`, which may say what to do."""
    groups = messages.groups()
    for sentence in messages.sentences():
        group = next((it for it in groups if it.has(sentence)), None)
        assert group is not None, sentence
        assert group.advice(sentence), sentence


def test_every_sentence_is_on_the_page() -> None:
    """Those of the modules that say something to an operator; some of them by hand."""
    said = {it.text for it in messages.sentences()}
    assert {
        "table \N{HORIZONTAL ELLIPSIS} is missing: run the SQL that `batch-cancel schema` prints",
        "Redis is read-only here: connect to the master",
        "another transaction was in the way (deadlock)",
        "only jobs of no organization were looked for: name an organization with --organization",
        "Redis has no memory left, so that nothing can be scheduled: raise its maxmemory",
    } <= said
    assert len(said) >= 400


def test_no_rule_of_the_messages_is_idle() -> None:
    """A pattern that fits no sentence any more is taken out; so is a module that is gone."""
    every = messages.sentences()
    for group in messages.groups():
        for pattern in group.do:
            fits = [it for it in every if group.has(it) and re.search(pattern, it.text)]
            assert fits, (group.title, pattern)
    for module in messages.LEFT_OUT:
        assert (messages.PACKAGE / module).exists(), module


def test_every_refusal_of_the_endpoint_is_an_error_of_its_page() -> None:
    """Each with an anchor of its own, the codes of the errors too."""
    page = DOCS / "endpoint.md"
    expected = {it.name.lower() for it in Refusal}
    expected |= {"already_terminal", "job_not_found", "cancel_failed", "busy", "unavailable"}
    assert expected <= anchors(page)
    for refusal in Refusal:
        assert refusal.detail.replace('"', '\\"') in text(page)


def test_every_public_name_is_in_the_reference() -> None:
    """Of the package itself, for one of the audiences."""
    page = text(DOCS / "api.md")
    missing = {it for it in batch_cancel.__all__ if f":: batch_cancel.{it}\n" not in page}
    assert missing == {"Job", "JobKey"}  # Of adapters; they are in the ports' signatures.


def test_every_command_is_in_its_reference() -> None:
    """With each of its options."""
    page = text(DOCS / "cli.md")
    group: Any = typer.main.get_command(run.program)
    for name, command in group.commands.items():
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        for option in (opt for it in command.params if it.help for opt in it.opts):
            assert option in section or option.upper() in section, (name, option)


def test_a_page_has_a_twin_that_is_plain_markdown() -> None:
    """What it includes is in it; links lead to pages of the site."""
    written = text(DOCS / "contributing.md")
    twin = markdown.twin(written, DOCS)
    assert "{include}" not in twin
    assert "You need Python 3.11 or later and make." in twin
    assert "[all](contributing.md#commands)" in markdown.on_site(
        "[all](../CONTRIBUTING.md#commands)"
    )
    assert "toctree" not in markdown.twin(text(DOCS / "index.md"), DOCS)


def test_the_index_for_language_models_has_a_line_for_each_page() -> None:
    """By group, each with its first sentence."""
    page = markdown.Page("bulk", "# Cancel many\n\nOne [call](x.md) cancels\nthem. More.\n")
    index = markdown.llms_txt("It cancels.", [("How to", [page])])
    assert index == (
        "# batch_cancel\n\n> It cancels.\n\n## How to\n\n"
        "- [Cancel many](bulk.md): One call cancels them.\n"
    )


def test_the_search_finds_errors_by_their_status() -> None:
    """Each error of the endpoint is in the index, before its heading."""
    read = markdown.with_statuses_indexed(text(DOCS / "endpoint.md"))
    assert "```{index} 429\n```\n\n### busy\n" in read
    assert read.count("{index}") == text(DOCS / "endpoint.md").count("\n### ")


def test_an_indented_block_of_a_docstring_is_marked() -> None:
    """As Sphinx reads it; sections of arguments stay."""
    docstring = ["The metrics are", "", "    one", "", "Arguments:", "    it: what."]
    assert markdown.with_literal_blocks(docstring)[0] == "The metrics are::"
    assert markdown.with_literal_blocks(docstring)[1:] == docstring[1:]
