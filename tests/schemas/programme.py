"""What is done to each schema: the calls, in their order, and what is known of its tables."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.schemas.calls import Call, Dump, How
from tests.schemas.dimensions import Case
from tests.schemas.facts import Knowledge
from tests.schemas.worlds import JobRow, World


class Programme:
    """
    The calls on one world.

    Arguments:
        case: whose index says which calls are joined, and which are asyncio's.
        world: the rows.
        target: the organization whose jobs are worked on.
        asked: what the library is told of that organization.
        stranger: an organization that has no job.
        new_contact: the columns of a contact to be added, by its number.
        kinds: whether steps are called with asyncio, in turn.
    """

    def __init__(
        self,
        case: Case,
        world: World,
        *,
        target: str | None,
        asked: str | None,
        stranger: str,
        new_contact: Callable[[int], Mapping[str, Any]],
        kinds: tuple[bool, ...] = (False, True),
    ) -> None:
        self._case, self._world = case, world
        self._target, self._asked, self._stranger = target, asked, stranger
        self._new_contact = new_contact
        turns = [(is_joined, is_async) for is_async in kinds for is_joined in (False, True)]
        self._is_async = kinds[0]
        self._turns = itertools.cycle(turns)
        for _ in range(case.index % 3):
            next(self._turns)

    def calls(self, dump: Any) -> Iterator[Call]:
        """Return the calls one by one; `dump` returns the newest dump when one is made."""
        yield self._call("cancel", "scheduled", operation_id="op first")
        yield self._call("cancel", "scheduled", operation_id="op first")
        yield self._call("cancel", "pending", operation_id="op pending")
        yield self._call("cancel", "running", operation_id="op running")
        how = How(is_joined=True, is_async=self._is_async, is_rolled_back=True)
        yield self._call("cancel", "rolled back", how=how)
        how = How(is_joined=True, is_async=self._is_async)
        yield self._call("cancel", "joined", how=how)
        yield self._call("cancel", "ended")
        yield self._call("cancel", "unknown")
        yield self._foreign()
        if self._case["soft deletion"] != "none":
            yield self._call("cancel", "deleted")
        yield self._call("start", "start")
        yield self._call("expire", "work")
        yield self._call("expire", "cancelled")
        yield self._call("claim", "work", limit=3)
        yield self._settle(dump(), "work", "completed")
        yield self._settle(dump(), "work", "no_answer")
        yield self._settle(dump(), "cancelled", "busy")
        yield self._call("claim", "work", limit=100)
        yield self._call("claim", "cancelled", limit=100)
        new = tuple(self._new_contact(number) for number in range(2))
        yield self._call("append", "work", contacts=new)
        yield self._call("append", "cancelled", contacts=new[:1])
        yield self._call("finish", "work")
        yield self._call("finish", "calling")
        yield self._call("finish", "finish")
        yield self._call("inspect", "work")
        yield self._call("cancel", "work", operation_id="op work")

    def _call(self, step: Any, role: str, **more: Any) -> Call:
        job = self._world.job(role, self._target)
        how = more.pop("how", None) or self._how()
        return Call(
            step,
            job.rid,
            job.id,
            self._asked,
            is_ambiguous=self._is_ambiguous(job) and step != "inspect",
            how=how,
            **more,
        )

    def _how(self) -> How:
        joined, is_async = next(self._turns)
        return How(is_joined=joined, is_async=is_async)

    def _is_ambiguous(self, job: JobRow) -> bool:
        unmapped = self._case["organization"] == "unmapped"
        same = [
            it
            for it in self._world.jobs
            if it.id == job.id and (unmapped or it.organization == job.organization)
        ]
        return len(same) > 1

    def _foreign(self) -> Call:
        job = self._world.job("running", self._target)
        return Call("cancel", None, job.id, self._stranger, how=self._how())

    def _settle(self, dump: Dump, role: str, outcome: str) -> Call:
        job = self._world.job(role, self._target)
        contacts = dump["contacts"].items()
        status_names = self._world.status_names
        rid, row = next(
            (rid, row)
            for rid, row in sorted(contacts, key=lambda it: (len(it[0]), it[0]), reverse=True)
            if row["owner"] == str(job.rid)
            and status_names.contact_status(row["status"]) == "dialing"
        )
        contact_id = str(row["id"]).rstrip()
        return self._call("settle", role, contact=rid, contact_id=contact_id, outcome=outcome)


def knowledge(
    case: Case, world: World, *, unmapped: bool, organization_of_contacts: bool
) -> Knowledge:
    """Return what the verdict may know of a case."""
    by_kind = {"jobs": world.status_names.jobs, "contacts": world.status_names.contacts}
    is_touched = case["times"] in {"updated", "both"} or case["trigger"] == "touch"
    touched = frozenset({"updated"}) if is_touched else frozenset[str]()
    stale = {"updated": "updated", "neither": None}.get(case["times"], "since")
    deleted = {
        "flag": lambda it: it in {"t", "1"},
        "time": lambda it: it is not None,
        "kind": lambda it: it != "call",
    }
    return Knowledge(
        job_status=world.status_names.job_status,
        contact_status=world.status_names.contact_status,
        written=lambda table, status: by_kind[table][status][0],
        versions=case["version"] == "mapped",
        touched={"jobs": touched, "contacts": touched},
        stale=stale,
        has_times=case["next attempt"] == "mapped",
        has_deferred=case["deferred id"] == "mapped",
        is_deleted=deleted.get(case["soft deletion"], lambda _: False),
        organization_of_contacts=organization_of_contacts,
        names={
            str(job.rid): (job.id, None if unmapped else job.organization) for job in world.jobs
        },
        references={str(job.rid): job.reference for job in world.jobs},
        old={
            "since": frozenset(str(it.rid) for it in world.contacts if it.since == "old"),
            "updated": frozenset(str(it.rid) for it in world.contacts if it.updated == "old"),
        },
        later=frozenset(str(it.rid) for it in world.contacts if it.next_attempt == "future"),
        hides_cancelled=case["relation"] == "view that hides cancelled rows",
        may_pass_over=case["relation"] == "row security, wider select",
    )
