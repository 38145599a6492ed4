"""Note what was done since the commits of cancellations, in one statement for many of them."""

from __future__ import annotations

import attrs
from psycopg import sql

from batch_cancel.adapters.postgres.bulk_queries import bulk_queries_for
from batch_cancel.adapters.postgres.queries import Queries
from batch_cancel.adapters.postgres.rows import Parameters, recorded, records_given
from batch_cancel.domain.job import CancellationRecord


@attrs.frozen
class Notes:
    """Notes that are not sent yet, each of another job."""

    _records: dict[tuple[str, str], CancellationRecord] = attrs.field(
        factory=dict[tuple[str, str], CancellationRecord], init=False
    )

    def add(self, record: CancellationRecord) -> bool:
        """Add the progress in a record; return False if there is a note of its job."""
        key = (record.key.organization_id or "", record.key.batch_job_id)
        return self._records.setdefault(key, record) is record

    def statement(self, queries: Queries, *, is_joined: bool) -> tuple[sql.SQL, Parameters]:
        """
        Return the statement that notes all of them, and its parameters.

        Arguments:
            queries: the statements of the schema.
            is_joined: whether the transaction is the caller's, which stays as durable as it is.
        """
        records = list(self._records.values())
        if len(records) == 1:
            one, in_own = queries.mark_cancellation_done, queries.mark_cancellation_done_in_own
            return one if is_joined else in_own, recorded(records[0])
        many = bulk_queries_for(queries)
        together, in_own = many.mark_cancellations_done, many.mark_cancellations_done_in_own
        return together if is_joined else in_own, {"records": records_given(records)}
