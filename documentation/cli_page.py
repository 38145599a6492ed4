"""The commands of `batch-cancel`, for docs/cli.md, from the program itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer.main

from batch_cancel.cli import run
from documentation.sections import filled


def cli_page() -> str:
    """Return the page with its commands, in alphabetical order."""
    group: Any = typer.main.get_command(run.program)
    commands = sorted(group.commands.items())
    return filled(
        "cli.md", {"commands": "\n".join(it for each in commands for it in _page(*each))}
    )


def _page(name: str, command: Any) -> Iterator[str]:  # noqa: ANN401  # Typer keeps its type.
    yield f"## {name}\n"
    arguments = [it for it in command.params if it.param_type_name == "argument"]
    named = " ".join(_argument(it) for it in arguments)
    yield f"    batch-cancel {name} {named} [OPTIONS]\n".replace("  [", " [")
    text, _, codes = re.sub(r"[\b]", "", command.help).partition("Exit codes:")
    yield re.sub(r"\n\n\n+", "\n\n", text).strip() + "\n"
    if codes:
        yield "| exit code | meaning |\n| --- | --- |"
        for code, meaning in re.findall(r"^ +(\d+)  (.*(?:\n {5,}.*)*)", codes, re.MULTILINE):
            yield f"| {code} | {' '.join(meaning.split())} |"
        yield ""
    yield "| option | what it does |\n| --- | --- |"
    yield from (_row(it) for it in command.params if it.help)
    yield ""


def _argument(parameter: Any) -> str:  # noqa: ANN401  # Typer keeps its type.
    name = parameter.name.upper() + ("..." if parameter.nargs == -1 else "")
    return name if parameter.required else f"[{name}]"


def _row(parameter: Any) -> str:  # noqa: ANN401  # Typer keeps its type.
    is_option = parameter.param_type_name == "option"
    names = ", ".join(f"`{it if is_option else it.upper()}`" for it in parameter.opts)
    text = parameter.help
    if parameter.envvar:
        text += f" In the environment: `{parameter.envvar}`."
    return f"| {names} | {' '.join(text.split())} |".replace("<", "&lt;")
