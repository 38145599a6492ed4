"""
Whether a step did what the contract says, read off the rows before and after it.

Rule 1: right is: the rows of this job changed exactly as the contract says, no other row changed in
        any way, and the answer is true.
Rule 2: refused is: an error, and not one byte changed.
Rule 3: anything else is harm, whoever's trigger caused it.
Rule 4: nothing here knows the library or asks a database. Which row belongs to which job is known
        from whoever made the rows.

A change that the adopter's own trigger makes beside a worker's step is his affair: rows of
`audit_log`, and contacts of origin "trigger". But after a cancel no contact is open, whoever added
it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from tests.schemas.calls import Answer, Call, Dump, Refusal, Row, Verdict

OPEN: Final = frozenset({"pending", "queued", "no_answer", "busy", "timeout"})
RETRIED: Final = frozenset({"queued", "no_answer", "busy", "timeout"})
LIVE: Final = frozenset({"scheduled", "pending", "running"})
ENDED: Final = frozenset({"completed", "failed", "cancelled"})


@attrs.frozen
class Knowledge:
    """
    What is known of the tables by whoever made them.

    Arguments:
        job_status: the contract's word for what a row of jobs holds; anything else is unknown.
        contact_status: likewise.
        written: what the library writes for a status of a job, and of a contact: the first one.
        versions: whether version columns are mapped.
        touched: the columns of a changed row that may change with it.
        stale: since when a call counts as dead: "since", "updated", or None if nobody can know.
        has_times: whether the time of the next attempt is mapped.
        has_deferred: whether the id of the deferred start is mapped.
        is_deleted: what a deleted row holds in `deleted`.
        organization_of_contacts: whether a contact holds its organization, mapped.
        names: the id and the organization that the library is to call a job by, by its row.
        references: what a contact of a job holds for it, by the job's row.
        old: the rows of contacts that have not changed for long, by how one can know.
        later: the rows of contacts that are not due yet.
        hides_cancelled: whether a cancelled job is not to be seen, and so is not there.
        may_pass_over: whether there are contacts that may be seen and not changed; a claim passes
            over them as over locked ones.
    """

    job_status: Callable[[str | None], str]
    contact_status: Callable[[str | None], str]
    written: Callable[[str, str], str]
    versions: bool
    touched: Mapping[str, frozenset[str]]
    stale: str | None
    has_times: bool
    has_deferred: bool
    is_deleted: Callable[[str | None], bool]
    organization_of_contacts: bool
    names: Mapping[str, tuple[str, str | None]]
    references: Mapping[str, str]
    old: Mapping[str, frozenset[str]]
    later: frozenset[str]
    hides_cancelled: bool
    may_pass_over: bool


def judge(call: Call, answer: Answer | Refusal, before: Dump, after: Dump, known: Knowledge) -> Verdict:
    """Return whether the step came out right."""
    changes = _changes(before, after)
    if isinstance(answer, Refusal):
        return _judge_refusal(call, answer, changes, before, known)
    if call.how.is_rolled_back:
        found = [f"rolled back, and {change} all the same" for change in changes]
        return _harm(found) if found else Verdict("right")
    if call.is_ambiguous and (changes or answer.value not in {0, None, ()}):
        return _harm([f"several jobs have this name, and the answer is {answer.value!r}"])
    expected = _refusal(call, before, known)
    if expected is not None and not (call.is_ambiguous or _is_replay(call, before, known)):
        return _harm([f"{expected} was to be raised, and the answer is {answer.value!r}"])
    if call.is_ambiguous:
        return Verdict("refused")
    look = _Look(call, before, after, known, changes)
    _RULES[call.step](look, answer.value)
    look.nothing_else()
    if look.complaints:
        return _harm(look.complaints)
    return Verdict("right", new_contacts=tuple(look.added))


def _harm(complaints: Iterable[str]) -> Verdict:
    return Verdict("harm", tuple(complaints))


@attrs.frozen
class Change:
    """A row that is not as it was."""

    table: str
    row: str
    old: Row | None
    new: Row | None

    def __str__(self) -> str:
        if self.old is None or self.new is None:
            return f"{self.table} {self.row} was {'added' if self.old is None else 'deleted'}"
        differing = ", ".join(
            f"{name} from {self.old[name]} to {self.new[name]}" for name in self.columns
        )
        return f"{self.table} {self.row} changed: {differing}"

    @property
    def columns(self) -> list[str]:
        """The columns that differ."""
        if self.old is None or self.new is None:
            return []
        return [name for name in self.old if self.old[name] != self.new.get(name)]


def _changes(before: Dump, after: Dump) -> list[Change]:
    return [
        Change(table, row, before[table].get(row), after[table].get(row))
        for table in before
        if before[table] is not after[table]
        for row in {**before[table], **after[table]}
        if before[table].get(row) != after[table].get(row)
    ]


def _judge_refusal(
    call: Call, refusal: Refusal, changes: Sequence[Change], before: Dump, known: Knowledge
) -> Verdict:
    if changes:
        found = [f"{refusal.kind} was raised, and {change}" for change in changes]
        return _harm([f"{refusal.kind}: {refusal.sentence}", *found])
    if not refusal.is_named:
        return _harm([f"no refusal, but {refusal.kind}: {refusal.sentence}"])
    return Verdict("right" if refusal.kind == _refusal(call, before, known) else "refused")


def _refusal(call: Call, before: Dump, known: Knowledge) -> str | None:
    """Return the error that the contract asks for."""
    row = None if call.job is None else before["jobs"][str(call.job)]
    if call.step == "expire" and known.stale is None:
        is_there = row is not None and not _is_hidden(row, known)
        return "StoreFailed" if is_there else None
    if call.step not in {"cancel", "append"}:
        return None
    if row is None or _is_hidden(row, known):
        return "JobNotFound"
    status = known.job_status(row["status"])
    if status in LIVE:
        return None
    return "AlreadyTerminal" if status in ENDED else "UnknownJobStatus"


def _is_hidden(row: Row, known: Knowledge) -> bool:
    """Return whether a job is none to whoever asks through this mapping."""
    if known.is_deleted(row.get("deleted")):
        return True
    return known.hides_cancelled and known.job_status(row["status"]) == "cancelled"


def _is_replay(call: Call, before: Dump, known: Knowledge) -> bool:
    record = before["cancellations"].get(_record_of(call, known))
    if call.job is None or _is_hidden(before["jobs"][str(call.job)], known):
        return False
    return call.step == "cancel" and (record or {}).get("operation_id") == call.operation_id


def _record_of(call: Call, known: Knowledge) -> str:
    if call.job is None:
        return ""
    job_id, organization = known.names[str(call.job)]
    return f"{organization or ''}\n{job_id}"


class _Look:
    """What changed, ticked off one by one; what is left over was not to change."""

    def __init__(
        self, call: Call, before: Dump, after: Dump, known: Knowledge, changes: list[Change]
    ) -> None:
        self.call, self.before, self.after, self.known = call, before, after, known
        self.complaints: list[str] = []
        self.added: list[str] = []
        self._left = {(it.table, it.row): it for it in changes}
        self.job_rid = str(call.job)

    @property
    def job(self) -> Row | None:
        """The job before, if there is one that counts."""
        row = self.before["jobs"].get(self.job_rid)
        return None if row is None or _is_hidden(row, self.known) else row

    @property
    def status(self) -> str | None:
        """The job's status before, in the contract's words."""
        return None if self.job is None else self.known.job_status(self.job["status"])

    def contacts(self, dump: Dump, among: frozenset[str]) -> list[str]:
        """Return this job's contacts in these statuses."""
        return [
            rid
            for rid, row in dump["contacts"].items()
            if row["owner"] == self.job_rid
            and not self.known.is_deleted(row.get("deleted"))
            and self.known.contact_status(row["status"]) in among
        ]

    def claim(self, condition: object, complaint: str) -> None:
        """Complain unless the condition holds."""
        if not condition:
            self.complaints.append(complaint)

    def changed_to(self, table: str, rid: str, status: str, *more: str) -> None:
        """Tick off a row that must have this status now, and else have changed no further."""
        change = self._left.pop((table, rid), None)
        if change is None or change.old is None or change.new is None:
            self.complaints.append(f"{table} {rid} is not {status}: {change or 'unchanged'}")
            return
        written = self.known.written(table, status)
        self.claim(change.new["status"] == written, f"{change}: not to {written!r}")
        allowed = self.known.touched[table] | {"status", *more}
        if self.known.versions:
            allowed |= {"version"}
            raised = int(change.old["version"] or 0) + 1
            self.claim(change.new["version"] == str(raised), f"{change}: version is not {raised}")
        beyond = set(change.columns) - allowed
        self.claim(not beyond, f"{change}: {', '.join(sorted(beyond))} was not to change")

    def recorded(self, expected: Mapping[str, str | None]) -> None:
        """Tick off the record of a cancellation."""
        change = self._left.pop(("cancellations", _record_of(self.call, self.known)), None)
        if change is None or change.new is None:
            self.complaints.append("there is no record of the cancellation")
            return
        for name, value in expected.items():
            kept = change.new[name]
            self.claim(kept == value, f"the record's {name} is {kept!r}, not {value!r}")

    def added_contacts(self) -> list[Change]:
        """Tick off the rows of contacts that nobody but the library can have added."""
        found = [
            it
            for it in self._left.values()
            if it.table == "contacts" and it.old is None and (it.new or {})["origin"] != "trigger"
        ]
        for it in found:
            del self._left[it.table, it.row]
        return found

    def nothing_else(self) -> None:
        """Complain about each row that is left, but for what a trigger does beside."""
        for change in self._left.values():
            is_log = change.table == "audit_log" and change.old is None
            is_own = change.table == "contacts" and change.old is None
            is_own = is_own and (change.new or {})["origin"] == "trigger"
            if not (is_log or is_own):
                self.complaints.append(str(change))


