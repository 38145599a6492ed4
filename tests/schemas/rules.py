"""For each step, what the contract says of the rows and of the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from tests.schemas.facts import OPEN, RETRIED, is_hidden, is_replay, record_of
from tests.schemas.look import Look


def _cancel(look: Look, answer: Mapping[str, Any]) -> None:
    call, known = look.call, look.known
    name = known.names[look.job_rid][0]
    if is_replay(call, look.before, known):
        record = look.before["cancellations"][record_of(call, known)]
        told = (str(answer["contacts_cancelled"]), answer["previous_status"], answer["replayed"])
        was = (record["contacts_cancelled"], record["previous_status"], True)
        look.claim(told == was, f"replayed as {told}, and was {was}")
        look.claim(
            answer["batch_job_id"] == name, f"the id answered is {answer['batch_job_id']!r}"
        )
        return
    cancelled = look.contacts(look.before, OPEN)
    look.changed_to("jobs", look.job_rid, "cancelled")
    for rid in cancelled:
        look.changed_to("contacts", rid, "cancelled")
    for rid in look.contacts(look.after, OPEN):
        look.complaints.append(f"contacts {rid} is still open")
    deferred = (look.job or {})["deferred"] if known.has_deferred else name
    removal = "removed"
    if deferred is None:
        removal = "absent" if look.status == "scheduled" else "not_applicable"
    look.recorded(
        {
            "operation_id": call.operation_id,
            "previous_status": look.status,
            "contacts_cancelled": str(len(cancelled)),
            "actor": "actor",
            "reason": "reason",
            "deferred_id": deferred,
            "removal": removal,
            "is_announced": "t",
        }
    )
    expected = {
        "batch_job_id": name,
        "previous_status": look.status,
        "contacts_cancelled": len(cancelled),
        "removal": removal,
        "replayed": False,
    }
    look.claim(answer == expected, f"the answer is {answer}, not {expected}")


def _start(look: Look, answer: bool) -> None:  # noqa: FBT001  # What the step answers.
    may = look.status in {"scheduled", "pending"}
    if may:
        look.changed_to("jobs", look.job_rid, "running")
    look.claim(answer is may, f"the answer is {answer}, not {may}")


def _finish(look: Look, answer: bool) -> None:  # noqa: FBT001  # What the step answers.
    may = look.status == "running" and not look.contacts(look.before, OPEN | {"dialing"})
    if may:
        look.changed_to("jobs", look.job_rid, "completed")
    look.claim(answer is may, f"the answer is {answer}, not {may}")


def _claim(look: Look, answer: Sequence[str]) -> None:
    known = look.known
    due = look.contacts(look.before, OPEN) if look.status == "running" else []
    due = [rid for rid in due if not known.has_times or rid not in known.later]
    dialing = frozenset({"dialing"})
    was = set(look.contacts(look.before, dialing))
    now = [rid for rid in look.contacts(look.after, dialing) if rid not in was]
    for rid in now:
        look.claim(rid in due, f"contacts {rid} was not to be claimed")
        look.changed_to("contacts", rid, "dialing", "since")
    number = min(look.call.limit, len(due))
    if not (known.may_pass_over and len(now) < number):
        look.claim(len(now) == number, f"{len(now)} contacts were claimed, not {number}")
    ids = sorted(str(look.before["contacts"][rid]["id"]).rstrip() for rid in now)
    look.claim(sorted(answer) == ids, f"the answer is {sorted(answer)}, not {ids}")
    look.claim(len(set(answer)) == len(answer), "one id was answered for two contacts")


def _settle(look: Look, answer: str | None) -> None:
    row = look.before["contacts"].get(look.call.contact or "")
    is_live = (
        row is not None
        and look.job is not None
        and row["owner"] == look.job_rid
        and look.known.contact_status(row["status"]) == "dialing"
        and not look.known.is_deleted(row.get("deleted"))
    )
    if not is_live:
        look.claim(answer is None, f"the answer is {answer!r}, and the contact was not dialing")
        return
    outcome = look.call.outcome
    if outcome in RETRIED and look.status == "cancelled":
        outcome = "cancelled"
    more = ("next",) if look.known.has_times else ()
    look.changed_to("contacts", str(look.call.contact), outcome, "since", *more)
    look.claim(answer == outcome, f"the answer is {answer!r}, not {outcome!r}")


def _append(look: Look, answer: int) -> None:
    added, known = look.added_contacts(), look.known
    number = len(look.call.contacts)
    look.claim(len(added) == number, f"{len(added)} contacts were added, not {number}")
    look.claim(answer == number, f"the answer is {answer}, not {number}")
    organization = (look.job or {}).get("organization")
    for change in added:
        row = change.new or {}
        found = (str(row["job"]).rstrip(), row["status"])
        expected = (known.references[look.job_rid], known.written("contacts", "pending"))
        look.claim(found == expected, f"added as {found}, not {expected}")
        if known.organization_of_contacts:
            told = row["organization"]
            look.claim(told == organization, f"added to organization {told}, not {organization}")
        look.added.append(change.row)


def _expire(look: Look, answer: int) -> None:
    dialing = look.contacts(look.before, frozenset({"dialing"})) if look.job else []
    dead = [rid for rid in dialing if rid in look.known.old[look.known.stale or ""]]
    outcome = "cancelled" if look.status == "cancelled" else "timeout"
    more = ("next",) if look.known.has_times else ()
    for rid in dead:
        look.changed_to("contacts", rid, outcome, "since", *more)
    look.claim(answer == len(dead), f"the answer is {answer}, not {len(dead)}")


def _inspect(look: Look, answer: Sequence[tuple[str, str | None, int]]) -> None:
    known, expected = look.known, []
    for rid, row in look.before["jobs"].items():
        if known.job_status(row["status"]) != "cancelled" or is_hidden(row, known):
            continue
        open_now = [
            contact
            for contact in look.before["contacts"].values()
            if contact["owner"] == rid
            and known.contact_status(contact["status"]) in OPEN
            and not known.is_deleted(contact.get("deleted"))
        ]
        if open_now:
            expected.append((*known.names[rid], len(open_now)))
    look.claim(
        sorted(answer, key=str) == sorted(expected, key=str),
        f"open contacts of cancelled jobs: answered {sorted(answer, key=str)}, not {expected}",
    )


RULES: Final[Mapping[str, Callable[[Look, Any], None]]] = {
    "cancel": _cancel,
    "start": _start,
    "finish": _finish,
    "claim": _claim,
    "settle": _settle,
    "append": _append,
    "expire": _expire,
    "inspect": _inspect,
}
