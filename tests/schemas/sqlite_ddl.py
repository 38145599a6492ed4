"""The SQL that makes tables on SQLite, their rows, and the adopter's own triggers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs

from tests.schemas import ddl
from tests.schemas.names import listed, literal, quoted
from tests.schemas.plans import Plan

_TYPES = {"timestamptz": "DATETIME", "boolean": "BOOLEAN", "smallint": "SMALLINT"}


@attrs.frozen
class Target:
    """
    A table that a trigger is on.

    Arguments:
        name: of the table.
        status: its column of the status, or of the operation.
        is_it: the condition that a row is the one that was just changed.
        some: the condition of the rows whose change is swallowed.
    """

    name: str
    status: str
    is_it: str
    some: str = "true"


def tables(plan: Plan) -> Iterator[str]:
    """Return what makes the tables."""
    yield "CREATE TABLE audit_log (rid INTEGER PRIMARY KEY, what TEXT)"
    for table in (plan.jobs, plan.contacts):
        columns = ["rid INTEGER PRIMARY KEY"]
        if table is plan.contacts:
            columns += ["owner INTEGER", "origin TEXT DEFAULT 'application'"]
        columns += [
            f"{quoted(it.name)} {_TYPES.get(it.type, it.type)}{ddl.default(plan, it)}"
            for it in table.columns
        ]
        key = listed(tuple(table[role] for role in table.key))
        which, _, how = plan.case["unique by"].partition(": ")
        is_spoilt = how and which == ("jobs" if table is plan.jobs else "contacts")
        if not is_spoilt and plan.case["unique by"] != "index":
            columns.append(f"UNIQUE ({key})")
        if table.has("reference"):
            columns.append(f"UNIQUE ({quoted(table['reference'])})")
        yield f"CREATE TABLE {quoted(table.base)} ({', '.join(columns)})"
        if not is_spoilt and plan.case["unique by"] == "index":
            name = quoted(f"one {table.base}")
            yield f"CREATE UNIQUE INDEX {name} ON {quoted(table.base)} ({key})"
        if how == "partial" and is_spoilt:
            some = "created_at >= '2022-06-01'"
            yield f"CREATE UNIQUE INDEX some ON {quoted(table.base)} ({key}) WHERE {some}"


def rows(plan: Plan) -> Iterator[str]:
    """Return what fills the tables."""
    for statement in ddl.rows(plan):
        text = statement.replace("+00'", "'").replace("now() - interval", "NOW -")
        for words in ("1 hour", "3 hours", "1 minute"):
            text = text.replace(f"NOW - '{words}'", _ago(f"-{words}"))
        text = text.replace("now() + interval '10 hours'", _ago("+10 hours"))
        yield text.replace("now()", _ago("-0 hours"))


def _ago(offset: str) -> str:
    return f"strftime('%Y-%m-%d %H:%M:%S.000000', 'now', '{offset}')"


def triggers(plan: Plan) -> Iterator[str]:
    """Return what makes the trigger of a case."""
    jobs = Target(plan.jobs.base, plan.jobs["status"], "rid = NEW.rid")
    contacts = Target(
        plan.contacts.base, plan.contacts["status"], "rid = NEW.rid", "NEW.rid % 2 = 0"
    )
    named = plan.case["trigger"]
    if named == "touch":
        for target, table in ((jobs, plan.jobs), (contacts, plan.contacts)):
            set_it = f"{quoted(table['updated'])} = {_ago('-0 hours')}"
            update = f"UPDATE {quoted(target.name)} SET {set_it} WHERE {target.is_it}"
            yield _trigger(target, f"AFTER UPDATE OF {quoted(target.status)}", update, "touch")
    elif named == "audit":
        for target in (jobs, contacts):
            yield log_each(target)
    elif named != "none":
        on, action, timing = named.split(" ")
        ours = Target(plan.cancellations, "operation_id", OUR_ROW)
        target = {"jobs": jobs, "contacts": contacts, "cancellations": ours}[on]
        yield hostile(target, on, action, timing, _add(plan, on))


OUR_ROW = (
    "batch_job_id = NEW.batch_job_id AND organization_id IS NEW.organization_id "
    "AND operation_id = NEW.operation_id"
)
"""The condition that a record is the one that was just written."""


def hostile(target: Target, table: str, action: str, timing: str, add: str) -> str:
    """
    Return what makes a trigger that spoils a write.

    Arguments:
        target: the table it is on.
        table: jobs, contacts or cancellations.
        action: what it does.
        timing: before or after.
        add: the statement that adds a contact to the job.
    """
    name, status = quoted(target.name), quoted(target.status)
    event = "INSERT" if table == "cancellations" else "UPDATE"
    when = f" WHEN {target.some}" if action == "swallow" else ""
    match action:
        case "swallow":
            body = "SELECT RAISE(IGNORE)"
        case "reject":
            body = "SELECT RAISE(ABORT, 'no')"
        case "add":
            body = add
        case "restore" if table == "cancellations":
            body = f"DELETE FROM {name} WHERE {target.is_it}"
        case "restore":
            body = f"UPDATE {name} SET {status} = OLD.{status} WHERE {target.is_it}"
        case _:
            body = f"UPDATE {name} SET {status} = upper({status}) || '!' WHERE {target.is_it}"
    return _trigger(target, f"{timing.upper()} {event}", body, "hostile", when)


def log_each(target: Target) -> str:
    """Return what makes a harmless trigger."""
    insert = "INSERT INTO audit_log (what) VALUES ('changed')"
    return _trigger(target, "AFTER UPDATE", insert, "audit")


def _trigger(target: Target, event: str, body: str, name: str, when: str = "") -> str:
    trigger = quoted(f"{name} {target.name}")
    return f"CREATE TRIGGER {trigger} {event} ON {quoted(target.name)}{when} BEGIN {body}; END"


def _add(plan: Plan, table: str) -> str:
    contacts, jobs = plan.contacts, plan.jobs
    job: Mapping[str, str] = {
        "job": quoted(jobs["reference" if jobs.has("reference") else "id"]),
        "organization": quoted(jobs["organization"]) if jobs.has("organization") else "",
    }
    roles = [role for role in ("job", "organization") if contacts.has(role)]
    names = (contacts["id"], contacts["status"], *(contacts[role] for role in roles))
    pending = literal(plan.world.status_names.contacts["pending"][0])
    which = "rid = NEW.rid"
    if table == "contacts":
        which = "rid = NEW.owner"
    if table == "cancellations":
        which = f"CAST({quoted(jobs['id'])} AS TEXT) = NEW.batch_job_id"
        if plan.asked_organization:
            which += f" AND {job['organization']} = NEW.organization_id"
    chosen = ", ".join(["abs(random() % 1000000000)", pending, *(job[role] for role in roles)])
    return (
        f"INSERT INTO {quoted(contacts.base)} ({listed(names)}, owner, origin) "
        f"SELECT {chosen}, rid, 'trigger' FROM {quoted(jobs.base)} WHERE {which}"
    )
