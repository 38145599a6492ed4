"""What the tests of the fault table share: a cancel, its state, and trouble behind its back."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import psycopg
from psycopg import sql

from batch_cancel import CancelFailed, JobKey
from tests.faults.expected import FULLY_CANCELLED, NOTHING_CHANGED, state_of
from tests.faults.injection import Plan
from tests.faults.scenarios import OURS, SCENARIOS, described
from tests.faults.setups import Stage
from tests.pairs import PostgresTables

if TYPE_CHECKING:
    from tests.faults.cut_connections import Line

SCHEDULED = SCENARIOS[0]
FOR_EVER = 1_000_000
SHORT = timedelta(milliseconds=60)
PATIENT = timedelta(seconds=30)
BUDGET = timedelta(milliseconds=250)


def play(stage: Stage, plan: Plan | None = None) -> object:
    """Cancel the job."""
    return stage.play(SCHEDULED, plan or Plan(), lambda: None)


def state(stage: Stage) -> str:
    """Return which of the two states it is, or what is wrong with it."""
    assert stage.before is not None
    return state_of(SCHEDULED, stage.before, stage.look(), JobKey(stage.job_id))


def assert_unchanged(stage: Stage, answer: object, *, retryable: bool) -> None:
    """Check that it failed, that nothing was changed, and that this is known."""
    assert isinstance(answer, CancelFailed), answer
    assert (answer.outcome, answer.retryable) == ("unchanged", retryable)
    assert (answer.http_status, answer.detail) == (500, "Failed to cancel batch job")
    assert state(stage) == NOTHING_CHANGED


def assert_retried(stage: Stage, replayed: str = "") -> None:
    """Check that the same operation, once the trouble is over, does it all or finds it done."""
    assert described(stage.cancel()) == f"200{replayed} removed"
    stage.reconcile()
    assert state(stage) == FULLY_CANCELLED
    assert stage.start_id not in stage.look().waiting
    assert stage.told == [OURS]


def tables_of(stage: Stage) -> PostgresTables:
    """Return the store, with a connection to look at it behind the library's back."""
    return cast("PostgresTables", stage.world.store)


def dsn_of(stage: Stage) -> str:
    """Return the way to the store, not through the proxy."""
    return tables_of(stage).connection.info.dsn


def execute(stage: Stage, statement: str, **names: object) -> Any:
    """Run a statement behind the library's back."""
    quoted = {name: sql.Literal(value) for name, value in names.items()}
    cursor = tables_of(stage).connection.execute(sql.SQL(cast("Any", statement)).format(**quoted))
    return cursor.fetchone() if cursor.description else None


def trouble(
    stage: Stage, what: str, times: int, table: str = "batch_jobs", **names: object
) -> None:
    """Let the first so many updates of a job, or a contact, meet with this, as a trigger."""
    execute(
        stage,
        "DROP SEQUENCE IF EXISTS tries; CREATE SEQUENCE tries; "
        "CREATE OR REPLACE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF nextval('tries') <= {times} THEN " + what + "; END IF; RETURN NEW; END $$; "
        "CREATE OR REPLACE TRIGGER trouble BEFORE UPDATE ON " + table + " "
        "FOR EACH ROW EXECUTE FUNCTION trouble()",
        times=times,
        **names,
    )


def no_more_trouble(stage: Stage) -> int:
    """Take the trigger away, and give how often it was met."""
    (met,) = execute(stage, "SELECT last_value FROM tries")
    execute(stage, "DROP FUNCTION trouble CASCADE")
    return int(met)


def raising(state: str) -> str:
    """Return the trouble that is an error of this SQLSTATE."""
    return f"RAISE EXCEPTION 'injected' USING ERRCODE = '{state}'"


def impatient(line: Line, **limits: timedelta) -> None:
    """Return the store other limits of time."""
    uow = line.stage.world.store.uow
    kind = type(uow)
    line.stage.world.store.uow = kind(uow._connect, **limits)


def waiting_for_a_lock(connection: psycopg.Connection[Any]) -> int:
    """Count those who wait for a lock."""
    row = connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
    assert row is not None
    return int(row[0])
