"""What changed from one dump to the next, ticked off change by change."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from tests.schemas.calls import Call, Dump, Row
from tests.schemas.facts import Knowledge, is_hidden, record_of


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


def changes(before: Dump, after: Dump) -> list[Change]:
    """Return the rows that differ between two dumps."""
    return [
        Change(table, row, before[table].get(row), after[table].get(row))
        for table in before
        if before[table] is not after[table]
        for row in {**before[table], **after[table]}
        if before[table].get(row) != after[table].get(row)
    ]


class Look:
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
        return None if row is None or is_hidden(row, self.known) else row

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
        change = self._left.pop(("cancellations", record_of(self.call, self.known)), None)
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
