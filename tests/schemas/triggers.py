"""The adopter's own triggers, rules and views, harmless ones and others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tests.schemas.names import listed, literal, quoted
from tests.schemas.plans import Plan, Table


def triggers(plan: Plan) -> Iterator[str]:
    """Return what makes the triggers of a case."""
    match plan.case["trigger"]:
        case "none":
            return
        case "touch":
            for number, table in enumerate((plan.jobs, plan.contacts)):
                column = quoted(table["updated"])
                body = f"NEW.{column} := clock_timestamp(); RETURN NEW;"
                yield _function(f"touch{number}", body)
                yield _trigger(table.base, "BEFORE UPDATE", f"touch{number}")
        case "audit":
            yield _function("audit", "INSERT INTO audit_log VALUES (TG_OP); RETURN NULL;")
            for table in (plan.jobs, plan.contacts):
                yield _trigger(table.base, "AFTER INSERT OR UPDATE", "audit")
        case named:
            yield from _hostile(plan, *named.split(" "))


def rules(plan: Plan) -> Iterator[str]:
    """Return what makes the rule of a case."""
    match plan.case["rule"]:
        case "jobs":
            yield f"CREATE RULE r AS ON UPDATE TO {quoted(plan.jobs.base)} DO INSTEAD NOTHING"
        case "contacts":
            yield f"CREATE RULE r AS ON UPDATE TO {quoted(plan.contacts.base)} DO INSTEAD NOTHING"
        case "cancellations":
            ours = quoted(plan.cancellations)
            yield f"CREATE RULE r AS ON INSERT TO {ours} DO INSTEAD NOTHING"
        case "also":
            contacts = quoted(plan.contacts.base)
            log = "INSERT INTO audit_log VALUES ('also')"
            yield f"CREATE RULE r AS ON UPDATE TO {contacts} DO ALSO {log}"
        case _:
            return


def views(plan: Plan) -> Iterator[str]:
    """Return what makes the views or the foreign tables of a case."""
    relation = plan.case["relation"]
    for number, table in enumerate((plan.jobs, plan.contacts)):
        if relation == "foreign":
            yield _foreign(plan, table)
        if not relation.startswith("view"):
            continue
        word = (
            plan.world.status_names.jobs
            if table is plan.jobs
            else plan.world.status_names.contacts
        )
        hides = ""
        if relation == "view that hides cancelled rows":
            words = ", ".join(map(literal, word["cancelled"]))
            hides = f" WHERE {quoted(table['status'])} NOT IN ({words})"
        yield f"CREATE VIEW {quoted(table.name)} AS SELECT * FROM {quoted(table.base)}{hides}"
        if relation.startswith("view, instead of"):
            yield from _instead(table, number, is_done=relation == "view, instead of")


def _instead(table: Table, number: int, *, is_done: bool) -> Iterator[str]:
    base = quoted(table.base)
    values = ", ".join(f"{quoted(it.name)} = NEW.{quoted(it.name)}" for it in table.columns)
    update = f"UPDATE {base} SET {values} WHERE rid = OLD.rid;"
    names = tuple(it.name for it in table.columns if it.role != "created")
    new = ", ".join(f"NEW.{quoted(name)}" for name in names)
    insert = f"INSERT INTO {base} ({listed(names)}) VALUES ({new});"
    done = f"IF TG_OP = 'UPDATE' THEN {update} ELSE {insert} END IF;" if is_done else ""
    yield _function(f"instead{number}", f"{done} RETURN NEW;")
    yield _trigger(table.name, "INSTEAD OF INSERT OR UPDATE", f"instead{number}")


def _foreign(plan: Plan, table: Table) -> str:
    columns = ", ".join(
        f"{quoted(it.name)} {it.type}" for it in table.columns if it.role != "created"
    )
    options = f"schema_name {literal(plan.schema)}, table_name {literal(table.base)}"
    name = quoted(table.name)
    return f"CREATE FOREIGN TABLE {name} ({columns}) SERVER loopback OPTIONS ({options})"


def _function(name: str, body: str) -> str:
    return (
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT "
        f"AS $body$ BEGIN {body} END $body$"
    )


def _trigger(table: str, event: str, function: str) -> str:
    return (
        f"CREATE TRIGGER own_{function} {event} ON {quoted(table)} FOR EACH ROW "
        f"EXECUTE FUNCTION {function}()"
    )


def _hostile(plan: Plan, table: str, action: str, timing: str) -> Iterator[str]:
    base = {
        "jobs": plan.jobs.base,
        "contacts": plan.contacts.base,
        "cancellations": plan.cancellations,
    }[table]
    event = "UPDATE" if table == "jobs" or action in {"restore", "add"} else "INSERT OR UPDATE"
    if table == "cancellations":
        event = "INSERT OR UPDATE"
    yield _function("hostile", _body(plan, table, action, timing))
    if timing == "deferred":
        yield (
            f"CREATE CONSTRAINT TRIGGER hostile AFTER {event} ON {quoted(base)} "
            f"DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hostile()"
        )
    else:
        yield _trigger(base, f"{timing.upper()} {event}", "hostile")


def _body(plan: Plan, table: str, action: str, timing: str) -> str:
    end = "RETURN NEW;" if timing == "before" else "RETURN NULL;"
    match action:
        case "swallow" if table == "contacts":
            return f"IF NEW.rid % 2 = 0 OR TG_OP = 'INSERT' THEN RETURN NULL; END IF; {end}"
        case "swallow":
            return "RETURN NULL;"
        case "reject":
            return "RAISE EXCEPTION 'no';"
        case "add":
            return f"{_add(plan, table)} {end}"
        case _ if table == "cancellations":
            return f"{_spoil_record(plan, action, timing)} {end}"
        case _:
            of = plan.jobs if table == "jobs" else plan.contacts
            return f"{_spoil_status(of, action, timing)} {end}"


def _spoil_status(table: Table, action: str, timing: str) -> str:
    status = quoted(table["status"])
    value = f"OLD.{status}" if action == "restore" else f"initcap(NEW.{status}::text)"
    if timing == "before":
        return f"NEW.{status} := {value};"
    update = f"UPDATE {quoted(table.base)} SET {status} = {value} WHERE rid = NEW.rid;"
    # Once a row and transaction: deferred, its own update would call it again without end.
    setting = "'own.row' || NEW.rid"
    note = f"PERFORM set_config({setting}, txid_current()::text, true);"
    is_new = f"current_setting({setting}, true) IS DISTINCT FROM txid_current()::text"
    return f"IF {is_new} THEN {note} {update} END IF;"


def _spoil_record(plan: Plan, action: str, timing: str) -> str:
    if timing == "before":
        value = "'restored'" if action == "restore" else "initcap(NEW.operation_id)"
        return f"NEW.operation_id := {value};"
    ours = quoted(plan.cancellations)
    is_it = (
        "organization_id = NEW.organization_id AND batch_job_id = NEW.batch_job_id "
        "AND operation_id = NEW.operation_id"
    )
    spoil = f"UPDATE {ours} SET operation_id = initcap(operation_id) WHERE {is_it};"
    if action == "restore":
        spoil = f"DELETE FROM {ours} WHERE {is_it};"
    return f"IF NEW.operation_id <> initcap(NEW.operation_id) THEN {spoil} END IF;"


def _add(plan: Plan, table: str) -> str:
    """Return what adds a contact to the job, as a careless application would."""
    contacts, jobs = plan.contacts, plan.jobs
    new_id = {
        "uuid": "gen_random_uuid()",
        "bigint": "800000 + nextval('rids')",
        "text": "'added-' || nextval('rids')",
    }[next(it.type for it in contacts.columns if it.role == "id")]
    of_job: Mapping[str, str] = {
        "job": f"it.{quoted(jobs['reference' if jobs.has('reference') else 'id'])}",
        "organization": f"it.{quoted(jobs['organization'])}" if jobs.has("organization") else "",
        "owner": "it.rid",
    }
    of_contact: Mapping[str, str] = {
        "job": f"it.{quoted(contacts['job'])}",
        "organization": (
            f"it.{quoted(contacts['organization'])}" if contacts.has("organization") else ""
        ),
        "owner": "it.owner",
    }
    values = of_contact if table == "contacts" else of_job
    roles = [role for role in ("job", "organization") if contacts.has(role)]
    names = (contacts["id"], contacts["status"], *(contacts[role] for role in roles))
    status_type = next(it.type for it in contacts.columns if it.role == "status")
    pending = literal(plan.world.status_names.contacts["pending"][0]) + f"::{status_type}"
    chosen = ", ".join([new_id, pending, *(values[role] for role in roles), values["owner"]])
    source = "(SELECT NEW.*) AS it"
    if table == "cancellations":
        organization = f"coalesce({of_job['organization'] or 'NULL'}::text, '')"
        source = (
            f"{quoted(jobs.base)} AS it WHERE it.{quoted(jobs['id'])}::text = NEW.batch_job_id "
            f"AND {organization if plan.asked_organization else literal('')} = NEW.organization_id"
        )
    insert = (
        f"INSERT INTO {quoted(contacts.base)} ({listed(names)}, owner, origin) "
        f"SELECT {chosen}, 'trigger' FROM {source};"
    )
    return f"IF pg_trigger_depth() = 1 THEN {insert} END IF;"
