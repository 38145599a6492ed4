"""
Docstrings, comments, messages and pages are plain English: the field's words, about programs.

A complaint names the word to write instead.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

import batch_cancel

PACKAGE: Final = Path(batch_cancel.__file__).parent
ROOT: Final = Path(__file__).parents[2]


def _texts(folder: Path, pattern: str) -> dict[str, str]:
    paths = sorted(folder.glob(pattern))
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in paths}


MODULES: Final = (
    _texts(PACKAGE, "**/*.py")
    | _texts(ROOT, "benchmarks/**/*.py")
    | _texts(ROOT, "documentation/**/*.py")
)
SCRIPTS: Final = (
    _texts(PACKAGE, "**/*.sql") | _texts(PACKAGE, "**/*.lua") | _texts(ROOT, "benchmarks/*.sql")
)
TESTS: Final = _texts(ROOT / "tests", "**/*.py")
PAGES: Final = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md")))
    if path.name != "proof.md"  # `make proof` writes it.
}

FIRST_WORDS: Final = {
    "Give": "Return",
    "Gives": "Return",
    "Lend": "Yield",
    "Lends": "Yield",
    "Say": "Return",
    "Says": "Return",
    "Tell": "Return, Check whether, Log or Print",
    "Tells": "Return, Check whether, Log or Print",
}
"""How no function's docstring begins, and how it begins instead."""

PRONOUNS: Final[dict[str, str]] = dict.fromkeys(
    ("he", "him", "his", "she", "her", "hers"), "the actor, the caller or the worker"
)
"""An actor, a caller and a worker are programs."""

WORDS: Final = PRONOUNS | {
    "a part of": "in, or some of",
    "anew": "again",
    "anybody": "a name of who",
    "befall": "strike",
    "befalls": "strikes",
    "called off": "cancelled",
    "calls off": "cancels",
    "for ever": "permanently, or without end",
    "hurried": "deadline-bound",
    "hurry": "deadline",
    "in the place of": "instead of",
    "lend": "yield, or return",
    "lends": "yields, or returns",
    "no part of": "not in, or none of",
    "nobody": "a name of who",
    "nobody's": "unknown",
    "nothing that": "a sentence without it",
    "owe": "has pending",
    "owed": "pending",
    "owes": "has pending",
    "owing": "pending",
    "somebody": "a name of who",
    "spared": "skipped",
    "spelled": "named",
    "spelling": "status name, or text form",
    "spellings": "status names, or text forms",
    "spells": "names",
    "spelt": "named",
    "stage": "runner",
    "tell": "return, report or distinguish",
    "telling": "reporting",
    "tells": "returns, reports or distinguishes",
    "terms": "transaction settings, or words",
    "told": "reported, or called with",
}
"""What stands in no text, and what stands there instead. Names in code are out of its reach."""


def docstrings(source: str) -> Iterator[tuple[int, str, bool]]:
    """Return line and text of each docstring, and whether it is a function's."""
    for node in ast.walk(ast.parse(source)):
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        if isinstance(node, kinds) and (text := ast.get_docstring(node)) is not None:
            is_function = not isinstance(node, ast.Module | ast.ClassDef)
            yield getattr(node, "lineno", 1), text, is_function


def strings(source: str) -> Iterator[tuple[int, str]]:
    """Return line and text of each string with a blank in it: docstrings and messages."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


def comments(source: str) -> Iterator[tuple[int, str]]:
    """Return line and text of each comment."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def prose(page: str) -> Iterator[tuple[int, str]]:
    """Return line and text of each line of a page, without its code."""
    without_blocks = re.sub(
        r"```.*?```", lambda block: "\n" * block[0].count("\n"), page, flags=re.DOTALL
    )
    is_list = False
    for number, line in enumerate(without_blocks.splitlines(), 1):
        if line.strip() and not line.startswith(" "):
            is_list = re.match(r"[-*]|\d+\.", line) is not None
        if is_list or not line.startswith("    "):
            yield number, re.sub(r"`[^`]*`", "", line)


def remarks(script: str) -> Iterator[tuple[int, str]]:
    """Return line and text of each comment of SQL or Lua."""
    for number, line in enumerate(script.splitlines(), 1):
        if "--" in line:
            yield number, line.partition("--")[2]


