"""
What others do to cancel the same number of items: libraries of jobs, and SQLAlchemy.

Rule 1: a library of jobs has a job for each contact, and cancels each by its public API. Ours
        cancels one job with as many open contacts, its deferred start included.
Rule 2: each library runs in an environment of its own, with its own client, on the same servers.
Rule 3: a library's workers are not waited for: what is measured is the caller's time.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from batch_cancel import cancel_job
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS
from benchmarks.bars import Measured
from benchmarks.findings import Curve, Findings, Table, milliseconds, spread
from benchmarks.place import Place, progress, shared
from benchmarks.rounds import Contestant, Rounds, interleaved, timed
from tests.processes import ServerError
from tests.schedulers.rig import python_of

INSIDE: Final = Path(__file__).parent / "libraries" / "inside.py"
LIBRARIES: Final = {
    "RQ": "rq",
    "arq": "arq",
    "SAQ": "saq",
    "Procrastinate": "procrastinate",
    "Celery": "celery",
}
OURS: Final = "batch_cancel"
LOOP: Final = "SQLAlchemy loop"
BULK: Final = "SQLAlchemy bulk"
_REDIS_DATABASE: Final = 1


class _Base(DeclarativeBase):
    pass


class _Job(_Base):
    __tablename__ = "batch_jobs"
    id: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str]
    updated_at: Mapped[datetime] = mapped_column(
        sa.DateTime(timezone=True), onupdate=sa.func.clock_timestamp()
    )


class _Contact(_Base):
    __tablename__ = "batch_contacts"
    id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    batch_job_id: Mapped[str]
    status: Mapped[str]
    updated_at: Mapped[datetime] = mapped_column(
        sa.DateTime(timezone=True), onupdate=sa.func.clock_timestamp()
    )


@attrs.frozen
class Peer:
    """A library at work in its own process."""

    version: str
    process: subprocess.Popen[str]

    def cancel(self, number: int) -> float:
        """Have it schedule and cancel so many items; return the seconds of the cancels."""
        assert self.process.stdin is not None
        print(number, file=self.process.stdin, flush=True)
        return float(_line(self.process))


def measured(place: Place) -> Findings:
    """Measure many items, and one."""
    with ExitStack() as stack:
        places = {
            "redis": stack.enter_context(place.redis_server.database(_REDIS_DATABASE)),
            "postgres": stack.enter_context(place.server.database()),
        }
        peers = {
            name: stack.enter_context(_started(library, places))
            for name, library in LIBRARIES.items()
        }
        # First one item, so that nothing of a first run is left to see in the few rounds of many.
        progress("peers: one item")
        single = _rounds(place, peers, 1, place.sizes.single_rounds)
        items = place.sizes.peer_items
        progress(f"peers: {items:,} items")
        many = _rounds(place, peers, items, place.sizes.peer_rounds, warm_up_runs=0)
        versions = {name: it.version for name, it in peers.items()}
    return _findings(items, many, single, {**versions, LOOP: sa.__version__, BULK: sa.__version__})


def _rounds(
    place: Place, peers: Mapping[str, Peer], items: int, runs: int, *, warm_up_runs: int = 1
) -> Rounds:
    """Let all take turns at cancelling so many items."""
    each = runs + warm_up_runs
    scheduled = place.jobs(each, items, "scheduled", open_only=True)
    running = place.jobs(2 * each, items, open_only=True)
    jobs, (loops, bulks) = iter(scheduled), shared(running, 2)
    uow, scheduler = place.uow, place.scheduler
    engine = _engine(place)

    def ours() -> float:
        job = next(jobs)
        return timed(lambda: cancel_job(job, uow=uow, scheduler=scheduler))

    contestants: dict[str, Contestant] = {
        OURS: ours,
        **{name: partial(peer.cancel, items) for name, peer in peers.items()},
        LOOP: lambda: _loop(engine, loops),
        BULK: lambda: _bulk(engine, bulks),
    }
    taken = interleaved(runs, contestants, warm_up_runs=warm_up_runs)
    engine.dispose()
    place.tables.check_cancelled([*scheduled, *running])
    return taken


def _findings(items: int, many: Rounds, single: Rounds, versions: Mapping[str, str]) -> Findings:
    ratios = {name: many.ratio(name, OURS) for name in versions}
    singles = {name: single.ratio(name, OURS) for name in versions}
    fastest = min(LIBRARIES, key=lambda name: singles[name].median)
    ours = (OURS, "", milliseconds(many.time(OURS)), "1", milliseconds(single.time(OURS)), "1")
    rows = (
        ours,
        *(
            (
                name,
                version,
                milliseconds(many.time(name)),
                spread(ratios[name]),
                milliseconds(single.time(name)),
                spread(singles[name]),
            )
            for name, version in versions.items()
        ),
    )
    head = ("", "version", f"{items:,} items, ms", "times ours", "1 item, ms", "times ours")
    return Findings(
        bars=(
            *(Measured(f"peer-{name}", it, f"{items:,} items") for name, it in ratios.items()),
            Measured("peer-single", singles[fastest], fastest),
        ),
        tables=(Table("Peers: time to cancel the same number of items", head, rows),),
        curves=tuple(
            Curve("peers", name, ((items, many.time(name).median * 1000),))
            for name in (OURS, *versions)
        ),
    )


def _engine(place: Place) -> sa.Engine:
    parts = conninfo_to_dict(place.server.dsn())
    url = sa.URL.create(
        "postgresql+psycopg",
        username=str(parts["user"]),
        host=str(parts["host"]),
        port=int(str(parts["port"])),
        database=str(parts["dbname"]),
        query={"sslmode": "disable", "gssencmode": "disable"},
    )
    return sa.create_engine(url)


def _loop(engine: sa.Engine, jobs: Iterator[str]) -> float:
    """Load the objects, change each, and commit."""
    name = next(jobs)

    def run() -> None:
        with Session(engine) as session, session.begin():
            job = session.get_one(_Job, name, with_for_update=True)
            for contact in session.scalars(sa.select(_Contact).where(*_open(name))):
                contact.status = "cancelled"
            job.status = "cancelled"

    return timed(run)


def _bulk(engine: sa.Engine, jobs: Iterator[str]) -> float:
    """Change all rows by one UPDATE, and commit."""
    name = next(jobs)

    def run() -> None:
        with Session(engine) as session, session.begin():
            job = session.get_one(_Job, name, with_for_update=True)
            session.execute(sa.update(_Contact).where(*_open(name)).values(status="cancelled"))
            job.status = "cancelled"

    return timed(run)


def _open(job: str) -> tuple[sa.ColumnElement[bool], ...]:
    statuses: list[sa.ColumnElement[str]] = [
        sa.literal_column(f"'{it.value}'") for it in CANCELLABLE_CONTACTS
    ]
    return (_Contact.batch_job_id == job, _Contact.status.in_(statuses))


@contextmanager
def _started(library: str, places: Mapping[str, str]) -> Generator[Peer]:
    command = [str(python_of(library)), str(INSIDE), library, json.dumps(dict(places))]
    pipe = subprocess.PIPE
    with subprocess.Popen(  # noqa: S603  # The command is ours.
        command, stdin=pipe, stdout=pipe, text=True
    ) as process:
        yield Peer(_line(process).strip(), process)  # It ends when its input does.


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        message = "a peer has died"
        raise ServerError(message)
    return line
