"""
Every sentence that the library says to an operator, from its source, and what to do about it.

Rule 1: a sentence is a text in Python or Lua of at least two words that is no docstring, no help
        of an option and no SQL. What is left out besides is named: modules below, each with a
        reason, and parts of sentences in `messages.toml`.
Rule 2: what to do stands in the sentence itself, after its last colon or semicolon, or else in
        `messages.toml`. A sentence for which it stands nowhere fails a test.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from textwrap import fill
from typing import Any, Final

import attrs

from documentation.sections import filled

ROOT: Final = Path(__file__).parents[1]
PACKAGE: Final = ROOT / "src" / "batch_cancel"
GIVEN: Final = Path(__file__).with_name("messages.toml")

LEFT_OUT: Final[Mapping[str, str]] = {
    "testing": "the kit explains itself where it fails",
    "http": "the page of the endpoint has its errors",
    "adapters/otel": "descriptions of metrics",
    "adapters/memory/failures.py": "the sentences of other adapters, for tests",
    "adapters/django/migrations": "labels",
    "adapters/django/admin.py": "labels",
    "adapters/django/models.py": "labels; what is refused there is refused to programmers",
    "cli/demo.py": "a demonstration",
    "cli/trial_commands.py": "help",
    "cli/bulk_reports.py": "what went well, in numbers",
    "cli/history_reports.py": "what went well, in numbers",
    "cli/job_reports.py": "what went well, in numbers",
    "use_cases/log.py": "lines of the log, each beside a sentence that is here",
}
"""What of the package says nothing to an operator, and why."""

WORDS_MIN: Final = 2

ELLIPSIS: Final = "\N{HORIZONTAL ELLIPSIS}"

PLACEHOLDER: Final = re.compile(r"\{\w*\}")
"""What `format` fills in."""

_LUA_PART: Final = r"(?:'[^'\n]*'|[a-zA-Z][\w.\[\]]*(?:\([^()\n]*\))?)"
_LUA_TEXT: Final = re.compile(rf"{_LUA_PART}(?:\s*\.\.\s*{_LUA_PART})*")
"""A text in Lua, with what is filled in."""

_SQL_BEGINNINGS: Final = (
    "AND BEGIN CASE CONVERT CONVERT_TZ EXISTS NOT ON OR PRAGMA RELEASE ROLLBACK SELECT SET SHOW"
    " UPDATE coalesce pg_catalog removal table_schema"
)
_SQL: Final = re.compile(
    rf"^\W*({'|'.join(_SQL_BEGINNINGS.split())}) ?\W|pg_catalog\.|IS NOT DISTINCT"
    r"|\\w|\.\*|\(\?|\$\||^, is_swept"
)
_VERBS: Final = (
    "add apply arm ask begin call change check choose close compress connect correct create"
    " declare drop find grant give go install join leave let look make map move name open"
    " partition pass percent-encode pip raise read recreate remove repair restore retry return"
    " roll route run schedule see send set try use wait write ALTER CONFIG CREATE GRANT Check"
    " Route Run"
)
_DOES: Final = re.compile(
    rf"(?:[:;.]|, and|, or|, so) ((?:{'|'.join(_VERBS.split())})\b.*)$", re.DOTALL
)


@attrs.frozen
class Sentence:
    """
    A sentence of the source.

    Arguments:
        module: its file, below the package.
        text: what it says; what is filled in is an ellipsis.
    """

    module: str
    text: str

    @property
    def own_advice(self) -> str | None:
        """What it says itself that is to be done."""
        found = _DOES.search(self.text)
        return found and found[1]


def sentences() -> list[Sentence]:
    """Return each sentence once in each module, in the order of the source."""
    found = dict[Sentence, None]()
    for path in sorted((*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.lua"))):
        module = path.relative_to(PACKAGE).as_posix()
        if any(module == it or module.startswith(f"{it}/") for it in LEFT_OUT):
            continue
        source = path.read_text("utf-8")
        of_python = path.suffix == ".py"
        for text in _texts(ast.parse(source)) if of_python else _texts_of_lua(source):
            if len(re.findall(r"[a-zA-Z]{2,}|\ba\b", text)) >= WORDS_MIN and _is_sentence(text):
                found[Sentence(module, " ".join(text.split()))] = None
    return list(found)


def _is_sentence(text: str) -> bool:
    """Check that a text is neither SQL, nor a name, nor only some words of a sentence."""
    return (
        " " in text.strip()
        and _SQL.search(text) is None
        and not any(re.search(pattern, text) for pattern in _given()["no_sentence"])
    )


@cache
def _given() -> Mapping[str, Any]:
    return tomllib.loads(GIVEN.read_text("utf-8"))


def _texts(tree: ast.Module) -> Iterator[str]:
    """Yield the texts of a module, in their order, but for what is no sentence."""
    no_sentence = {id(node) for it in ast.walk(tree) for node in _no_sentences(it)}
    found = [
        (node.lineno, node.col_offset, _text(node))
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in no_sentence
    ]
    for _, _, text in sorted(found):
        yield text


def _texts_of_lua(source: str) -> Iterator[str]:
    """Yield the texts of a script, in their order."""
    for found in _LUA_TEXT.findall(re.sub(r"(?m)^\s*--.*$", "", source)):
        parts = re.findall(_LUA_PART, found)
        if any(it.startswith("'") for it in parts):
            yield "".join(it.strip("'") if it.startswith("'") else ELLIPSIS for it in parts)


def _no_sentences(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the texts in a node that are no sentences: docstrings, help, parts of others."""
    match node:
        case ast.Expr(value=ast.Constant() as docstring):
            yield docstring
        case ast.JoinedStr(values=parts):
            yield from (it for part in parts for it in ast.walk(part))
        case ast.Call(func=ast.Attribute(attr="Option" | "Argument")):
            yield from ast.walk(node)
        case ast.Call(func=ast.Name("cast"), args=[kind, *_]):
            yield kind
        case _:
            pass


