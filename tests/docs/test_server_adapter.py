"""The example adapter for a database server, run through the kit on a real one."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from examples import server_adapter_kit
from tests.lost_commits import LosingCommits


@pytest.fixture
def dsn(tables_of_class: tuple[str, psycopg.Connection[Any]]) -> str:
    """Return a connection string to an empty schema of the class's own."""
    dsn, _ = tables_of_class
    return dsn


@pytest.mark.repeats
class TestServerAdapter(server_adapter_kit.TestCampaigns):
    """The blocking one keeps the promises."""

    def losing_commit(self) -> LosingCommits:
        """Lose the answers to its commits."""
        return LosingCommits(self.dsn)


@pytest.mark.repeats
class TestAsyncServerAdapter(server_adapter_kit.TestAsyncCampaigns):
    """So does its twin."""
