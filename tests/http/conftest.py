"""The application that each test of the endpoint asks: ASGI and WSGI in turn."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from tests.http.requests import Site

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True, scope="module")
def logging_as_before() -> Iterator[None]:
    """Undo what a framework does to the root logger, which other tests look at."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture(params=["asgi", "wsgi"])
def site(request: pytest.FixtureRequest) -> Site:
    """Yield an application over an empty store."""
    return Site(request.param)
