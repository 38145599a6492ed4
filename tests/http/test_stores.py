"""A key of organization b and a job of organization a, on every store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from batch_cancel import JobKey, cancel_job, cancel_job_async
from batch_cancel.adapters.asgi import AsgiApp
from batch_cancel.adapters.wsgi import WsgiApp
from tests import worlds
from tests.http.requests import AUTHENTICATE, KEY_A, KEY_B, Asked, Told, ask_asgi_async, ask_wsgi
from tests.worlds import PostgresTables, World


@pytest.fixture(params=worlds.STORES)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Lend each store in turn, with a job of organization a."""
    with worlds.opened(request.param, "memory", request) as world:
        contacts = ["pending", "dialing"]
        world.add_job("job", "scheduled", contacts, organization_id="a", deferred_id="start")
        world.schedule("start")
        yield world


def ask(world: World, job_id: str, key: tuple[str, str]) -> Told:
    """Ask for a cancel over HTTP, by the application of the store's kind."""
    asked = Asked(path=f"/batch/jobs/{job_id}/cancel", headers=[key])
    ports: dict[str, Any] = {"uow": world.store.uow, "scheduler": world.scheduler}
    if world.runner is not None:
        app = AsgiApp(partial(cancel_job_async, **ports), AUTHENTICATE)
        return world.runner.run(ask_asgi_async(app, asked))
    return ask_wsgi(WsgiApp(partial(cancel_job, **ports), AUTHENTICATE), asked)


def test_a_foreigner_cannot_cancel_or_see_it(world: World) -> None:
    """His answer is that of a missing job; rows and deferred start are as before."""
    before = world.rows()
    foreign = ask(world, "job", KEY_B)
    assert foreign == ask(world, "none", KEY_B)
    assert (foreign.status, foreign.content) == (404, b'{"detail": "Batch job not found"}')
    assert world.rows() == before
    assert world.waiting() == {"start"}


def test_a_foreigner_cannot_lock_it(world: World) -> None:
    """While somebody else holds the row, the foreigner is answered."""
    with ExitStack() as stack:
        if isinstance(world.store, PostgresTables):
            stack.enter_context(world.store.connection.transaction())
            world.store.connection.execute("SELECT FROM batch_jobs FOR UPDATE")
        assert ask(world, "job", KEY_B).status == 404


def test_its_owner_can(world: World) -> None:
    """The same request with his own key."""
    assert ask(world, "job", KEY_A).status == 200
    assert world.rows()[JobKey("job", "a")].status == "cancelled"
    assert world.waiting() == set()
