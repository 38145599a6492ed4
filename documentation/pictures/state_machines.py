"""The lives of a job, of a contact and of a deferred start, from the rules of the domain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from batch_cancel.domain import deferred_start
from batch_cancel.domain.deferred_start import Deferred, DeferredState
from batch_cancel.domain.job import Job, JobKey
from batch_cancel.domain.statuses import (
    CANCELLABLE_CONTACTS,
    LIVE_JOBS,
    TERMINAL_CONTACTS,
    ContactStatus,
    JobStatus,
)
from batch_cancel.domain.worker_rules import CLAIMABLE_CONTACTS, STARTABLE_JOBS, CallEnd
from documentation.pictures.svg import Box, Drawing, Look

_LEASE: Final = "lease"
_NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)


def job_states() -> str:
    """Draw the life of a job."""
    drawing = Drawing("The statuses of a job, and what changes them", 760, 330)
    places = {
        JobStatus.SCHEDULED: Box(100, 50, 120, 40),
        JobStatus.PENDING: Box(100, 150, 120, 40),
        JobStatus.RUNNING: Box(380, 100, 120, 40),
        JobStatus.COMPLETED: Box(650, 100, 120, 40),
        JobStatus.FAILED: Box(650, 190, 120, 40),
        JobStatus.CANCELLED: Box(380, 260, 120, 40),
    }
    looks: dict[JobStatus, Look] = dict.fromkeys(LIVE_JOBS, "mark")
    looks[JobStatus.CANCELLED] = "bad"
    for status, place in places.items():
        drawing.box(place, status.value, looks.get(status, "box"))
    for status in (it for it in JobStatus if it in STARTABLE_JOBS):
        drawing.edge(places[status], places[JobStatus.RUNNING])
    for status in LIVE_JOBS:
        drawing.edge(places[status], places[JobStatus.CANCELLED])
    drawing.edge(places[JobStatus.RUNNING], places[JobStatus.COMPLETED], "finish_job")
    drawing.text(250, 54, "start_job", "soft")
    drawing.text(390, 190, "cancel_job", "soft", anchor="start")
    drawing.text(650, 228, "set by your own code", "soft")
    drawing.text(380, 312, "blue: live, a cancel changes it; the others have ended", "soft")
    return drawing.svg()


def contact_states() -> str:
    """Draw the life of a contact."""
    drawing = Drawing("The statuses of a contact, and what changes them", 860, 330)
    cancelled = ContactStatus.CANCELLED
    ended = [it for it in ContactStatus if it in TERMINAL_CONTACTS - {cancelled}]
    outcomes = {it for it in ContactStatus if _ends_a_call(it)}
    opened = _listed(
        drawing, [it for it in ContactStatus if it in CLAIMABLE_CONTACTS], 110, "mark"
    )
    final = _listed(drawing, ended, 740, "box")
    dialing = Box(430, 90, 120, 40)
    stopped = Box(430, 270, 120, 40)
    drawing.box(dialing, ContactStatus.DIALING.value, "good")
    drawing.box(stopped, cancelled.value, "bad")
    drawing.text(110, 30, "open: a call may still start", "soft")
    drawing.text(740, 30, "ended: never changed", "soft")
    drawing.text(430, 60, "live", "soft")
    claim, retry = Box(opened.x, 80, opened.width, 10), Box(opened.x, 104, opened.width, 10)
    drawing.edge(claim, Box(430, 80, 120, 10), "claim_contacts")
    if outcomes & CANCELLABLE_CONTACTS:
        drawing.edge(Box(430, 104, 120, 10), retry, "settle_contact, a retry", shift=24)
    if outcomes >= set(ended):
        drawing.edge(dialing, Box(final.x, 90, final.width, 10), "settle_contact")
    drawing.edge(Box(opened.x, 270, opened.width, 10), stopped, "cancel_job")
    if _settled_under_a_cancel() is cancelled:
        drawing.edge(dialing, stopped, "settle_contact, a retry")
        drawing.text(438, 206, "under a cancelled job", "soft", anchor="start")
    return drawing.svg()


def deferred_states() -> str:
    """Draw the life of a deferred start in a store of the library's own."""
    drawing = Drawing("The states of a deferred start, and what changes them", 720, 330)
    places: dict[DeferredState | None, Box] = {
        None: Box(80, 90, 110, 40),
        DeferredState.DUE: Box(260, 90, 110, 40),
        DeferredState.CLAIMED: Box(450, 90, 110, 40),
        DeferredState.FINISHED: Box(640, 90, 110, 40),
        DeferredState.BARRED: Box(80, 230, 110, 40),
        DeferredState.CANCELLED: Box(260, 230, 110, 40),
        DeferredState.CANCELLED_LATE: Box(450, 230, 130, 40),
    }
    for state, place in places.items():
        look: Look = "bad" if "cancelled" in (state or "") or state == "barred" else "mark"
        drawing.box(place, state.value if state else "not known", look)
    for (source, target), steps in _moves(places).items():
        if source is target:
            drawing.loop(places[source], " or ".join(steps))
        else:
            drawing.edge(places[source], places[target], " or ".join(steps))
    drawing.text(260, 275, "the cancel returns True", "good")
    drawing.text(450, 275, "False: it has fired", "soft")
    drawing.text(80, 275, "False; never scheduled", "soft")
    drawing.text(360, 315, "What is cancelled or finished never changes again.", "soft")
    return drawing.svg()


def _listed(drawing: Drawing, statuses: Iterable[ContactStatus], x: float, look: Look) -> Box:
    """Draw statuses below each other, in a frame; return the frame."""
    names = [status.value for status in statuses]
    frame = Box(x, 165, 160, 250)
    drawing.rectangle(frame, "group")
    for number, name in enumerate(names):
        drawing.box(Box(x, 68 + number * 48, 130, 34), name, look)
    return frame


def _ends_a_call(status: ContactStatus) -> bool:
    try:
        CallEnd(status)
    except ValueError:
        return False
    return True


def _settled_under_a_cancel() -> ContactStatus:
    job = Job(JobKey("job"), JobStatus.CANCELLED, None, _NOW)
    return CallEnd(ContactStatus.BUSY).settlement(job).status


def _moves(
    states: Iterable[DeferredState | None],
) -> dict[tuple[DeferredState | None, DeferredState], list[str]]:
    """Return the steps by the state before and after, as the rules take them."""
    soon = _NOW - timedelta(seconds=1)
    steps: Mapping[str, Callable[[Deferred | None], Deferred | None]] = {
        "schedule": lambda it: deferred_start.schedule(it, soon, b""),
        "claim": lambda it: it and deferred_start.claim(it, _NOW, _LEASE, _NOW),
        "ack": lambda it: deferred_start.acknowledge(it, _LEASE),
        "cancel": lambda it: deferred_start.cancel(it, "operation"),
    }
    moves = dict[tuple[DeferredState | None, DeferredState], list[str]]()
    for state in states:
        before = None if state is None else Deferred(state, soon, token=_LEASE)
        for name, step in steps.items():
            after = step(before)
            if after is not None:
                moves.setdefault((state, after.state), []).append(name)
    return moves
