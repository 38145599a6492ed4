"""Statuses of jobs and contacts, and a world for each store: workers need no scheduler."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from batch_cancel.testing.strategies import ENDED_CONTACTS, ENDED_JOBS, LIVE_JOBS, OPEN_CONTACTS
from tests import pairs

if TYPE_CHECKING:
    from collections.abc import Iterator

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)

OPEN = OPEN_CONTACTS
EVERY_JOB = (*LIVE_JOBS, *ENDED_JOBS, "paused", None)
EVERY_CONTACT = (*OPEN_CONTACTS, "dialing", *ENDED_CONTACTS, "paused", None)
STRANGE_IDS = ["", "\0", "\ud800", "x" * 1_000_000, "%", "' OR 1=1 --", "../j", "j ", "{}", "J"]


@pytest.fixture(
    scope="module",
    params=pairs.params(
        [*pairs.pairs(("memory",)), *pairs.LAYERED, *pairs.ON_MARIADB],
        short=[(store, "memory") for store, _ in pairs.SHORT],
    ),
)
def open_world(request: pytest.FixtureRequest) -> Iterator[pairs.World]:
    """Open a world once; whoever takes it clears it first."""
    store, scheduler = request.param
    with pairs.opened(store, scheduler, request) as world:
        yield world


def now() -> datetime:
    """Return this machine's time, which is the stores' time too."""
    return datetime.now(UTC)
