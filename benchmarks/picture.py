"""
Draw what a terminal shows while 20,000 jobs are cancelled, as `docs/cancel-many.svg`.

    python -m benchmarks.picture

The real command runs on a pseudo-terminal, against a Postgres of its own. What it has written by
the moment at which the bar is at two thirds is drawn by rich.
"""

from __future__ import annotations

import errno
import io
import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import psycopg
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from benchmarks.tables import Tables
from tests.servers import PostgresServer, RedisServer

PICTURE: Final = Path(__file__).parents[1] / "docs" / "cancel-many.svg"
JOBS: Final = 20_000
CONTACTS: Final = 5
COLUMNS: Final = 92
FILTER: Final = "cancel-many --status scheduled"
COMMANDS: Final = (
    f"{FILTER} --dry-run",
    f"{FILTER} --expect {JOBS} --operation-id cleanup-7",
)

_MAIN: Final = "from batch_cancel.cli import main; main()"
_REDRAWN: Final = re.compile(r"\r\x1b\[2K")
_CONTROLS: Final = re.compile(r"\x1b\[\?25[lh]")
_DONE: Final = re.compile(rf"(\d+)/{JOBS}")


def on_a_terminal(command: str, environment: dict[str, str]) -> str:
    """Run the command on a pseudo-terminal, and answer `y`; return what it has written."""
    ours, theirs = pty.openpty()
    arguments = [sys.executable, "-c", _MAIN, *shlex.split(command)]
    with subprocess.Popen(  # noqa: S603  # Our own command.
        arguments, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        os.write(ours, b"y\n")
        written = b"".join(_parts(ours))
        os.close(ours)
        if process.wait():
            raise SystemExit(written.decode())
    # The terminal echoes the answer before the question is there.
    return written.decode().replace("\r\n", "\n").removeprefix("y\n")


def _parts(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            part = os.read(terminal, 65_536)
        except OSError as error:
            if error.errno != errno.EIO:  # On Linux, that the other end is closed.
                raise
            return
        if not part:
            return
        yield part


def at_two_thirds(written: str) -> str:
    """Return what the terminal shows once the bar is at two thirds."""
    before, *bars = _REDRAWN.split(_CONTROLS.sub("", written))
    before = before.rpartition("\n")[0] + "\n" if "\n" in before else ""
    # Typed before the question was there, the answer stands nowhere near it.
    before = before.replace("[y/N]: ", "[y/N]: y\n")
    for bar in bars:
        done = _DONE.search(bar)
        if done is not None and int(done[1]) * 3 >= JOBS * 2:
            return before + bar.split("\n")[0]
    return before


def drawn(screens: list[tuple[str, str]]) -> str:
    """Return the commands and what each has written as an SVG, without fonts from elsewhere."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for command, written in screens:
        console.print(Text.assemble(("$ ", "bold green"), (f"batch-cancel {command}", "bold")))
        console.print(Text.from_ansi(written.rstrip("\n")))
    svg = console.export_svg(title="batch-cancel cancel-many", theme=MONOKAI, unique_id="picture")
    svg = re.sub(r"\s*@font-face \{.*?\n\s*\}\n", "\n", svg, flags=re.DOTALL)
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def main() -> None:
    """Make the picture."""
    with closing(PostgresServer.own()) as server, closing(RedisServer.own()) as redis_server:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            tables = Tables(connection)
            tables.create(0)
            tables.seed(JOBS, CONTACTS, "scheduled", open_only=True)
            port = connection.info.port
        environment = os.environ | {
            "BATCH_CANCEL_STORE": f"postgresql://postgres@127.0.0.1:{port}/postgres",
            "BATCH_CANCEL_SCHEDULER": f"native+{redis_server.url()}",
            "COLUMNS": str(COLUMNS),
            "TERM": "xterm-256color",
        }
        screens = [(it, at_two_thirds(on_a_terminal(it, environment))) for it in COMMANDS]
    PICTURE.write_text(drawn(screens), "utf-8")


if __name__ == "__main__":
    main()
