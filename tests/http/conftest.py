"""The application that each test of the endpoint asks: ASGI and WSGI in turn."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.http.examples import DJANGO_APIS
from tests.http.requests import Site

if TYPE_CHECKING:
    from collections.abc import Iterator

collect_ignore = [] if all(map(find_spec, DJANGO_APIS.values())) else ["test_django_apis.py"]
"""The pins of an environment may not have these packages yet."""


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
