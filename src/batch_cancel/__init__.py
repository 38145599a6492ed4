"""
Cancel batch calling jobs: no new call of a cancelled job ever starts.

PYTEST_DONT_REWRITE: pytest rewrites the asserts of a package that has a plugin. It would warn of
this one where a program imports it, and then calls pytest.
"""

from batch_cancel.domain.bulk import BulkResult, JobFilter
from batch_cancel.domain.cancellation import Cancellation, CancelResult
from batch_cancel.domain.claimed_contacts import ClaimedContacts
from batch_cancel.domain.deferred_start import Claimed
from batch_cancel.domain.drift import Drift
from batch_cancel.domain.errors import (
    AlreadyTerminal,
    BatchCancelError,
    CancelFailed,
    Fault,
    JobNotFound,
    SchedulerUnavailable,
    StoreFailed,
    UnknownJobStatus,
)
from batch_cancel.domain.history import CancellationPage
from batch_cancel.domain.job import CancellationRecord, Job, JobKey
from batch_cancel.domain.overview import Preview, Progress
from batch_cancel.domain.statuses import ContactStatus, JobStatus, Removal
from batch_cancel.use_cases.bulk import cancel_jobs, cancel_jobs_async
from batch_cancel.use_cases.cancel import (
    cancel_job,
    cancel_job_async,
    cancel_rows,
    cancel_rows_async,
)
from batch_cancel.use_cases.history import (
    cancellation_of,
    cancellation_of_async,
    cancellations,
    cancellations_async,
    forget,
    forget_async,
)
from batch_cancel.use_cases.inspect import inspect, inspect_async
from batch_cancel.use_cases.overview import (
    job_progress,
    job_progress_async,
    preview_job,
    preview_job_async,
)
from batch_cancel.use_cases.pump import pump, pump_async
from batch_cancel.use_cases.reconcile import reconcile, reconcile_async
from batch_cancel.use_cases.remove_deferred import remove_deferred, remove_deferred_async
from batch_cancel.use_cases.worker import (
    append_contacts,
    append_contacts_async,
    claim_contacts,
    claim_contacts_async,
    expire_calls,
    expire_calls_async,
    finish_job,
    finish_job_async,
    settle_contact,
    settle_contact_async,
    start_job,
    start_job_async,
    still_running,
    still_running_async,
)

__all__ = [
    "AlreadyTerminal",
    "BatchCancelError",
    "BulkResult",
    "CancelFailed",
    "CancelResult",
    "Cancellation",
    "CancellationPage",
    "CancellationRecord",
    "Claimed",
    "ClaimedContacts",
    "ContactStatus",
    "Drift",
    "Fault",
    "Job",
    "JobFilter",
    "JobKey",
    "JobNotFound",
    "JobStatus",
    "Preview",
    "Progress",
    "Removal",
    "SchedulerUnavailable",
    "StoreFailed",
    "UnknownJobStatus",
    "append_contacts",
    "append_contacts_async",
    "cancel_job",
    "cancel_job_async",
    "cancel_jobs",
    "cancel_jobs_async",
    "cancel_rows",
    "cancel_rows_async",
    "cancellation_of",
    "cancellation_of_async",
    "cancellations",
    "cancellations_async",
    "claim_contacts",
    "claim_contacts_async",
    "expire_calls",
    "expire_calls_async",
    "finish_job",
    "finish_job_async",
    "forget",
    "forget_async",
    "inspect",
    "inspect_async",
    "job_progress",
    "job_progress_async",
    "preview_job",
    "preview_job_async",
    "pump",
    "pump_async",
    "reconcile",
    "reconcile_async",
    "remove_deferred",
    "remove_deferred_async",
    "settle_contact",
    "settle_contact_async",
    "start_job",
    "start_job_async",
    "still_running",
    "still_running_async",
]
