"""
Open a transaction for one call of a repository.

Rule: only for a step that is that call, and returns its answer as it is. The store may commit the
      transaction with the call; an exception after it would roll nothing back.
"""

from __future__ import annotations

from typing import Any

import attrs


@attrs.frozen
class Once:
    """
    A store whose transactions are for one call.

    Arguments:
        store: the store, blocking or asyncio.
    """

    store: Any

    def begin(self) -> Any:  # noqa: ANN401  # Of the kind of the store.
        """Open a transaction by `once`, or by `begin` in a store that lacks it."""
        return getattr(self.store, "once", self.store.begin)()
