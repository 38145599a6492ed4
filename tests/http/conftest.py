"""The application that each test of the endpoint asks: ASGI and WSGI in turn."""

from __future__ import annotations

import pytest

from tests.http.requests import Site


@pytest.fixture(params=["asgi", "wsgi"])
def site(request: pytest.FixtureRequest) -> Site:
    """Yield an application over an empty store."""
    return Site(request.param)
