"""
Open transactions in which each call of a repository may be committed by itself.

Rule: only for a step that needs no rollback after a call: it returns the answer, or if nothing was
      written it goes on to read.
"""

from __future__ import annotations

from typing import Any

import attrs


@attrs.frozen
class Autocommit:
    """
    A store whose transactions commit each call by itself, if it can do that.

    Arguments:
        store: the store, blocking or asyncio.
    """

    store: Any

    def begin(self) -> Any:  # noqa: ANN401  # Of the kind of the store.
        """Open a transaction by `begin_autocommit`, or by `begin` in a store that lacks it."""
        return getattr(self.store, "begin_autocommit", self.store.begin)()