def _cancel(look: _Look, answer: Mapping[str, Any]) -> None:
    call, known = look.call, look.known
    name = known.names[look.job_rid][0]
    if _is_replay(call, look.before, known):
        record = look.before["cancellations"][_record_of(call, known)]
        told = (str(answer["contacts_cancelled"]), answer["previous_status"], answer["replayed"])
        was = (record["contacts_cancelled"], record["previous_status"], True)
        look.claim(told == was, f"replayed as {told}, and was {was}")
        look.claim(answer["batch_job_id"] == name, f"the id answered is {answer['batch_job_id']!r}")
        return
    cancelled = look.contacts(look.before, OPEN)
    look.changed_to("jobs", look.job_rid, "cancelled")
    for rid in cancelled:
        look.changed_to("contacts", rid, "cancelled")
    for rid in look.contacts(look.after, OPEN):
        look.complaints.append(f"contacts {rid} is still open")
    is_scheduled = look.status == "scheduled"
    removal = "removed" if is_scheduled else "not_applicable"
    deferred = (look.job or {})["deferred"] if known.has_deferred else name
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


def _start(look: _Look, answer: bool) -> None:  # noqa: FBT001  # What the step answers.
    may = look.status in {"scheduled", "pending"}
    if may:
        look.changed_to("jobs", look.job_rid, "running")
    look.claim(answer is may, f"the answer is {answer}, not {may}")


