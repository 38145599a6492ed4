"""What servers have in common: they can be stopped, hurt and healed, if they are ours."""

from __future__ import annotations

import contextlib
from typing import Self

from tests.processes import (
    ServerError,
    ServerProcess,
    wait_until,
)


class Server:
    """What servers have in common: they can be stopped, hurt and healed, if they are ours."""

    _process: ServerProcess | None = None
    _cleanup: contextlib.ExitStack

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def process(self) -> ServerProcess:
        """Return the server's process; a server given by the environment is not ours to touch."""
        if self._process is None:
            message = "this server was given by the environment: it cannot be stopped or hurt"
            raise ServerError(message)
        return self._process

    def start(self, *options: str) -> None:
        """Start it (again), on the same port and data, and wait until it serves."""
        self.process.spawn(*options)
        wait_until(self._serves, f"{type(self).__name__} serves")

    def stop(self) -> None:
        """Stop it in good order."""
        self._disconnect()
        self.process.stop()

    def kill(self) -> None:
        """Kill it and its children with -9, in the middle of whatever they do."""
        self._disconnect()
        self.process.kill()

    def restart(self) -> None:
        """Stop it in good order if it runs, then start it."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it: connections stay open, new ones are accepted, nothing is answered."""
        self.process.pause()

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self.process.resume()

    def heal(self) -> None:
        """Make sure that it serves, whatever a test did to it."""
        if self._process is not None:
            self._process.resume()
            if not self._process.running:
                self.start()

    def close(self) -> None:
        """End it for good and remove its data; a server given by the environment stays."""
        self._disconnect()
        if self._process is not None:
            self._process.end()
        self._cleanup.close()

    def _disconnect(self) -> None:
        """Close the connections that are held for convenience."""
        raise NotImplementedError

    def _serves(self) -> bool:
        """Check whether the server answers; raise ServerError if it has given up."""
        raise NotImplementedError
