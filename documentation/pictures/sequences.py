"""
Sequences of calls: who asks whom, in which order.

What the library does is recorded from a run of it, on the memory store. Only the wrong order,
which nothing here can run, is written down by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from batch_cancel import ContactStatus, cancel_job, claim_contacts, settle_contact, start_job
from documentation.pictures.memory import JOB, START, Noted
from documentation.pictures.svg import Drawing, Ink

SAID: Final[Mapping[str, str]] = {
    "BEGIN": "BEGIN",
    "COMMIT": "COMMIT",
    "cancel": "remove the deferred start",
    "contacts.cancel": "contacts in the five statuses: cancelled",
    "jobs.lock": "lock the job, read its status",
    "jobs.mark_cancelled": "job: cancelled; write the record",
    "outbox.settle": "note what became of the start",
    "work.claim": "claim a contact, if the job runs",
    "work.settle": "write how the call ended",
    "work.start": "start, if it is scheduled or pending",
}
"""Each call of a port in words; one that is not here cannot be drawn."""

Call = tuple[str, str, str]
Lanes = Mapping[str, float]

_ROW: Final = 34
_TOP: Final = 64


def crash_points() -> str:
    """Draw a cancel, and what each crash leaves."""
    noted = Noted()
    noted.add_scheduled_job({"contact": "pending"})
    noted.who = "client"
    cancel_job(JOB, uow=noted.uow(), scheduler=noted.scheduler())
    commit = noted.calls.index(("client", "database", "COMMIT"))
    removal = noted.calls.index(("client", "scheduler", "cancel"))
    crashes = {
        commit: ["1  nothing changed"],
        removal: [
            "2  the answer is lost: the same operation asks again",
            "3  cancelled; the start waits, and is refused",
        ],
        removal + 1: ["4  cancelled; reconcile asks again"],
    }
    return _with_crashes("A cancel, and what each crash leaves", noted.calls, crashes)


def redis_first() -> str:
    """Draw the order that loses jobs."""
    calls = [
        ("client", "scheduler", "remove the deferred start"),
        ("client", "database", "BEGIN"),
        ("client", "database", "job and contacts: cancelled"),
        ("client", "database", "COMMIT"),
    ]
    crashes = {1: ["scheduled, and nothing will ever start it"]}
    return _with_crashes("Redis first: the order that loses jobs", calls, crashes)


def _with_crashes(title: str, calls: list[Call], crashes: Mapping[int, list[str]]) -> str:
    """Draw calls; before some of them the process may die, which leaves what the words say."""
    rows: list[Call] = []
    for number, call in enumerate(calls):
        rows += [("client", "", words) for words in crashes.get(number, [])] + [call]
    drawing, below = _sequence(title, rows, {"client": 70, "database": 360, "scheduler": 520}, 930)
    drawing.text(20, below, "red: the process dies here, and what is left", "bad", anchor="start")
    return drawing.svg()


def cancel_beside_start() -> str:
    """Draw both orders of a cancel and a start."""
    noted = Noted()
    noted.add_scheduled_job({"contact": "pending"})
    noted.who = "worker"
    is_started = start_job(JOB, uow=noted.uow(), deferred_id=START)
    noted.who = "client"
    result = cancel_job(JOB, uow=noted.uow(), scheduler=noted.scheduler())
    first = noted.calls

    noted = Noted()
    noted.add_scheduled_job({"contact": "pending"})
    noted.who = "client"
    before = cancel_job(JOB, uow=noted.uow(), scheduler=noted.scheduler())
    noted.who = "worker"
    is_started_late = start_job(JOB, uow=noted.uow(), deferred_id=START)
    second = noted.calls

    lanes = {"client": 70.0, "database": 360.0, "worker": 620.0, "scheduler": 780.0}
    height = _TOP + _ROW * (len(first) + len(second)) + 200
    drawing = Drawing("A cancel and a start: whoever locks the row first decides", 860, height)
    y = _draw(drawing, first, lanes, 0, "The start is first")
    drawing.text(20, y + 14, f"start_job: {is_started}", "strong", anchor="start")
    drawing.text(20, y + 32, f"cancel_job: {result.message}", "strong", anchor="start")
    y = _draw(drawing, second, lanes, y + 50, "The cancel is first")
    drawing.text(20, y + 14, f"cancel_job: {before.message}", "strong", anchor="start")
    drawing.text(20, y + 32, f"start_job: {is_started_late}", "strong", anchor="start")
    return drawing.svg()


def cancel_beside_outcome() -> str:
    """Draw a call that ends busy after the cancel of its job."""
    noted = Noted()
    noted.store.add_job(JOB, "running", contacts={"contact": "pending"})
    noted.who = "worker"
    claim_contacts(JOB, uow=noted.uow(), limit=1)
    noted.who = "client"
    cancel_job(JOB, uow=noted.uow(), scheduler=noted.scheduler())
    noted.who = "worker"
    written = settle_contact(JOB, "contact", ContactStatus.BUSY, uow=noted.uow())
    lanes = {"client": 70.0, "database": 360.0, "worker": 650.0}
    drawing, below = _sequence("A call ends busy after the cancel", noted.calls, lanes, 860)
    words = f"settle_contact(busy): the contact is {written}, and is not called again"
    drawing.text(20, below, words, "strong", anchor="start")
    return drawing.svg()


def _sequence(title: str, calls: list[Call], lanes: Lanes, width: float) -> tuple[Drawing, float]:
    """Return a drawing of the calls, and where the space below them begins."""
    drawing = Drawing(title, width, _TOP + _ROW * len(calls) + 50)
    return drawing, _draw(drawing, calls, lanes, 0, "") + 24


def _draw(drawing: Drawing, calls: list[Call], lanes: Lanes, top: float, title: str) -> float:
    """Draw calls below each other; return where they end."""
    if title:
        drawing.text(20, top + 26, title, "strong", anchor="start")
        top += 20
    bottom = top + _TOP + _ROW * len(calls)
    for name, x in lanes.items():
        drawing.text(x, top + 30, name, "strong")
        drawing.path([(x, top + 40), (x, bottom)], arrow=False, dashed=True)
    # The first commit of whoever cancels is the moment of cancellation.
    marks = [it for it, (_, _, call) in enumerate(calls) if call == "jobs.mark_cancelled"]
    moments = {calls.index(("client", "database", "COMMIT"), marked) for marked in marks}
    for row, (who, whom, call) in enumerate(calls):
        y = top + _TOP + _ROW * (row + 0.5)
        if not whom:
            drawing.path([(60, y), (530, y)], "bad", arrow=False, dashed=True)
            drawing.text(540, y + 4.5, call, "bad", anchor="start")
            continue
        ink: Ink = "mark" if row in moments else ""
        start, end = lanes[who], lanes[whom]
        drawing.path([(start, y), (end, y)], ink)
        words = SAID.get(call, call) if " " in call else SAID[call]
        words += ": the moment of cancellation" if row in moments else ""
        # Beside who asks, so that arrows to a far lane keep their text out of the lanes between.
        x = start + 10 if end > start else start - 10
        drawing.text(x, y - 6, words, ink, anchor="start" if end > start else "end")
    return bottom
