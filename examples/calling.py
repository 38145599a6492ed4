"""A worker for the applications here: it calls the contacts of a job, one after the other."""

from batch_cancel import (
    ContactStatus,
    claim_contacts,
    claim_contacts_async,
    settle_contact,
    settle_contact_async,
)
from batch_cancel.ports import AsyncUnitOfWork, UnitOfWork


def dial(contact_id: str) -> ContactStatus:
    """Call a contact, and return how the call ended. Put your telephone here."""
    return ContactStatus.COMPLETED if contact_id else ContactStatus.FAILED


def call_all(job_id: str, organization_id: str | None, uow: UnitOfWork) -> None:
    """Call until no contact waits. A claim returns none of a cancelled job."""
    while claimed := claim_contacts(job_id, organization_id=organization_id, uow=uow, limit=1):
        for contact in claimed:
            outcome = dial(contact)
            settle_contact(job_id, contact, outcome, organization_id=organization_id, uow=uow)


async def call_all_async(job_id: str, organization_id: str | None, uow: AsyncUnitOfWork) -> None:
    """As `call_all`, awaited."""
    while claimed := await claim_contacts_async(
        job_id, organization_id=organization_id, uow=uow, limit=1
    ):
        for contact in claimed:
            outcome = dial(contact)
            await settle_contact_async(
                job_id, contact, outcome, organization_id=organization_id, uow=uow
            )
