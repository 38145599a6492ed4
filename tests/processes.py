"""
Own a server process: start it, hurt it, and be sure that it is gone afterwards.

Rule 1: nothing outlives the test run. Beside each server waits a shell at the reading end of a
        pipe of ours. However we die, kill -9 included, the pipe closes, and the shell ends the
        server and removes its folder. PR_SET_PDEATHSIG would not do: it is Linux only, fires as
        soon as the thread that started the server ends, and leaves the folder behind.
Rule 2: nobody waits by sleeping for a fixed time. Readiness is polled, against a deadline.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

HOST = "127.0.0.1"
WAIT_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 10.0

# Where another account can go even if TMPDIR is one that it cannot.
_OPEN_TO_ALL = Path("/var/tmp")  # noqa: S108 - mkdtemp makes a folder of its own in there

_MEMORY = Path("/dev/shm")  # noqa: S108 - likewise
_ROOMY = 2**31

_LAST_WILL = """
read -r _
kill -s "$3" "$1" && kill -s CONT "$1"
tries=100
while kill -0 "$1" && [ "$tries" -gt 0 ]; do tries=$((tries - 1)); sleep 0.1; done
rm -rf "$2"
"""


class ServerError(RuntimeError):
    """A server that the tests need cannot be had, or did not do what it was told."""


def wait_until(happened: Callable[[], bool], what: str) -> None:
    """Poll until `happened` says True, or raise ServerError when that takes too long."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not happened():
        if time.monotonic() > deadline:
            message = f"waited {WAIT_SECONDS_MAX:g} s in vain: {what}"
            raise ServerError(message)
        time.sleep(0.01)


def free_port() -> int:
    """
    Return a loopback port that nobody listens on.

    It lies below the range that outgoing connections take theirs from. Otherwise, while a server
    is down between kill and restart, another connection may take its port, or a client that knocks
    there may even be connected to itself.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return port


def unprivileged() -> pwd.struct_passwd | None:
    """Return the account for servers that refuse to run as root, None if we are not root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def open_to_all(path: Path) -> bool:
    """Check whether any account may reach `path`: it and each folder above it lets others pass."""
    return all(step.stat().st_mode & 0o001 for step in (path, *path.parents))


@contextlib.contextmanager
def scratch_folder(
    account: pwd.struct_passwd | None = None, *, in_memory: bool = False
) -> Generator[Path]:
    """
    Yield an empty folder that belongs to `account`, and that it can reach.

    Arguments:
        account: whose it is; None for our own.
        in_memory: whether it lies in memory, where the system has 2 GiB to spare: a server which
            makes and drops tables all the time spends a third of its work on the file system.
    """
    usual = Path(tempfile.gettempdir())
    parent = usual if account is None or open_to_all(usual) else _OPEN_TO_ALL
    if in_memory and _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOMY:
        parent = _MEMORY
    folder = Path(tempfile.mkdtemp(prefix="batch-cancel-test-", dir=parent)).resolve()
    try:
        if account is not None:
            os.chown(folder, account.pw_uid, account.pw_gid)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_as(account: pwd.struct_passwd | None, command: Sequence[str | Path], cwd: Path) -> None:
    """Run a command to its end as `account`; raise ServerError if it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        user=account and account.pw_uid,
        group=account and account.pw_gid,
        extra_groups=account and [],
    )
    if done.returncode != 0:
        message = f"{Path(command[0]).name} failed with {done.returncode}:\n{done.stdout}"
        raise ServerError(message)


class ServerProcess:
    """
    One server of ours, which may be started, killed and started again.

    Arguments:
        command: what to run, in the foreground.
        folder: where it keeps its data; its output goes to `server.log` there.
        account: run as this account, None for our own.
        parting: the signal that ends it and its children at once, when nothing is worth keeping.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        folder: Path,
        account: pwd.struct_passwd | None = None,
        parting: signal.Signals = signal.SIGKILL,
    ) -> None:
        self._command = [str(word) for word in command]
        self.folder = folder
        self._account = account
        self._parting = parting
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        self._paused: list[int] = []
        self._log_start = 0

    @property
    def running(self) -> bool:
        """Check whether the process lives (paused counts)."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Return the process id of the live server."""
        if self._process is None or not self.running:
            message = f"{Path(self._command[0]).name} is not running:\n{self.log()}"
            raise ServerError(message)
        return self._process.pid

    def log(self) -> str:
        """Return what the server has printed since it was last started."""
        with contextlib.suppress(FileNotFoundError), self._log_path.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")
        return ""

    def spawn(self, *options: str) -> None:
        """
        Start the process; whether it is ready to serve is for the caller to ask.

        Arguments:
            options: more of its command, for this time.
        """
        if self.running:
            message = f"{Path(self._command[0]).name} runs already"
            raise ServerError(message)
        self._forget()
        account = self._account
        with self._log_path.open("ab") as log:
            self._log_start = log.tell()
            # A process group of its own: Ctrl-C is for us, and we end the server in our own order.
            self._process = subprocess.Popen(
                [*self._command, *options],
                cwd=self.folder,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
                user=account and account.pw_uid,
                group=account and account.pw_gid,
                extra_groups=account and [],
            )
        signal_name = self._parting.name.removeprefix("SIG")
        arguments = [str(self._process.pid), str(self.folder), signal_name]
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", _LAST_WILL, "watcher", *arguments],
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Ask the server to end, insist if it does not, and wait until it has."""
        self.resume()
        if self._process is not None and self.running:
            self._process.send_signal(how)
            try:
                self._process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self.kill()
        self._forget()

    def end(self) -> None:
        """Stop the server for good, with its parting signal."""
        self.stop(self._parting)

    def kill(self) -> None:
        """Kill the server and all its children at once (-9), and wait until they are dead."""
        if self.running and not self._paused:
            self.pause()
        for pid in self._paused:
            _send(pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
        self._forget()

    def pause(self) -> None:
        """Freeze the server and all its children: connections stay open, nothing is answered."""
        # The parent first, so that it bears no child behind our back. Postgres gives each child a
        # session of its own, therefore a signal to the process group would not reach them.
        os.kill(self.pid, signal.SIGSTOP)
        self._paused = [self.pid]
        self._paused += _children(self.pid)
        for pid in self._paused:
            _send(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        for pid in reversed(self._paused):
            _send(pid, signal.SIGCONT)
        self._paused = []

    @property
    def _log_path(self) -> Path:
        return self.folder / "server.log"

    def _forget(self) -> None:
        self._paused = []
        self._process = None
        if self._watcher is not None:
            self._watcher.kill()
            self._watcher.communicate()
            self._watcher = None


def _environment() -> dict[str, str]:
    """Return our environment without what would change a server's ways or its language."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def _children(pid: int) -> list[int]:
    linux = Path(f"/proc/{pid}/task/{pid}/children")
    if linux.exists():
        return [int(word) for word in linux.read_text().split()]
    listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in listed.stdout.split()]


def _send(pid: int, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, what)
