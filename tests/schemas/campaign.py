"""One case after the other: make it, call every step on it, judge each by the dumps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.schemas.calls import Dump
from tests.schemas.dimensions import Case
from tests.schemas.outcomes import Outcome
from tests.schemas.plans import plan
from tests.schemas.postgres import Databases, Dumper, PostgresStore, furnished
from tests.schemas.programme import Programme, knowledge
from tests.schemas.steps import Performer, Starts
from tests.schemas.verdict import Knowledge, judge


def run_programme(
    outcome: Outcome,
    programme: Programme,
    performer: Performer,
    dump: Callable[[], Dump],
    known: Knowledge,
    own: Callable[[tuple[str, ...], int], None] | None = None,
) -> None:
    """Call every step, and judge each."""
    before = dump()
    for call in programme.calls(lambda: before):
        answer = performer.perform(call)
        after = dump()
        verdict = judge(call, answer, before, after, known)
        outcome.note(call, answer, verdict)
        if verdict.new_contacts and own is not None and call.job is not None:
            own(verdict.new_contacts, call.job)
            after = dump()
        before = after


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
            made.target,
            made.asked_organization,
            _stranger(case),
            lambda number: _new_contact(made, number),
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
            run_programme(outcome, programme, performer, dumper.dump, known, dumper.own)
        finally:
            runner.run(store.close())
    return outcome


def _stranger(case: Case) -> str:
    return {"int": "77", "uuid": "10000000-0000-4000-8000-00000000abcd"}.get(
        case["organization"], "nobody"
    )


def _new_contact(made: Any, number: int) -> dict[str, Any]:
    contacts = made.contacts
    new: dict[str, Any] = {contacts["id"]: _typed(made, made.world.ids.new_contact(number))}
    if made.case["contact organization"] == "unmapped":
        organization = made.target
        is_number = made.case["organization"] == "int"
        new[contacts["organization"]] = int(organization) if is_number else organization
    return new


def _typed(made: Any, text: str) -> Any:
    return int(text) if made.world.ids.kind == "number" else text
