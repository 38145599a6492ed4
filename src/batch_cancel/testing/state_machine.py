"""
A Hypothesis state machine: any steps of cancels and workers, each checked against the contract.

The model is the contract once more, written by hand as a few dictionaries, for jobs in a store
where nothing happens at the same time.
"""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar, Final

import attrs
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from batch_cancel.domain.cancellation import CancelResult
from batch_cancel.testing.answers import Answer
from batch_cancel.testing.runner import expect
from batch_cancel.testing.strategies import (
    ENDED_JOBS,
    OPEN_CONTACTS,
    RETRYABLE,
    JobSeed,
    call_ends,
    jobs,
)
from batch_cancel.testing.world import World

_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_OPERATIONS: Final = ("op-1", "op-2", "op-3")


@attrs.define
class _Model:
    status: str
    contacts: list[str]
    start_waits: bool
    operation_id: str | None = None
    contacts_cancelled: int = 0
    answer_removed: bool = False
    old_calls: set[int] = attrs.field(factory=set[int])


class CancelMachine(RuleBasedStateMachine):
    """Jobs of one store, led through any steps; subclass it to add steps of your own."""

    world: ClassVar[World]

    STANDARD: ClassVar = settings(
        max_examples=20,
        stateful_step_count=12,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    """Enough for every run of the tests; take more examples for a proof."""

    labels: Bundle[str] = Bundle[str]("labels")

    @classmethod
    def on(cls, world: World) -> type[CancelMachine]:
        """Return the machine for a store."""
        return type(cls.__name__, (cls,), {"world": world})

    def __init__(self) -> None:
        super().__init__()
        self.world.clear()
        self.models: dict[str, _Model] = {}

    @rule(target=labels, seed=jobs())
    def add_job(self, seed: JobSeed) -> str:
        """Add a job, its deferred start waiting if it is scheduled."""
        label = f"job-{len(self.models)}"
        self.world.add_job(
            label,
            seed.status,
            seed.contacts,
            deferred_id=f"start of {label}" if seed.is_scheduled else None,
        )
        if seed.is_scheduled:
            self.world.schedule(label)
        self.models[label] = _Model(seed.status, list(seed.contacts), seed.is_scheduled)
        return label

    @rule(label=labels, operation_id=st.sampled_from(_OPERATIONS))
    def cancel(self, label: str, operation_id: str) -> None:
        """Cancel a job, perhaps again."""
        wanted = self._cancelled(self.models[label], operation_id)
        seen = _facts(self.world.cancel(label, operation_id=operation_id))
        expect(seen, wanted, f"The answer to a cancel of {label!r}:")

    @rule(label=labels)
    def start(self, label: str) -> None:
        """Start a job."""
        if "start" not in self.world.adapter.guards:
            return
        model = self.models[label]
        is_startable = model.status in {"scheduled", "pending"}
        expect(self.world.start(label), is_startable, f"The answer to a start of {label!r}:")
        if is_startable:
            model.status = "running"

    @rule(label=labels, limit=st.integers(0, 4))
    def claim(self, label: str, limit: int) -> None:
        """Claim contacts: any that are open will do."""
        if "claim" not in self.world.adapter.guards:
            return
        model, ids = self.models[label], self.world.contact_ids[label]
        open_ids = self._claimable(label)
        claimed = self.world.claim(label, limit)
        due = min(limit, len(open_ids)) if model.status == "running" else 0
        expect(len(claimed), due, f"Contacts of {label!r} given out:")
        expect(claimed - open_ids, set[str](), "Given out though they were not open:")
        for contact_id in claimed:
            model.contacts[ids.index(contact_id)] = "dialing"
            model.old_calls.discard(ids.index(contact_id))

    @rule(label=labels, number=st.integers(0, 5), outcome=call_ends())
    def settle(self, label: str, number: int, outcome: str) -> None:
        """End a call, if it is one."""
        model, ids = self.models[label], self.world.contact_ids[label]
        if "settle" not in self.world.adapter.guards or number >= len(ids):
            return
        self.world.settle(ids[number], outcome, label)
        if model.contacts[number] == "dialing":
            is_stopped = model.status == "cancelled" and outcome in RETRYABLE
            model.contacts[number] = "cancelled" if is_stopped else outcome

    @rule(label=labels, number=st.integers(0, 5))
    def make_old(self, label: str, number: int) -> None:
        """Let a call last for long."""
        model, ids = self.models[label], self.world.contact_ids[label]
        if "expire" not in self.world.adapter.guards or number >= len(ids):
            return
        if model.contacts[number] == "dialing":
            self.world.make_old(ids[number], _DAY, label)
            model.old_calls.add(number)

    @rule(label=labels)
    def expire(self, label: str) -> None:
        """End the calls that last for too long."""
        if "expire" not in self.world.adapter.guards:
            return
        model = self.models[label]
        due = [it for it in model.old_calls if model.contacts[it] == "dialing"]
        expired = self.world.expire(_HOUR, label)
        expect(expired, len(due), f"The calls of {label!r} that were ended:")
        for number in due:
            model.contacts[number] = "cancelled" if model.status == "cancelled" else "timeout"

    @rule(label=labels)
    def append(self, label: str) -> None:
        """Add a contact."""
        if "append" not in self.world.adapter.guards:
            return
        model = self.models[label]
        is_live = model.status not in ENDED_JOBS
        expect(self.world.append(label), is_live, f"Whether a contact was added to {label!r}:")
        if is_live:
            model.contacts.append("pending")
            known = self.world.contact_ids[label]
            new = [it for it in self.world.row(label).contacts if it not in known]
            expect(len(new), 1, f"New contacts of {label!r}:")
            self.world.contact_ids[label] = [*known, *new]

    @rule(label=labels)
    def finish(self, label: str) -> None:
        """Complete a job."""
        if "finish" not in self.world.adapter.guards:
            return
        model = self.models[label]
        is_left = any(status in {*OPEN_CONTACTS, "dialing"} for status in model.contacts)
        is_done = model.status == "running" and not is_left
        expect(self.world.finish(label), is_done, f"The answer to a finish of {label!r}:")
        if is_done:
            model.status = "completed"

    @invariant()
    def the_store_is_as_the_contract_says(self) -> None:
        """Compare every row."""
        rows = self.world.rows()
        waiting: set[str | None] = set()
        for label, model in self.models.items():
            row = rows[self.world.key(label)]
            seen = [row.contacts[it][0] for it in self.world.contact_ids[label]]
            expect(row.status, model.status, f"The status of {label!r}:")
            expect(seen, model.contacts, f"The contacts of {label!r}:")
            waiting |= {row.deferred_id} if model.start_waits else set()
        expect(self.world.waiting(), waiting, "The deferred starts that wait:")

    def _claimable(self, label: str) -> set[str]:
        contacts = zip(self.world.contact_ids[label], self.models[label].contacts, strict=True)
        return {contact_id for contact_id, status in contacts if status in OPEN_CONTACTS}

    def _cancelled(self, model: _Model, operation_id: str) -> tuple[object, ...]:
        if model.status in ENDED_JOBS:
            is_replay = model.operation_id == operation_id and self.world.adapter.records
            if model.status != "cancelled" or not is_replay:
                return ("already_terminal", model.status)
            return (200, model.contacts_cancelled, model.answer_removed, True)
        model.operation_id = operation_id
        model.contacts_cancelled = sum(status in OPEN_CONTACTS for status in model.contacts)
        model.answer_removed = model.status == "scheduled" and model.start_waits
        model.contacts = [
            "cancelled" if status in OPEN_CONTACTS else status for status in model.contacts
        ]
        model.start_waits = False
        model.status = "cancelled"
        return (200, model.contacts_cancelled, model.answer_removed, False)


def _facts(answer: Answer) -> tuple[object, ...]:
    if isinstance(answer, CancelResult):
        return (
            200,
            answer.contacts_cancelled,
            answer.redis_job_cancelled,
            answer.replayed,
        )
    return (answer.code, getattr(answer, "status", None))
