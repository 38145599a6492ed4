"""What a cancel changes, for each status of a job and of a contact, as the rules decide it."""

from __future__ import annotations

from typing import Final

from batch_cancel.domain.errors import BatchCancelError
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS, ContactStatus, JobStatus
from documentation.pictures.memory import cancelled_contacts
from documentation.pictures.svg import Box, Drawing

_LEFT: Final = 150
_COLUMN: Final = 92
_ROW: Final = 28


def decision_table() -> str:
    """Draw the table: a row for each status of a contact, a column for each of a job."""
    jobs, contacts = [*JobStatus], [*ContactStatus, "one of yours"]
    width = _LEFT + _COLUMN * len(jobs) + 20
    drawing = Drawing(
        "Contacts that a cancel changes, by the status of the job", width, _ROW * 15 + 30
    )
    drawing.text(20, 30, "contact \\ job", "soft", anchor="start")
    for column, job in enumerate(jobs):
        x = _LEFT + _COLUMN * (column + 0.5)
        drawing.text(x, 30, job.value, "strong")
        try:
            after = cancelled_contacts(job, contacts)
        except BatchCancelError as error:
            middle = 48 + _ROW * len(contacts) / 2
            drawing.rectangle(Box(x, middle, _COLUMN - 8, _ROW * len(contacts) - 4))
            drawing.text(x, middle - 4, str(error.http_status), "strong")
            drawing.text(x, middle + 14, "no change", "soft")
            continue
        for row, (before, status) in enumerate(zip(contacts, after, strict=True)):
            y = 48 + _ROW * (row + 0.5)
            changes = before != status
            assert changes == (before in CANCELLABLE_CONTACTS)  # Or it lies.
            box = Box(x, y, _COLUMN - 8, _ROW - 4)
            drawing.box(box, status if changes else "stays", "bad" if changes else "box")
    for row, status in enumerate(contacts):
        drawing.text(20, 48 + _ROW * (row + 0.5) + 4.5, str(status), "strong", anchor="start")
    return drawing.svg()
