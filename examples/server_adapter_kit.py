"""The adapter for a database server, run through the conformance kit."""

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest

from batch_cancel import JobKey
from batch_cancel.testing.conformance import JobRow, StoreConformance
from examples.server_adapter import TABLES, Campaigns
from examples.server_adapter_async import AsyncCampaigns


class TestCampaigns(StoreConformance):
    """Our campaigns keep the promises."""

    records = inspection = False  # `mark_cancelled` keeps none.
    ids_per_organization = False  # The id alone is the key.
    guards = frozenset()  # Our workers are tested elsewhere.

    @pytest.fixture(autouse=True)
    def _database(self, dsn: str) -> Iterator[None]:
        self.dsn = dsn  # From a fixture of yours.
        with psycopg.connect(dsn, autocommit=True) as self.beside:
            yield

    def fresh(self) -> None:
        self.send(TABLES)

    def uow(self) -> Campaigns | AsyncCampaigns:
        return Campaigns(self.dsn)

    def seed(
        self,
        key: JobKey,
        status: str | None,
        contacts: Sequence[str | None],
        deferred_id: str | None,
    ) -> list[str]:
        job = (key.batch_job_id, key.organization_id, status, deferred_id)
        self.send("INSERT INTO campaign VALUES (%s, %s, %s, %s)", *job)
        add = "INSERT INTO call (campaign, state) VALUES (%s, %s) RETURNING id::text"
        return [self.send(add, job[0], it)[0][0] for it in contacts]

    def dump(self) -> dict[JobKey, JobRow]:
        calls = "SELECT id::text, state, xmin::text FROM call WHERE campaign = %s"
        return {
            JobKey(job, tenant): JobRow(
                state, alarm, {it: row for it, *row in self.send(calls, job)}, rest
            )
            for job, tenant, state, alarm, *rest in self.send("SELECT *, xmin::text FROM campaign")
        }

    def send(self, statement: str, *values: object) -> list[Any]:
        sent = self.beside.execute(statement.encode(), values or None)
        return sent.fetchall() if sent.description else []


class TestAsyncCampaigns(TestCampaigns):
    """And so do those of the asyncio program."""

    is_async = True

    def uow(self) -> Campaigns | AsyncCampaigns:
        return AsyncCampaigns(self.dsn)
