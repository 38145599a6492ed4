"""The pages as Markdown: links that lead out of docs/, the twins of the pages, llms.txt."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import attrs

ON_SITE: Final = {
    "../CONTRIBUTING.md": "contributing.md",
    "../CHANGELOG.md": "changelog.md",
    "../README.md": "index.md",
}
"""Files outside of docs/ that have a page on the site."""

_LINK: Final = re.compile(r"(\]\()(\.\./[A-Z]+\.md)(#[\w-]+)?(\))")
_INCLUDE: Final = re.compile(r"^```\{include\} (\S+)\n(?:.*\n)*?```$", re.MULTILINE)
_TOC: Final = re.compile(r"^```\{toctree\}\n(?:.*\n)*?```\n", re.MULTILINE)
_ERROR: Final = re.compile(r"^(### \w+\n)(?=\n\*\*(\d{3}) )", re.MULTILINE)
_HEADING: Final = re.compile(r"^# (.*)$", re.MULTILINE)


@attrs.frozen
class Page:
    """
    A page of the site, as Markdown.

    Arguments:
        name: of its file, without a suffix.
        text: what it holds.
    """

    name: str
    text: str

    @property
    def title(self) -> str:
        """Its first heading."""
        [title, *_] = _HEADING.findall(self.text)
        return str(title)

    @property
    def first_sentence(self) -> str:
        """The first sentence below the heading; nothing if a page begins with something else."""
        _, _, body = self.text.partition(f"# {self.title}\n")
        paragraph = " ".join(body.strip().partition("\n\n")[0].split())
        if not paragraph[:1].isalpha() and not paragraph.startswith("`"):
            return ""
        plain = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", paragraph)
        return re.split(r"(?<=[.:])\s", plain)[0].rstrip(":")


def on_site(text: str) -> str:
    """Return a page's text with its links to files that the site has as pages."""

    def moved(found: re.Match[str]) -> str:
        before, path, anchor, after = found.groups(default="")
        return f"{before}{ON_SITE.get(path, path)}{anchor}{after}"

    return _LINK.sub(moved, text)


def with_statuses_indexed(text: str) -> str:
    """
    Return a page whose errors are in the site's index by their HTTP status.

    Sphinx's search leaves out words of digits alone, but looks into the index.
    """
    return _ERROR.sub(r"```{index} \2\n```\n\n\1", text)


def twin(text: str, folder: Path) -> str:
    """
    Return a page as plain Markdown: what it includes is in it, and no table of contents.

    Arguments:
        text: the page as it is written.
        folder: the one that its paths begin at.
    """

    def included(found: re.Match[str]) -> str:
        return (folder / found[1]).read_text("utf-8").partition("\n")[2].strip()

    return on_site(_INCLUDE.sub(included, _TOC.sub("", text))).rstrip() + "\n"


def llms_txt(summary: str, groups: Iterable[tuple[str, Iterable[Page]]]) -> str:
    """
    Return the index for language models: a title, a summary, the pages by group.

    Arguments:
        summary: the sentence below the title.
        groups: the pages by the caption of their group.
    """
    lines = ["# batch_cancel", "", f"> {summary}"]
    for caption, pages in groups:
        lines += ["", f"## {caption}", ""]
        for page in pages:
            about = f": {page.first_sentence}" if page.first_sentence else ""
            lines.append(f"- [{page.title}]({page.name}.md){about}")
    return "\n".join(lines) + "\n"


def groups_of(index: str) -> list[tuple[str, list[str]]]:
    """Return the names of the pages by group, from the tables of contents of the first page."""
    return [
        (caption, names.split())
        for caption, names in re.findall(
            r"^```\{toctree\}\n:hidden:\n:caption: (.*)\n\n((?:.*\n)*?)```$", index, re.MULTILINE
        )
    ]


def with_literal_blocks(docstring: list[str]) -> list[str]:
    """Return a docstring whose indented blocks are marked as literal, as Sphinx reads them."""
    lines = list[str]()
    for number, line in enumerate(docstring):
        _, *following = docstring[number : number + 3]
        is_before_block = (
            bool(line.strip())
            and not line.startswith(" ")
            and len(following) > 1
            and not following[0].strip()
            and following[1].startswith("    ")
        )
        lines.append(f"{line.removesuffix(':')}::" if is_before_block else line)
    return lines
