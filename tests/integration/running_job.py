"""Tables of the adopter with one running job of two contacts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.own_tables import Tables, tables
from tests.servers import PostgresServer


@pytest.fixture
def made(postgres_server: PostgresServer) -> Iterator[Tables]:
    """Yield tables with one running job of two contacts."""
    with postgres_server.schema() as dsn, tables(dsn) as made:
        made.add_job("job", "running", {"ann": "pending", "bob": "completed"})
        yield made


def is_cancelled(made: Tables) -> bool:
    """Check whether the job is cancelled; it is so fully, or not at all."""
    state = (made.status("job"), made.contacts("job"), len(made.records()))
    if state == ("running", {"ann": "pending", "bob": "completed"}, 0):
        return False
    assert state == ("cancelled", {"ann": "cancelled", "bob": "completed"}, 1)
    return True


def restore(made: Tables) -> None:
    """Make the job run again, with no history."""
    made.rows("DELETE FROM batch_cancellations")
    made.rows("UPDATE batch_jobs SET status = 'running'")
    made.rows("UPDATE batch_contacts SET status = 'pending' WHERE label = 'ann'")


TIMEOUTS = (
    "SELECT current_setting('lock_timeout'), current_setting('statement_timeout'), "
    "current_setting('idle_in_transaction_session_timeout')"
)
