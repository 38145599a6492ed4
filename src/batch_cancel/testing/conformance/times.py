"""
The kit's tests of times: the store's clock, and when a contact may be called.

They run in another time zone than UTC, as far as this process can say so: a local time that is
taken for UTC is then wrong by hours. Part of `StoreConformance`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final
from unittest.mock import patch

from batch_cancel.testing.adapter import StoreAdapter
from batch_cancel.testing.invariants import promise
from batch_cancel.testing.runner import expect
from batch_cancel.testing.world import World

ZONE: Final = "KIT-05:45"
"""Without a table of time zones: a quarter to six ahead of UTC."""

SKEW: Final = timedelta(minutes=5)
"""How far two clocks may be apart; no two time zones are so close."""

SOON: Final = timedelta(minutes=10)


class TimeConformance(StoreAdapter):
    """The tests of times; `StoreConformance` has them."""

    @promise(
        "I20",
        cause="`locked_at` is a local time that is called UTC: let the database return a time "
        "with its zone, or its time in UTC.",
    )
    def test_i20_the_time_of_a_cancellation_is_that_of_the_clock(self, world: World) -> None:
        """Within five minutes of this machine's, wherever it is."""
        world.add_job("job", "running", ["pending"])
        with _far_from_utc():
            at = world.cancelled().cancelled_at
            recorded = world.record().cancelled_at if self.records else at
        for seen, what in ((at, "the answer"), (recorded, "the record")):
            ahead = seen - datetime.now(UTC)
            expect(abs(ahead) < SKEW, True, f"Whether cancelled_at in {what} is now, not {seen}:")

    @promise(
        "I20",
        cause="claim does not look at the time from which a contact may be called; or settle "
        "drops its `retry_at`, or stores it as a local time; or claim does not take those without "
        "a time first, and then those that are due for longest. A store that keeps no such time "
        "declares `retry_times = False`: a busy contact may then be called again at once.",
        needs=["retry_times", "claim", "settle"],
    )
    def test_i20_a_contact_is_called_when_its_time_has_come(self, world: World) -> None:
        """Not before; and who has waited for longest comes first."""
        world.add_job("job", "running", ["dialing", "dialing", "dialing", "pending"])
        soon, lately, long_ago, fresh = world.contact_ids["job"]
        now = datetime.now(UTC)
        with _far_from_utc():
            for contact_id, at in (
                (soon, now + SOON),
                (lately, now - SOON),
                (long_ago, now - 2 * SOON),
            ):
                world.retry_later(contact_id, at)
            turns = [world.claim(limit=1) for _ in range(4)]
        expect(turns, [{fresh}, {long_ago}, {lately}, set[str]()], "Given out, one by one:")
        expect(world.statuses()[0], "busy", "The contact whose time has not come:")


@contextmanager
def _far_from_utc() -> Generator[None]:
    """Set the time zone of this process, and of a libpq that connects in it."""
    with patch.dict(os.environ, TZ=ZONE, PGTZ=ZONE):
        _heed()
        yield
    _heed()


def _heed() -> None:
    if hasattr(time, "tzset"):  # Windows has none.
        time.tzset()
