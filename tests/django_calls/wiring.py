"""The wiring of the app: what the setting BATCH_CANCEL_APP names."""

from __future__ import annotations

from types import SimpleNamespace

from batch_cancel import CancelResult
from batch_cancel.adapters.django import DjangoTables, DjangoUnitOfWork
from batch_cancel.adapters.memory import MemoryScheduler
from tests.django_calls.models import STATES, Call, Campaign

TABLES = DjangoTables(
    jobs=Campaign,
    job_id="slug",
    job_organization_id="owner",
    job_status="state",
    job_deferred_id="start_id",
    job_updated_at="changed",
    job_statuses=STATES,
    job_where={"removed": None},
    contacts=Call,
    contact_job_id="campaign",
    contact_next_attempt_at="due",
    contact_updated_at="changed",
)

told: list[CancelResult] = []
"""What the hook was called with."""

app = SimpleNamespace(
    uow=DjangoUnitOfWork(TABLES), scheduler=MemoryScheduler(), on_cancelled=told.append
)


def broken() -> None:
    """Raise, as an application whose database is out of reach may."""
    msg = "it was called"
    raise RuntimeError(msg)
