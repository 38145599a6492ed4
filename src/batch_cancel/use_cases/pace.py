"""
Keep to a rate: the only module of the core that knows a clock, and that waits.

A blocking call has no event loop to wait on, so it blocks its thread.
"""

from __future__ import annotations

import attrs


@attrs.define
class Pace:
    """
    A rate that is kept on average from the beginning on.

    Arguments:
        rate: how many jobs a second; None for as many as possible.
        blocks: whether the call is a blocking one.
    """

    rate: float | None
    blocks: bool
    _began_at: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._began_at = _now()

    async def keep(self, done: int) -> None:
        """Wait until so many jobs may be done."""
        if self.rate is None:
            return
        seconds = self._began_at + done / self.rate - _now()
        if seconds <= 0:
            return
        # Imported here, because asyncio takes long to import.
        if self.blocks:
            from time import sleep  # noqa: PLC0415  # See above.

            sleep(seconds)  # noqa: ASYNC251  # There is no event loop.
        else:
            from asyncio import sleep as wait  # noqa: PLC0415  # See above.

            await wait(seconds)


def _now() -> float:
    from time import monotonic  # noqa: PLC0415  # So that tests can replace it.

    return monotonic()
