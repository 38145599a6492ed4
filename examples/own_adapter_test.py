"""The example adapter, run through the conformance kit."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from batch_cancel import JobKey
from batch_cancel.testing.conformance import JobRow, StoreConformance
from examples.own_adapter import TABLES, OwnStore, claim, start


class TestOwnStore(StoreConformance):
    """Our campaigns keep the promises."""

    records = inspection = retries = False  # No outbox, no inspection, no pause.
    row_locks = False  # BEGIN IMMEDIATE locks the file.
    ids_per_organization = False  # The id alone is the key.
    guards = frozenset({"start", "claim"})  # Our workers' own functions, below.

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.path = str(tmp_path / "campaigns.db")

    def fresh(self) -> None:
        with closing(sqlite3.connect(self.path)) as db:
            db.executescript(TABLES)

    def uow(self) -> OwnStore:
        return OwnStore(self.path)

    def seed(
        self,
        key: JobKey,
        status: str | None,
        contacts: Sequence[str | None],
        deferred_id: str | None,
    ) -> list[str]:
        add = "INSERT INTO call (campaign, state) VALUES (?, ?)"
        with closing(sqlite3.connect(self.path)) as db, db:
            job = (key.batch_job_id, key.organization_id, status, deferred_id)
            db.execute("INSERT INTO campaign VALUES (?, ?, ?, ?, 0)", job)
            return [str(db.execute(add, (job[0], it)).lastrowid) for it in contacts]

    def dump(self) -> dict[JobKey, JobRow]:
        calls = "SELECT id, state, touched FROM call WHERE campaign = ?"
        with closing(sqlite3.connect(self.path)) as db:
            return {
                JobKey(job, org): JobRow(
                    status, alarm, {str(it): row for it, *row in db.execute(calls, (job,))}, rest
                )
                for job, org, status, alarm, *rest in db.execute("SELECT * FROM campaign")
            }

    def start(self, key: JobKey) -> bool:
        return start(self.uow(), key.batch_job_id, key.organization_id)

    def claim(self, key: JobKey, limit: int) -> list[str]:
        return claim(self.uow(), key.batch_job_id, key.organization_id, limit)
