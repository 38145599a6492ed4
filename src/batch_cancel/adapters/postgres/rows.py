"""Convert rows to the library's values, and values to parameters."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs

from batch_cancel.adapters.postgres.schema import PostgresSchema
from batch_cancel.domain.drift import CancelledJob, DeferredStart, Inventory, OverdueCalls
from batch_cancel.domain.job import CancellationRecord, Job, JobKey, is_named
from batch_cancel.domain.statuses import JobStatus, Removal

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Row = tuple[Any, ...]
Parameters = dict[str, object]


def named(key: JobKey) -> Parameters:
    """Return the parameters that name a job in the adopter's tables."""
    return {
        "batch_job_id": key.batch_job_id,
        "organization_id": key.organization_id,
        # The same for a table of contacts, whose columns may be of other types.
        "its_key": key.batch_job_id,
        "its_organization": key.organization_id,
    }


def named_in_record(key: JobKey) -> Parameters:
    """Return the parameters that name a job in our own table."""
    # The record's primary key can't hold NULL; an empty id stands for no organization.
    return {"batch_job_id": key.batch_job_id, "organization_id": key.organization_id or ""}


def job(row: Row, asked: JobKey, schema: PostgresSchema) -> Job | None:
    """Return the job of a row; None if its key is not the requested one."""
    job_id, organization_id, status_name, deferred_id, microseconds = row
    key = JobKey(job_id, organization_id)
    if not is_named(key, asked):
        # Postgres reads " 42 " as 42 and "{6b29...}" as a uuid; an id has one form only.
        return None
    status = schema.read_job_status(status_name)
    return Job(key, status, deferred_id, _EPOCH + timedelta(microseconds=microseconds))


def cancellation(row: Row, key: JobKey) -> CancellationRecord:
    """Return the record of a row."""
    operation_id, previous_status, contacts, actor, reason, cancelled_at, *rest = row
    deferred_id, removal, is_announced, is_swept = rest
    return CancellationRecord(
        operation_id=operation_id,
        key=key,
        previous_status=JobStatus(previous_status),
        contacts_cancelled=contacts,
        actor=actor,
        reason=reason,
        cancelled_at=cancelled_at.astimezone(UTC),
        deferred_id=deferred_id,
        removal=Removal(removal),
        is_announced=is_announced,
        is_swept=is_swept,
    )


def record_found(row: Row, key: JobKey) -> CancellationRecord:
    """Return the record of a row, with `taken_at` and `is_undone`."""
    *record, taken_at, is_undone = row
    return attrs.evolve(
        cancellation(tuple(record), key), taken_at=taken_at.astimezone(UTC), is_undone=is_undone
    )


def record_taken(row: Row) -> CancellationRecord:
    """Return the record of a row that names its job, with `taken_at`."""
    *record, taken_at = row
    return attrs.evolve(pending_record(tuple(record)), taken_at=taken_at.astimezone(UTC))


def sought(key: JobKey) -> Parameters:
    """Return the parameters that name a job in both tables."""
    return {
        **named(key),
        "record_batch_job_id": key.batch_job_id,
        "record_organization_id": key.organization_id or "",
    }


def recorded(record: CancellationRecord) -> Parameters:
    """Return the parameters of a record, and of its job in both tables."""
    return {
        **sought(record.key),
        "operation_id": record.operation_id,
        "previous_status": record.previous_status.value,
        "contacts_cancelled": record.contacts_cancelled,
        "actor": record.actor,
        "reason": record.reason,
        "cancelled_at": record.cancelled_at,
        "deferred_id": record.deferred_id,
        "removal": record.removal.value,
        "is_announced": record.is_announced,
        "is_swept": record.is_swept,
        "taken_at": record.taken_at,
    }


def records_given(records: Iterable[CancellationRecord]) -> str:
    """Return the one parameter of a statement about many records."""
    return json.dumps([_as_json(record) for record in records])


def _as_json(record: CancellationRecord) -> dict[str, object]:
    return {
        "organization_id": record.key.organization_id or "",
        "batch_job_id": record.key.batch_job_id,
        "operation_id": record.operation_id,
        "previous_status": record.previous_status.value,
        "contacts_cancelled": record.contacts_cancelled,
        "actor": record.actor,
        "reason": record.reason,
        "cancelled_at": record.cancelled_at.isoformat(),
        "deferred_id": record.deferred_id,
        "removal": record.removal.value,
        "is_announced": record.is_announced,
    }


def pending_record(row: Row) -> CancellationRecord:
    """Return the record of a row that names its job."""
    job_id, organization_id, *rest = row
    return cancellation(tuple(rest), JobKey(job_id, organization_id or None))


def inventory(rows: list[Row], *, knows_calls: bool) -> Inventory:
    """Return the inventory of these rows; `knows_calls` is whether the age of calls is known."""
    return Inventory(
        removals_pending=tuple(
            pending_record((job_id, organization_id, *record))
            for kind, job_id, organization_id, _, *record in rows
            if kind == "removal"
        ),
        scheduled=tuple(
            DeferredStart(JobKey(job_id, organization_id), deferred_id)
            for kind, job_id, organization_id, *_, deferred_id, _, _, _ in rows
            if kind == "scheduled"
        ),
        cancelled=tuple(
            CancelledJob(JobKey(job_id, organization_id), deferred_id, contacts_open)
            for kind, job_id, organization_id, contacts_open, *_, deferred_id, _, _, _ in rows
            if kind == "cancelled"
        ),
        calls_overdue=tuple(
            OverdueCalls(JobKey(job_id, organization_id), contacts)
            for kind, job_id, organization_id, contacts, *_ in rows
            if kind == "overdue"
        )
        if knows_calls
        else None,
        sweeps_pending=tuple(
            pending_record((job_id, organization_id, *record))
            for kind, job_id, organization_id, _, *record in rows
            if kind == "sweep"
        ),
    )