def _text(node: ast.Constant | ast.JoinedStr) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text(it) if isinstance(it, ast.Constant) else ELLIPSIS for it in parts)
        case _:
            return ""


@attrs.frozen
class Group:
    """
    Sentences that belong together.

    Arguments:
        title: its heading.
        about: what they have in common, and where they are seen.
        modules: the beginnings of the files that they are in.
        do: what to do, by a pattern of the sentence.
    """

    title: str
    about: str
    modules: Sequence[str]
    do: Mapping[str, str]

    def has(self, sentence: Sentence) -> bool:
        """Check whether a sentence belongs to it."""
        return sentence.module.startswith(tuple(self.modules))

    def advice(self, sentence: Sentence) -> str | None:
        """Return what to do about a sentence; None if it is named nowhere."""
        for pattern, advice in self.do.items():
            if re.search(pattern, sentence.text):
                return advice
        return sentence.own_advice


def groups() -> list[Group]:
    """Return the groups of `messages.toml`."""
    return [Group(**it) for it in _given()["group"]]


def messages_page() -> str:
    """Return the page with every sentence."""
    return filled("messages.md", {"sentences": "\n".join(_page())})


def _page() -> Iterator[str]:
    rest = sentences()
    for group in groups():
        yield f"## {group.title}\n\n{fill(group.about, 99)}\n"
        yield "| it says | what to do |\n| --- | --- |"
        mine = [it for it in rest if group.has(it)]
        rest = [it for it in rest if it not in mine]
        for text, advice in dict.fromkeys((it.text, group.advice(it)) for it in mine):
            said = text.removesuffix(f" {advice}").rstrip(":; ") if advice else text
            if said == ELLIPSIS:
                continue  # There is no word to look for.
            is_own = text.endswith(advice or "")
            do = _plain(advice or "") if is_own else _cell(advice or "")
            yield f"| {_plain(PLACEHOLDER.sub(ELLIPSIS, said))} | {do} |"
        yield ""


def _cell(text: str) -> str:
    """Return Markdown as a cell of a table."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _plain(text: str) -> str:
    """Return a text as a cell of a table, in which nothing but code in backticks is Markdown."""
    plain = _cell(text)
    return re.sub(r"([*_\[\]])(?=[^`]*(?:`[^`]*`[^`]*)*$)", r"\\\1", plain)
