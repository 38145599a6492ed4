"""What the site does beside Sphinx's own: links out of docs/, Markdown twins, llms.txt."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from documentation.markdown import (
    Page,
    groups_of,
    llms_txt,
    on_site,
    twin,
    with_literal_blocks,
    with_statuses_indexed,
)
from documentation.signatures import with_values

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, Any]:
    """Have Sphinx call what is here."""
    app.connect("source-read", _read)
    app.connect("autodoc-process-docstring", _mark, priority=400)  # Before napoleon.
    app.connect("autodoc-before-process-signature", _show_values, priority=600)  # After autodoc.
    app.connect("build-finished", _finish)
    return {"parallel_read_safe": True}


def _read(_: Sphinx, __: str, source: list[str]) -> None:
    source[0] = with_statuses_indexed(on_site(source[0]))


def _mark(*given: Any) -> None:  # noqa: ANN401  # Of many kinds; the last are the lines.
    lines: list[str] = given[-1]
    lines[:] = with_literal_blocks(lines)


def _show_values(_: Sphinx, function: Any, __: object) -> None:  # noqa: ANN401  # Any callable.
    if (signature := with_values(function)) is not None:
        function.__signature__ = signature


def _finish(app: Sphinx, error: Exception | None) -> None:
    """Write the twins and the index of them beside the pages."""
    if error is not None or app.builder.name != "html":
        return
    folder, target = Path(app.srcdir), Path(app.outdir)
    pages = dict[str, Page]()
    for name in sorted(app.env.found_docs):
        text = (folder / f"{name}.md").read_text("utf-8")
        if "{eval-rst}" in text:  # What autodoc writes is in no file.
            text = _as_text(app, name)
        pages[name] = Page(name, twin(text, folder))
        (target / f"{name}.md").write_text(pages[name].text, "utf-8")
    index = (folder / "index.md").read_text("utf-8")
    groups = [(caption, [pages[it] for it in names]) for caption, names in groups_of(index)]
    llms = llms_txt(pages["index"].first_sentence, groups)
    (target / "llms.txt").write_text(llms, "utf-8")


def _as_text(app: Sphinx, name: str) -> str:
    """Return a page as Sphinx writes it as text, from what it has read already."""
    target = Path(app.doctreedir).parent / "text"
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "text", "-d", str(app.doctreedir)]
    command += ["-c", str(app.confdir), str(app.srcdir), str(target), f"{app.srcdir}/{name}.md"]
    subprocess.run(command, check=True)  # noqa: S603  # Our own interpreter, our own paths.
    title, _, body = (target / f"{name}.txt").read_text("utf-8").partition("\n")
    return f"# {title}\n\n{body.partition(chr(10))[2].strip()}\n"
