"""The example adapter for a server, on connections that lose the answers to COMMIT."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import psycopg

from examples import server_adapter


class _Losing(psycopg.Connection[Any]):
    """It commits, and then its server is gone."""

    def execute(self, query: Any, *values: Any, **options: Any) -> Any:
        done = super().execute(query, *values, **options)
        if query == "COMMIT":
            self.close()
            msg = "server closed the connection unexpectedly"
            raise psycopg.OperationalError(msg)
        return done


class LosingCommits(server_adapter.Campaigns):
    """The example, whose commits are carried out, and whose answers are lost."""

    @contextmanager
    def begin(self) -> Generator[Any]:
        """Open a transaction on such a connection."""
        with patch.object(psycopg, "connect", _Losing.connect):
            opened = super().begin()
            transaction = opened.__enter__()
        with _left(opened):
            yield transaction


@contextmanager
def _left(opened: Any) -> Generator[None]:
    try:
        yield
    except BaseException as error:
        if not opened.__exit__(type(error), error, error.__traceback__):
            raise
    else:
        opened.__exit__(None, None, None)
