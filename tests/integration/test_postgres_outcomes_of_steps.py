"""Triggers and rules that undo, skip or change what a worker's step writes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from batch_cancel import (
    BatchCancelError,
    ContactStatus,
    JobNotFound,
    append_contacts,
    append_contacts_async,
    cancel_rows_async,
    claim_contacts_async,
    expire_calls_async,
    finish_job_async,
    settle_contact_async,
    start_job_async,
)
from batch_cancel.adapters.postgres import (
    AsyncPostgresUnitOfWork,
    joining_async,
)
from tests.integration.undoing_triggers import (
    CAPITALS,
    KEEP,
    RESTORE_CONTACT,
    RESTORE_JOB,
    SOON,
    STEPS,
    SWALLOW,
    Caller,
    Database,
    carried_out,
    database,
)

__all__ = ["carried_out", "database"]


UNDOING_A_STEP = {
    "not changed": (SWALLOW, "BEFORE"),
    "kept": (KEEP, "BEFORE"),
    "capitalised": (CAPITALS, "BEFORE"),
    "set back": ("{restore}", "AFTER"),
    "set back in the commit": ("{restore}", "DEFERRED"),
}


@pytest.mark.parametrize("kind", UNDOING_A_STEP)
@pytest.mark.parametrize("name", STEPS)
def test_a_step_that_a_trigger_undoes_changes_nothing(
    database: Database, carried_out: Caller, kind: str, name: str
) -> None:
    """No contact is given out, and no answer given, that the tables do not bear out."""
    is_of_a_job = name in {"start", "finish"}
    body, when = UNDOING_A_STEP[kind]
    restore = RESTORE_JOB if is_of_a_job else RESTORE_CONTACT
    if name == "append" and kind != "capitalised":
        body, restore = (
            "RETURN NULL;",
            "DELETE FROM batch_contacts WHERE id = NEW.id; RETURN NULL;",
        )
        body = restore if when != "BEFORE" else body
    database.trigger(
        body.format(restore=restore), when, "batch_jobs" if is_of_a_job else "batch_contacts"
    )
    before = database.dump()
    with pytest.raises(BatchCancelError, match="trigger"):
        carried_out(STEPS[name](database))
    assert database.dump() == before


ASYNC_STEPS: dict[str, Callable[[Database], Callable[[Any], Awaitable[Any]]]] = {
    "cancel": lambda _: lambda uow: cancel_rows_async("live", uow=uow),
    "start": lambda _: lambda uow: start_job_async("later", uow=uow),
    "finish": lambda _: lambda uow: finish_job_async("done", uow=uow),
    "claim": lambda _: lambda uow: claim_contacts_async("live", uow=uow, limit=5),
    "settle": lambda it: (
        lambda uow: settle_contact_async(
            "live", it.contact("live", "dialing"), ContactStatus.BUSY, uow=uow
        )
    ),
    "append": lambda _: lambda uow: append_contacts_async("live", [{}, {}], uow=uow),
    "expire": lambda _: lambda uow: expire_calls_async("live", SOON, uow=uow),
}


@pytest.mark.parametrize("is_joined", [False, True], ids=["own", "joined"])
@pytest.mark.parametrize("name", ASYNC_STEPS)
def test_a_step_in_asyncio_that_a_late_trigger_undoes_changes_nothing(
    database: Database, name: str, *, is_joined: bool
) -> None:
    """It runs before what was written is looked at, there as well."""
    body = RESTORE_JOB if name in {"start", "finish"} else RESTORE_CONTACT
    if name == "append":
        body = "DELETE FROM batch_contacts WHERE id = NEW.id; RETURN NULL;"
    table = "batch_jobs" if name in {"start", "finish"} else "batch_contacts"
    database.trigger(body, "DEFERRED", table)
    before = database.dump()
    step = ASYNC_STEPS[name](database)

    async def main() -> None:
        if not is_joined:
            await step(AsyncPostgresUnitOfWork(lambda: _connected(database)))
            return
        async with await _connected(database) as connection:
            await step(joining_async(connection))

    with pytest.raises(BatchCancelError, match="trigger"):
        asyncio.run(main())
    assert database.dump() == before


async def _connected(database: Database) -> psycopg.AsyncConnection[Any]:
    return await psycopg.AsyncConnection.connect(database.dsn)


@pytest.mark.parametrize("name", [it for it in STEPS if it != "append"])
def test_a_step_that_a_rule_undoes_changes_nothing(
    database: Database, carried_out: Caller, name: str
) -> None:
    """Postgres says of some that it can't be; the others are looked at."""
    table = "batch_jobs" if name in {"start", "finish"} else "batch_contacts"
    step = STEPS[name](database)
    database.execute(f"CREATE RULE theirs AS ON UPDATE TO {table} DO INSTEAD NOTHING")
    before = database.dump()
    with pytest.raises(BatchCancelError, match="rule"):
        carried_out(step)
    assert database.dump() == before


@pytest.mark.parametrize("logged", ["0", "-1"], ids=["", "parameters are logged"])
@pytest.mark.parametrize("name", STEPS)
def test_a_value_that_a_trigger_refuses_is_no_unknown_id(
    database: Database, carried_out: Caller, name: str, logged: str
) -> None:
    """The job is there: an answer as if it were not would lose what a worker has to tell."""
    table = "batch_jobs" if name in {"start", "finish"} else "batch_contacts"
    step = STEPS[name](database)
    database.execute("CREATE TABLE counters (number smallint)", "INSERT INTO counters VALUES (1)")
    database.trigger(
        "EXECUTE 'UPDATE counters SET number = 40000 + $1' USING 1; RETURN NULL;", "AFTER", table
    )
    database.dsn = make_conninfo(
        database.dsn,
        options=f"{conninfo_to_dict(database.dsn)['options']} "
        f"-clog_parameter_max_length_on_error={logged}",
    )
    before = database.dump()
    with pytest.raises(BatchCancelError) as failure:
        carried_out(step)
    assert not isinstance(failure.value, JobNotFound)
    assert database.dump() == before


def test_a_contact_that_a_trigger_ends_at_once_is_added(
    database: Database, carried_out: Caller
) -> None:
    """A list of numbers that must not be called, for example: no call of it ever starts."""
    database.trigger(
        "IF TG_OP = 'INSERT' THEN NEW.status := 'blocked'; END IF; RETURN NEW;",
        "BEFORE",
        "batch_contacts",
    )
    assert carried_out(lambda uow: append_contacts("live", [{}], uow=uow)) == 1
    assert database.contact("live", "blocked")