def joined(lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Return each line with the one that follows it: words may be on both."""
    last, before = 0, ""
    for number, line in lines:
        yield number, f"{before} {line}" if number == last + 1 else line
        last, before = number, line


def banned(text: str, words: Mapping[str, str]) -> Iterator[str]:
    """Return the words that are not plain, with what to write instead."""
    for word, instead in words.items():
        pattern = r"(?<![\w`.-])" + r"[\s\"#]+".join(map(re.escape, word.split())) + r"(?![\w`'-])"
        if re.search(pattern, text, re.IGNORECASE):
            yield f"{word!r}: write {instead}"


def complaints(texts: Iterator[tuple[int, str]], words: Mapping[str, str] = WORDS) -> list[str]:
    """Return what is not plain in some texts, with the line."""
    return [f"line {line}: {it}" for line, text in texts for it in banned(text, words)]


def beginnings(source: str) -> list[str]:
    """Return the functions' docstrings that begin with a word that is not plain."""
    if re.search(rf'"""\s*(?:{"|".join(FIRST_WORDS)})\b', source) is None:
        return []
    return [
        f"line {line}: begins with {first}: {FIRST_WORDS[first]}"
        for line, text, is_function in docstrings(source)
        if is_function and (first := text.split()[0].strip(",.;:")) in FIRST_WORDS
    ]


def suspected(source: str, words: Mapping[str, str]) -> dict[str, str]:
    """Return the words that may be in a source: to read each text of each file takes long."""
    pattern = rf"(?<!\w)(?:{'|'.join(map(_longest_part, words))})(?!\w)"
    found = {it.lower() for it in re.findall(pattern, source, re.IGNORECASE)}
    return {word: instead for word, instead in words.items() if _longest_part(word) in found}


def _longest_part(word: str) -> str:
    return max(word.split(), key=len).removesuffix("'s")


def of_module(source: str) -> list[str]:
    """Return what is not plain in the docstrings, comments and messages of a module."""
    words = suspected(source, WORDS)
    return [
        *beginnings(source),
        *(complaints(strings(source), words) if words else ()),
        *(complaints(joined(comments(source)), words) if words else ()),
    ]


def of_test(source: str) -> list[str]:
    """Return what is not plain in the docstrings of tests: their first words, and pronouns."""
    words = suspected(source, PRONOUNS)
    texts = ((line, text) for line, text, _ in docstrings(source))
    return [*beginnings(source), *(complaints(texts, words) if words else ())]


def of_script(script: str) -> list[str]:
    """Return what is not plain in the comments of SQL or Lua; a block would not be read."""
    blocks = re.findall(r"--\[=*\[|/\*", script)
    found = complaints(joined(remarks(script)), suspected(script, WORDS))
    return [*found, *(f"a block: {it}" for it in blocks)]


def of_page(page: str) -> list[str]:
    """Return what is not plain in the prose of a page; code in it is that of the modules."""
    return complaints(joined(prose(page)), suspected(page, WORDS))


@pytest.mark.parametrize(
    ("texts", "read"),
    [(MODULES, of_module), (TESTS, of_test), (SCRIPTS, of_script), (PAGES, of_page)],
    ids=["modules", "tests", "scripts", "pages"],
)
def test_all_is_plain(texts: Mapping[str, str], read: Callable[[str], list[str]]) -> None:
    """Each word that is not is named, with the file, the line and what to write instead."""
    assert [f"{file}: {it}" for file, text in texts.items() for it in read(text)] == []
    assert len(texts) > 5


def test_what_is_not_plain_is_found() -> None:
    """In docstrings, messages and comments; the first word counts in functions alone."""
    source = (
        '"""Of him."""\nclass A:\n    """Tell."""\n    def f(self):\n        """Give his."""\n'
        '        raise E(f"it is {owed} "\n            "called off")  # Nobody looks.\n'
    )
    assert beginnings(source) == ["line 4: begins with Give: Return"]
    assert complaints(strings(source)) == [
        "line 1: 'him': write the actor, the caller or the worker",
        "line 5: 'his': write the actor, the caller or the worker",
        "line 6: 'called off': write cancelled",
    ]
    assert complaints(comments(source)) == ["line 7: 'nobody': write a name of who"]


def test_a_file_with_a_suspected_word_is_read() -> None:
    """Of several words the longest is looked for; the others may be on another line."""
    assert suspected('x = "Called\noff"  # HIS, not this.', WORDS).keys() == {"called off", "his"}
    assert of_module('def f():\n    """Give."""\n    # Nobody\'s.\n') == [
        "line 1: begins with Give: Return",
        'line 3: "nobody\'s": write unknown',
    ]
    assert of_test('"""Of her."""') == ["line 1: 'her': write the actor, the caller or the worker"]


def test_words_on_two_lines_are_found() -> None:
    """With the second line; a list is no code, however far it is indented."""
    assert complaints(joined(prose("It is called\noff.\n\n- A\n\n    - told"))) == [
        "line 2: 'called off': write cancelled",
        "line 6: 'told': write reported, or called with",
    ]
    assert complaints(joined(comments("# Called\n# off\n"))) == [
        "line 2: 'called off': write cancelled"
    ]


def test_words_that_a_line_separates_are_found() -> None:
    """In a page and in a script, with its line; code is left out."""
    assert complaints(prose("```\ntold\n```\nIt is `owed`.\nIt is\nowed for ever.\n    told")) == [
        "line 6: 'for ever': write permanently, or without end",
        "line 6: 'owed': write pending",
    ]
    assert complaints(remarks("SELECT told;\n-- Nobody's.\n")) == [
        'line 2: "nobody\'s": write unknown'
    ]
