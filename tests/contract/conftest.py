"""The world that the tests of the contract run in: each of them in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import pairs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(
    scope="session", params=pairs.params([*pairs.pairs(), *pairs.LAYERED, *pairs.ON_MARIADB])
)
def open_world(request: pytest.FixtureRequest) -> Iterator[pairs.World]:
    """Open a world once; whoever takes it clears it first."""
    store, scheduler = request.param
    with pairs.opened(store, scheduler, request) as world:
        yield world


@pytest.fixture
def world(open_world: pairs.World) -> pairs.World:
    """Yield an empty world."""
    open_world.clear()
    return open_world
