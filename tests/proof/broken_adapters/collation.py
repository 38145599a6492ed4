"""Bugs of comparisons in the memory store, as those of collations that pad, fold or cut."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import attrs

from batch_cancel.adapters.memory import repositories as memory
from batch_cancel.domain.job import JobKey
from batch_cancel.testing.conformance import StoreConformance
from tests.proof.broken_adapters.cancels import Contacts
from tests.proof.broken_adapters.memory_store import OnMemory, in_memory
from tests.proof.broken_adapters.planting import plant


class PadsStatusesOfContacts(Contacts):
    def cancel(self, key: Any, statuses: Any) -> int:
        return self._cancel(key, lambda status: (status or "").rstrip(" ") in statuses)


class PadsStatusesOfJobs(memory._Jobs):
    def lock(self, key: Any) -> Any:
        job = super().lock(key)
        return job and attrs.evolve(job, status=job.status and job.status.rstrip(" "))


class PadsIdsOfJobs(memory._Jobs):
    def lock(self, key: Any) -> Any:
        padded = attrs.evolve(key, batch_job_id=key.batch_job_id.rstrip(" "))
        return super().lock(key if key in self.rows else padded)


class PadsIdsOfContacts(memory._Contacts):
    def cancel(self, key: Any, statuses: Any) -> int | None:
        for it in list(self.rows):
            if it != key and it.batch_job_id.rstrip(" ") == key.batch_job_id.rstrip(" "):
                super().cancel(it, statuses)
        return super().cancel(key, statuses)


class PadsOrganizations(memory._Jobs):
    def lock(self, key: Any) -> Any:
        owner = key.organization_id and key.organization_id.rstrip(" ")
        return super().lock(attrs.evolve(key, organization_id=owner))


class CutsTheId(memory._Jobs):
    def lock(self, key: Any) -> Any:
        return super().lock(JobKey(key.batch_job_id[:255], key.organization_id))


class TakesItsLocalTimeForUtc(memory._Jobs):
    def lock(self, key: Any) -> Any:
        job = super().lock(key)
        local = datetime.now().replace(tzinfo=UTC)  # noqa: DTZ005  # The bug.
        return job and attrs.evolve(job, locked_at=local)


in_memory(
    "test_i15_a_contact_in_a_status_nobody_knows_is_left_alone", contacts=PadsStatusesOfContacts
)
in_memory("test_i11_a_job_in_a_status_nobody_knows_is_left_alone", jobs=PadsStatusesOfJobs)
in_memory("test_i11_any_id_may_be_asked_for", jobs=PadsIdsOfJobs)
in_memory("test_i16_an_id_is_just_its_bytes", contacts=PadsIdsOfContacts)
in_memory("test_i16_a_strangers_job_is_not_there", jobs=PadsOrganizations)
in_memory("test_i20_the_time_of_a_cancellation_is_that_of_the_clock", jobs=TakesItsLocalTimeForUtc)
plant(
    "CutsTheId",
    "test_i11_an_id_is_not_cut",
    OnMemory,
    StoreConformance,
    parts={"jobs": CutsTheId},
    id_characters_max=255,
)
