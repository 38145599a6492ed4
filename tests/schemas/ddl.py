"""The SQL that makes a planned schema on Postgres: types, tables, keys, partitions, rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from tests.schemas.names import listed, literal, quoted
from tests.schemas.plans import ORGANIZATIONS, Column, Plan, Table
from tests.schemas.triggers import rules, triggers, views
from tests.schemas.worlds import CONTACT_STATUSES, JOB_STATUSES, UNKNOWN, ContactRow, JobRow

ROLE: Final = "batch_cancel_campaign"
"""The role that row-level security holds for."""

_AGES: Final = {
    "none": "NULL",
    "past": "now() - interval '1 hour'",
    "future": "now() + interval '10 hours'",
    "old": "now() - interval '3 hours'",
    "new": "now() - interval '1 minute'",
}


def before_rows(plan: Plan) -> Iterator[str]:
    """Return what makes the tables."""
    yield f"CREATE SCHEMA {quoted(plan.schema)}"
    yield f"SET search_path = {quoted(plan.schema)}, public"
    yield "CREATE SEQUENCE rids START 100000"
    yield "CREATE TABLE audit_log (what text, rid bigint DEFAULT nextval('rids'))"
    yield from _types(plan)
    hidden = "rid bigint NOT NULL DEFAULT nextval('rids')"
    yield from _table(plan, plan.jobs, [hidden])
    owned = [hidden, "owner bigint", "origin text DEFAULT 'application'"]
    yield from _table(plan, plan.contacts, owned)


def after_rows(plan: Plan) -> Iterator[str]:
    """Return what is added once the rows are there: what would be in their way, or needs them."""
    yield from views(plan)
    yield from triggers(plan)
    yield from rules(plan)
    if plan.case["relation"].startswith("row security"):
        yield from _row_security(plan)


def late_index(plan: Plan) -> str | None:
    """Return the unique index that cannot be made over these rows, and stays invalid."""
    which, _, how = plan.case["unique by"].partition(": ")
    if how != "invalid":
        return None
    table = plan.jobs if which == "jobs" else plan.contacts
    return (
        f"CREATE UNIQUE INDEX CONCURRENTLY ON {quoted(plan.schema)}.{quoted(table.base)} "
        f"({listed(_key(table))})"
    )


def rows(plan: Plan) -> Iterator[str]:
    """Return what fills the tables."""
    for table, of in ((plan.jobs, _job_values), (plan.contacts, _contact_values)):
        each: Sequence[Mapping[str, str]] = of(plan)
        names = [name for name in each[0] if name in _HIDDEN or table.has(name)]
        columns = ", ".join(name if name in _HIDDEN else quoted(table[name]) for name in names)
        lines = ", ".join("(" + ", ".join(row[name] for name in names) + ")" for row in each)
        yield f"INSERT INTO {quoted(table.base)} ({columns}) VALUES {lines}"


_HIDDEN: Final = ("rid", "owner")


def _deleted(plan: Plan, *, is_deleted: bool) -> str:
    if plan.case["soft deletion"] == "flag":
        return "true" if is_deleted else "false"
    if plan.case["soft deletion"] == "kind":
        return "'email'" if is_deleted else "'call'"
    return "now()" if is_deleted else "NULL"


def _job_values(plan: Plan) -> list[dict[str, str]]:
    def of(job: JobRow) -> dict[str, str]:
        return {
            "rid": str(job.rid),
            "id": literal(job.id),
            "reference": literal(job.reference),
            "organization": literal(job.organization),
            "status": literal(job.raw),
            "deferred": literal(job.deferred),
            "updated": _AGES["old"],
            "version": "7",
            "deleted": _deleted(plan, is_deleted=job.is_deleted),
            "created": literal(job.created),
        }

    return [of(job) for job in plan.world.jobs]


def _contact_values(plan: Plan) -> list[dict[str, str]]:
    ignores_case = plan.case["id type"] == "citext"

    def of(contact: ContactRow) -> dict[str, str]:
        reference = contact.owner.reference
        return {
            "rid": str(contact.rid),
            "owner": str(contact.owner.rid),
            "id": literal(contact.id),
            "job": literal(reference.upper() if ignores_case and contact.rid % 2 else reference),
            "organization": literal(contact.owner.organization),
            "status": literal(contact.raw),
            "next": _AGES[contact.next_attempt],
            "updated": _AGES[contact.updated],
            "since": _AGES[contact.since],
            "version": "7",
            "deleted": _deleted(plan, is_deleted=contact.is_deleted),
            "created": literal(contact.created),
        }

    return [of(contact) for contact in plan.world.contacts]


def _types(plan: Plan) -> Iterator[str]:
    yield "CREATE DOMAIN job_name AS text CHECK (VALUE <> '')"
    yield "CREATE DOMAIN job_number AS bigint CHECK (VALUE > 0)"
    status_names = plan.world.status_names
    for kind, each in (("job", status_names.jobs), ("contact", status_names.contacts)):
        words = [word for many in each.values() for word in many]
        words += [word for word in status_names.unmapped if word not in words]
        listed_words = ", ".join(map(literal, words))
        yield f"CREATE TYPE {kind}_status AS ENUM ({listed_words})"
        yield f"CREATE DOMAIN {kind}_word AS text CHECK (VALUE IN ({listed_words}))"


def default(plan: Plan, column: Column) -> str:
    """Return what a column holds where nothing is said."""
    deleted = {"flag": " NOT NULL DEFAULT false", "kind": " DEFAULT 'call'"}
    match column.role:
        case "created":
            return " DEFAULT CURRENT_TIMESTAMP"
        case "version":
            return " DEFAULT 0"
        case "deleted":
            return deleted.get(plan.case["soft deletion"], "")
        case _:
            return ""


def _key(table: Table) -> tuple[str, ...]:
    return tuple(table[role] for role in table.key)


def _table(plan: Plan, table: Table, hidden: Iterable[str]) -> Iterator[str]:
    columns = [f"{quoted(it.name)} {it.type}{default(plan, it)}" for it in table.columns]
    partition = _partition(plan, table)
    by = f" PARTITION BY {partition[0]}" if partition else ""
    yield f"CREATE TABLE {quoted(table.base)} ({', '.join([*columns, *hidden])}){by}"
    if partition:
        for number, values in enumerate(partition[1]):
            part = f"{table.base} {number}"
            yield f"CREATE TABLE {quoted(part)} PARTITION OF {quoted(table.base)} {values}"
    yield from _uniqueness(plan, table)
    if table is plan.jobs and table.has("reference"):
        yield f"ALTER TABLE {quoted(table.base)} ADD PRIMARY KEY ({quoted(table['reference'])})"
    if table is plan.contacts:
        yield f"CREATE INDEX ON {quoted(table.base)} ({quoted(table['job'])})"


def _uniqueness(plan: Plan, table: Table) -> Iterator[str]:
    base, columns = quoted(table.base), listed(_key(table))
    nulls = " NULLS NOT DISTINCT" if plan.case["organization"] == "nullable" else ""
    which, _, how = plan.case["unique by"].partition(": ")
    if plan.case["partitions"] == "by status" and table is plan.contacts:
        columns += f", {quoted(table['status'])}"
    if how and which != ("jobs" if table is plan.jobs else "contacts"):
        which, how = "constraint", ""
    match how or which:
        case "constraint":
            kind = f"UNIQUE{nulls}" if nulls or "status" in columns else "PRIMARY KEY"
            if table.has("reference"):
                kind = f"UNIQUE{nulls}"
            yield f"ALTER TABLE {base} ADD {kind} ({columns})"
        case "index":
            yield f"CREATE UNIQUE INDEX ON {base} ({columns}){nulls}"
        case "partial":
            # Of the jobs, all but one of each pair; of the contacts, none.
            since = "2021-01-01 +00" if table is plan.jobs else "2022-06-01 +00"
            yield f"CREATE UNIQUE INDEX ON {base} ({columns}) WHERE created_at >= '{since}'"
        case "expression":
            more = ", ".join(f"({quoted(name)}::text || '')" for name in _key(table))
            yield f"CREATE UNIQUE INDEX ON {base} ({more}, created_at)"
        case "nulls distinct":
            yield f"ALTER TABLE {base} ADD UNIQUE ({columns})"
        case _:
            pass


def _partition(plan: Plan, table: Table) -> tuple[str, list[str]] | None:
    if table is plan.jobs and (table.has("reference") or plan.case["partitions"] == "by status"):
        return None
    column = "job" if "job" in table.key else "created" if "created" in table.key else "id"
    some: Callable[[int], str] = plan.world.ids.job if table is plan.jobs else _contact_id(plan)  # type: ignore[assignment]
    middle = literal(
        "2022-01-01 00:03:00+00"
        if column == "created"
        else plan.world.jobs[5].reference
        if column == "job"
        else some(5, 0)  # type: ignore[call-arg]
    )
    match plan.case["partitions"]:
        case "hash":
            values = [f"FOR VALUES WITH (MODULUS 2, REMAINDER {n})" for n in range(2)]
            return f"HASH ({quoted(table[column])})", values
        case "range":
            values = [f"FOR VALUES FROM (MINVALUE) TO ({middle})"]
            values += [f"FOR VALUES FROM ({middle}) TO (MAXVALUE)"]
            return f"RANGE ({quoted(table[column])})", values
        case "list":
            if "organization" in table.key:
                column = "organization"
                middle = literal(ORGANIZATIONS[plan.case["organization"]][0])
            return f"LIST ({quoted(table[column])})", [f"FOR VALUES IN ({middle})", "DEFAULT"]
        case "by status":
            # Two of a status that a claim takes it from and to.
            words = plan.world.status_names.contacts["dialing"]
            values = [f"FOR VALUES IN ({', '.join(map(literal, words))})", "DEFAULT"]
            return f"LIST ({quoted(table['status'])})", values
        case _:
            return None


def _contact_id(plan: Plan) -> Callable[[int, int], str]:
    return lambda number, _: plan.world.ids.contact(number * 20, number, 0)


def _row_security(plan: Plan) -> Iterator[str]:
    name = quoted(plan.schema)
    yield f"GRANT USAGE ON SCHEMA {name} TO {ROLE}"
    yield f"GRANT ALL ON ALL TABLES IN SCHEMA {name} TO {ROLE}"
    yield f"GRANT ALL ON ALL SEQUENCES IN SCHEMA {name} TO {ROLE}"
    for table in (plan.jobs, plan.contacts):
        base = quoted(table.base)
        yield f"ALTER TABLE {base} ENABLE ROW LEVEL SECURITY"
        if plan.case["relation"] == "row security":
            yield f"CREATE POLICY everything ON {base} USING (true)"
            continue
        yield f"CREATE POLICY see ON {base} FOR SELECT USING (true)"
        yield f"CREATE POLICY add ON {base} FOR INSERT WITH CHECK (true)"
        which = "rid % 2 = 0" if table is plan.contacts else "true"
        yield f"CREATE POLICY change ON {base} FOR UPDATE USING ({which}) WITH CHECK (true)"


STATUSES: Final = (*JOB_STATUSES, *CONTACT_STATUSES, UNKNOWN)
