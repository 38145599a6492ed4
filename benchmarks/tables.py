"""
The tables, and what fills them.

Rule 1: every job is cancelled once. A job that was reset would have dead rows, and a slower twin.
Rule 2: after rows were added, they are vacuumed and analyzed, as autovacuum would have done by
        then, and a checkpoint writes them out, so that none of it falls into a run.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Final

import attrs
import psycopg

from batch_cancel.adapters.postgres.sql_parts import trusted
from batch_cancel.adapters.sql_files import sql_text

_PACKAGE: Final = "batch_cancel.adapters.postgres"
_CONTACTS_OF_OTHERS: Final = 1_000
_PAIRS_IN_A_PIECE: Final = 5_000


@attrs.define
class Tables:
    """
    The reference tables, with the indexes that `batch-cancel schema --reference` prints.

    Arguments:
        connection: of a superuser, in autocommit.
    """

    connection: psycopg.Connection[Any]
    _numbers: Iterator[int] = attrs.field(factory=itertools.count, init=False)

    def create(self, other_contacts: int) -> None:
        """Create the tables, with other jobs in them, half of whose contacts are open."""
        for file in ("reference_tables.sql", "tables.sql"):
            self.connection.execute(trusted(sql_text(_PACKAGE, file)))
        # Each of millions of references would be checked by itself.
        self.connection.execute("SET session_replication_role = replica")
        self.seed(other_contacts // _CONTACTS_OF_OTHERS, _CONTACTS_OF_OTHERS)
        self.connection.execute("VACUUM ANALYZE batch_jobs, batch_contacts, batch_cancellations")

    def seed(
        self, jobs: int, contacts: int, status: str = "running", *, open_only: bool = False
    ) -> list[str]:
        """
        Add jobs; return their ids.

        Arguments:
            jobs: how many jobs.
            contacts: how many contacts each has.
            status: of the jobs; the start of a scheduled one is named as `start_of` says.
            open_only: whether all contacts are open; otherwise half of them are completed.
        """
        names = [f"job-{next(self._numbers)}" for _ in range(jobs)]
        with self.connection.cursor().copy(
            "COPY batch_jobs (id, status, scheduled_job_id) FROM STDIN"
        ) as copy:
            for name in names:
                start = start_of(name) if status == "scheduled" else None
                copy.write_row((name, status, start))
        with self.connection.cursor().copy(
            "COPY batch_contacts (batch_job_id, status) FROM STDIN"
        ) as copy:
            for name in names:
                _write_contacts(copy, name, contacts, "pending" if open_only else "completed")
        if contacts:
            # The indexes are left as they are: to clean them takes longer than all the rest.
            self.connection.execute(
                "VACUUM (ANALYZE, INDEX_CLEANUP OFF) batch_contacts, batch_jobs"
            )
        self.connection.execute("CHECKPOINT")
        return names

    def vacuum(self) -> None:
        """Clean the indexes as well, which `seed` does not: very large jobs reuse much space."""
        self.connection.execute("VACUUM ANALYZE batch_contacts")
        self.connection.execute("CHECKPOINT")

    def seed_calls(self, job: str, number: int) -> list[str]:
        """Add live calls to a job; return the ids of their contacts."""
        added = self.connection.execute(
            "INSERT INTO batch_contacts (batch_job_id, status) "
            "SELECT %s, 'dialing' FROM generate_series(1, %s) RETURNING id::text",
            (job, number),
        )
        return [row[0] for row in added.fetchall()]

    def seed_pending_removals(self, number: int) -> list[str]:
        """Add cancelled jobs whose deferred starts are still to be removed; return their ids."""
        names = self.seed(number, 0, "scheduled")
        self.connection.execute(
            "UPDATE batch_jobs SET status = 'cancelled' WHERE id = ANY (%s)", (names,)
        )
        self.connection.execute(
            "INSERT INTO batch_cancellations (organization_id, batch_job_id, operation_id, "
            "previous_status, contacts_cancelled, cancelled_at, deferred_id, removal, "
            "is_announced, taken_at) SELECT '', id, 'of ' || id, 'scheduled', 0, now(), "
            "scheduled_job_id, 'pending', true, now() - interval '1 hour' "
            "FROM batch_jobs WHERE id = ANY (%s)",
            (names,),
        )
        self.connection.execute("VACUUM ANALYZE batch_cancellations")
        return names

    def check_cancelled(self, jobs: Sequence[str]) -> None:
        """
        Check that no contact of these jobs is open: what does nothing is fast.

        Raises:
            RuntimeError: some are.
        """
        # By the partial index, as its condition is in the query.
        left = self.connection.execute(
            "SELECT count(*) FROM batch_contacts WHERE batch_job_id = ANY (%s) "
            "AND status IN ('pending', 'queued', 'no_answer', 'busy', 'timeout')",
            (list(jobs),),
        ).fetchone()
        if left != (0,):
            msg = f"contacts are left open: {left}"
            raise RuntimeError(msg)


def start_of(job: str) -> str:
    """Return the id of a job's deferred start."""
    return f"start of {job}"


def _write_contacts(copy: psycopg.Copy, job: str, contacts: int, every_other: str) -> None:
    pair = f"{job}\tpending\n{job}\t{every_other}\n"
    for written in range(0, contacts // 2, _PAIRS_IN_A_PIECE):
        copy.write(pair * min(_PAIRS_IN_A_PIECE, contacts // 2 - written))
    if contacts % 2:
        copy.write(f"{job}\tpending\n")