def _finish(look: _Look, answer: bool) -> None:  # noqa: FBT001  # What the step answers.
    may = look.status == "running" and not look.contacts(look.before, OPEN | {"dialing"})
    if may:
        look.changed_to("jobs", look.job_rid, "completed")
    look.claim(answer is may, f"the answer is {answer}, not {may}")


def _claim(look: _Look, answer: Sequence[str]) -> None:
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


def _settle(look: _Look, answer: str | None) -> None:
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


def _append(look: _Look, answer: int) -> None:
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


def _expire(look: _Look, answer: int) -> None:
    dialing = look.contacts(look.before, frozenset({"dialing"})) if look.job else []
    dead = [rid for rid in dialing if rid in look.known.old[look.known.stale or ""]]
    outcome = "cancelled" if look.status == "cancelled" else "timeout"
    more = ("next",) if look.known.has_times else ()
    for rid in dead:
        look.changed_to("contacts", rid, outcome, "since", *more)
    look.claim(answer == len(dead), f"the answer is {answer}, not {len(dead)}")


def _inspect(look: _Look, answer: Sequence[tuple[str, str | None, int]]) -> None:
    known, expected = look.known, []
    for rid, row in look.before["jobs"].items():
        if known.job_status(row["status"]) != "cancelled" or _is_hidden(row, known):
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


_RULES: Final[Mapping[str, Callable[[_Look, Any], None]]] = {
    "cancel": _cancel,
    "start": _start,
    "finish": _finish,
    "claim": _claim,
    "settle": _settle,
    "append": _append,
    "expire": _expire,
    "inspect": _inspect,
}
