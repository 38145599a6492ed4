"""
What the pages take for given: a job of the example, the reader's own names, servers.

A page's addresses are those that a reader has at home; here they are those of the tests' servers.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast

import attrs
import psycopg
import redis
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from batch_cancel import CancelResult, ContactStatus
from batch_cancel.adapters.postgres import AsyncPostgresUnitOfWork, PostgresUnitOfWork
from batch_cancel.adapters.redis import RedisScheduler
from tests import data_layers
from tests.pairs import create_reference_tables

JOB: Final = "batch_xyz789"
START: Final = "start-of-batch_xyz789"
STORE, REDIS = "postgresql://localhost/app", "redis.Redis()"
STORE_OF_TUTORIAL: Final = "postgresql://postgres@localhost/app"


@attrs.frozen
class Home:
    """
    Where a page is read: its databases, and a folder.

    Arguments:
        dsn: of a Postgres schema with the reference tables.
        url: of an empty Redis database.
        folder: the current directory.
        has_example: whether the job of the example is there.
    """

    dsn: str
    url: str
    folder: Path
    has_example: bool = True

    def at_home(self, code: str) -> str:
        """Return the code with the addresses that there are here, and no long search."""
        replaced = {
            f'"{STORE}"': repr(self.dsn),
            f'"{STORE_OF_TUTORIAL}"': repr(self.dsn),
            REDIS: f"redis.Redis.from_url({self.url!r})",
            '"jobs.sqlite"': repr(str(self.folder / "jobs.sqlite")),
            "max_examples=10_000": "max_examples=10",  # An hour is the reader's to spend.
        }
        for theirs, ours in replaced.items():
            code = code.replace(theirs, ours)
        return code

    def emptied(self, dsn: str) -> Home:
        """Return it with an empty database, for a page that begins with nothing."""
        return attrs.evolve(self, dsn=dsn, has_example=False)

    def seed(self) -> None:
        """Schedule the job of the example anew: a hundred contacts, a deferred start."""
        if not self.has_example:
            return
        with psycopg.connect(self.dsn) as rows:
            rows.execute("TRUNCATE batch_jobs, batch_contacts, batch_cancellations")
            rows.execute(
                "INSERT INTO batch_jobs (id, status, scheduled_job_id)"
                " VALUES (%s, 'scheduled', %s)",
                (JOB, START),
            )
            rows.execute(
                "INSERT INTO batch_contacts (batch_job_id) SELECT %s FROM generate_series(1, 100)",
                (JOB,),
            )
        with redis.Redis.from_url(self.url) as client:
            client.flushdb()
            in_an_hour = _in_an_hour()
            RedisScheduler(client).schedule(START, in_an_hour)


@contextmanager
def home(dsn: str, url: str, folder: Path) -> Generator[Home]:
    """Yield a place with the tables that the pages speak of."""
    with psycopg.connect(dsn, autocommit=True) as rows:
        create_reference_tables(rows)
        rows.execute("CREATE TABLE audit (text text)")
        rows.execute("ALTER TABLE batch_contacts ADD phone text, ADD language text")
    yield Home(dsn, url, folder)


class AsyncScheduler:
    """An asyncio scheduler that belongs to no event loop: a page's blocks have one each."""

    def __init__(self, client: redis.Redis) -> None:
        self._scheduler = RedisScheduler(client)

    async def cancel(self, deferred_id: str, operation_id: str, /) -> bool:
        """Cancel a deferred start."""
        return await asyncio.to_thread(self._scheduler.cancel, deferred_id, operation_id)


def _dial(contact_id_or_phone: object) -> ContactStatus:
    return ContactStatus.COMPLETED


def _in_an_hour() -> datetime:
    return datetime.now(UTC) + timedelta(hours=1)


def _notify(result: CancelResult) -> None:
    assert result.batch_job_id == JOB


def _mapped() -> Mapping[str, Any]:
    class Base(DeclarativeBase):
        pass

    class Job(Base):
        __tablename__ = "batch_jobs"
        id: Mapped[str] = mapped_column(sa.Text, primary_key=True)
        organization_id: Mapped[str | None] = mapped_column(sa.Text)
        status: Mapped[str] = mapped_column(sa.Text)
        scheduled_job_id: Mapped[str | None] = mapped_column(sa.Text)
        updated_at: Mapped[datetime] = mapped_column(sa.DateTime(timezone=True))

    class Contact(Base):
        __tablename__ = "batch_contacts"
        id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
        batch_job_id: Mapped[str] = mapped_column(sa.Text)
        status: Mapped[str] = mapped_column(sa.Text)
        next_attempt_at: Mapped[datetime | None] = mapped_column(sa.DateTime(timezone=True))
        updated_at: Mapped[datetime] = mapped_column(sa.DateTime(timezone=True))

    return {"Base": Base, "Job": Job, "Contact": Contact}


def _models() -> Mapping[str, Any]:
    from tests.django_calls.models import STATES, Call, Campaign

    return {"Campaign": Campaign, "Call": Call, "STATES": STATES}


def _names_on(at: Home, client: redis.Redis) -> dict[str, Any]:
    uow = PostgresUnitOfWork(lambda: psycopg.connect(at.dsn))
    scheduler = RedisScheduler(client)
    stopping = threading.Event()

    def start(claimed: object) -> None:
        stopping.set()

    return {
        "connect": lambda: psycopg.connect(at.dsn),
        "dial": _dial,
        "in_an_hour": _in_an_hour,
        "engine": data_layers.postgres_engine(at.dsn),
        "notify": _notify,
        "scheduler": scheduler,
        "scheduler_async": AsyncScheduler(client),
        "start": start,
        "stopping": stopping,
        "uow": uow,
        "uow_async": AsyncPostgresUnitOfWork(
            lambda: cast("Any", psycopg.AsyncConnection.connect(at.dsn))
        ),
    }


@contextmanager
def names(at: Home) -> Generator[dict[str, Any]]:
    """Yield the reader's own names, which a page uses and does not define."""
    with (
        redis.Redis.from_url(at.url) as client,
        data_layers.django_uow(at.dsn, alias="default"),
    ):
        yield {**_names_on(at, client), **_mapped(), **_models()}


Setup = Callable[[Home, dict[str, Any]], None]


def _due(at: Home, own: dict[str, Any]) -> None:
    """Schedule a start that is due at once: the loop ends with its delivery."""
    scheduler: RedisScheduler = own["scheduler"]
    scheduler.schedule("due", datetime.now(UTC) - timedelta(seconds=1))


def _adapter(at: Home, own: dict[str, Any]) -> None:
    """Make what the page calls `adapter`: the example, as its fixture makes it."""
    from examples.own_adapter_test import TestOwnStore

    adapter = TestOwnStore()
    adapter.path = str(at.folder / "campaigns.db")
    own["adapter"] = adapter


BEFORE: Final[Mapping[str, Setup]] = {
    "while not stopping.wait(": _due,
    "CancelMachine.on(World(adapter))": _adapter,
}
"""What is prepared for a block that holds this text."""
