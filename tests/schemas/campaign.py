"""One case after the other: make it, call every step on it, judge each by the dumps."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.schemas.dimensions import Case
from tests.schemas.outcomes import Outcome, run_programme
from tests.schemas.plans import Plan, plan
from tests.schemas.postgres import Databases, Dumper, PostgresStore, furnished
from tests.schemas.programme import Programme, knowledge
from tests.schemas.steps import Performer, Starts


def run_postgres(case: Case, databases: Databases, runner: asyncio.Runner) -> Outcome:
    """Try one case with the adapter for psycopg."""
    outcome = Outcome(case, "postgres")
    made = plan(case, f"case{case.index}")
    dsn, admin = databases.of(case["encoding"])
    outcome.story.append(f"mapping: {made.mapping}")
    with furnished(made, admin) as said:
        outcome.story[:0] = said
        try:
            store = PostgresStore(made, dsn)
        except (TypeError, ValueError) as error:
            outcome.refusals.append(("mapping", f"{type(error).__name__}: {error}"))
            return outcome
        starts = Starts({job.deferred for job in made.world.jobs})
        if case["deferred id"] != "mapped":
            starts.waiting |= {job.id for job in made.world.jobs}
        programme = Programme(
            case,
            made.world,
            target=made.target,
            asked=made.asked_organization,
            stranger=stranger(case),
            new_contact=lambda number: new_contact(made, number),
        )
        known = knowledge(
            case,
            made.world,
            unmapped=case["organization"] == "unmapped",
            organization_of_contacts=case["contact organization"] == "mapped",
        )
        dumper = Dumper(made, admin)
        try:
            performer = Performer(store, starts, runner)
            run_programme(
                outcome, programme, performer, dump=dumper.dump, known=known, own=dumper.own
            )
        finally:
            runner.run(store.close())
    return outcome


def stranger(case: Case) -> str:
    """Return an organization that has no job."""
    return {"int": "77", "uuid": "10000000-0000-4000-8000-00000000abcd"}.get(
        case["organization"], "nobody"
    )


def new_contact(made: Plan, number: int) -> dict[str, Any]:
    """Return the columns of a contact to be added."""
    contacts = made.contacts
    new: dict[str, Any] = {contacts["id"]: _typed(made, made.world.ids.new_contact(number))}
    if made.case["contact organization"] == "unmapped":
        organization = str(made.target)
        is_number = made.case["organization"] == "int"
        new[contacts["organization"]] = int(organization) if is_number else organization
    return new


def _typed(made: Plan, text: str) -> Any:
    return int(text) if made.world.ids.kind == "number" else text
