"""
What Postgres says of the adopter's tables, for every adapter that works on Postgres.

The catalogs are asked in the first transaction that needs to know, once per process, schema and
database, and the answer serves the others of the next minute: then a trigger that was made, or an
index that was dropped, is seen as well. What is refused is asked again each time, so that a table
that is repaired works at once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Hashable, Iterator
from functools import cache
from typing import Any, Final

import attrs

from batch_cancel.adapters.sql_files import sql_text
from batch_cancel.domain.table_shape import Table, UniqueIndex

_MULTI_PRIMARY: Final = {
    "bdr": "BDR",
    "spock": "Spock",
    "pglogical": "pglogical in both directions",
}


SQL_ASCII: Final = (
    "the database is SQL_ASCII, which stores bytes of no known encoding, so ids can't be "
    "compared: move to a database in UTF8"
)


@attrs.frozen
class Writer:
    """
    A trigger or a rule of the adopter's, which runs when a row is added or changed.

    Arguments:
        field: on or below which table: "jobs", "contacts" or "cancellations".
        kind: "trigger" or "rule".
        name: its name.
        table: its table, as it is typed.
        when: as its definition says it: BEFORE, AFTER, INSTEAD OF, DO ALSO or DO INSTEAD.
        is_of_rows: whether it runs for each row, and not for each statement.
        events: INSERT, UPDATE or both.
    """

    field: str
    kind: str
    name: str
    table: str
    when: str
    is_of_rows: bool
    events: tuple[str, ...]


_KNOWN_SECONDS: Final = 60.0
_KNOWN_MAX: Final = 1000
"""A schema for each of many tenants is as many tables; this many are kept."""


@attrs.frozen
class Facts:
    """
    What the catalogs say.

    Arguments:
        jobs: the table of jobs.
        contacts: the table of contacts.
        refusals: why nothing can be right here, whatever is mapped; empty if there is no reason.
        jobs_have_triggers: whether a job may not be written as it is sent: by a trigger, a rule, a
            policy or a view.
        contacts_have_triggers: the same of a contact.
        jobs_are_rewritten: whether one of them may write a job otherwise than RETURNING shows it,
            so that a row has to be read again after it was written.
        contacts_are_rewritten: the same of a contact.
        contacts_partitioned_by: the columns in the partition keys of contacts.
        deferrable: the constraint triggers that may run as late as the commit: schema, name, and
            whether they do unless told otherwise.
        writers: the triggers and rules that run when rows are added or changed, without ours.
        are_provisional: whether the transaction that asked changes the tables itself.
    """

    jobs: Table
    contacts: Table
    refusals: tuple[str, ...]
    jobs_have_triggers: bool
    contacts_have_triggers: bool
    jobs_are_rewritten: bool
    contacts_are_rewritten: bool
    contacts_partitioned_by: frozenset[str]
    deferrable: tuple[tuple[str, str, bool], ...]
    writers: tuple[Writer, ...] = ()
    are_provisional: bool = False


@attrs.define
class Known:
    """What is known of tables already, by whatever names them; bounded in number and in time."""

    _facts: dict[Hashable, tuple[float, Facts]] = attrs.field(
        factory=dict[Hashable, tuple[float, Facts]], init=False
    )

    def get(self, place: Hashable) -> Facts | None:
        """Return what was learnt of these tables within the last minute."""
        learnt_at, facts = self._facts.get(place, (0.0, None))
        return facts if time.monotonic() < learnt_at + _KNOWN_SECONDS else None

    def learn(self, place: Hashable, facts: Facts) -> None:
        """Keep what the database says now, unless that may still be rolled back."""
        if facts.are_provisional:
            return
        if len(self._facts) >= _KNOWN_MAX:
            self._facts.clear()
        self._facts[place] = (time.monotonic(), facts)

    def forget(self, place: Hashable) -> None:
        """Ask again the next time."""
        self._facts.pop(place, None)

    def clear(self) -> None:
        """Forget everything."""
        self._facts.clear()


_VERSION_MIN: Final = 15


def server_problems(version: int, *, is_read_only: bool) -> Iterator[str]:
    """Yield why nothing can be cancelled on a server with this `server_version_num`."""
    if version // 10_000 < _VERSION_MIN:
        yield f"Postgres is version {version // 10_000}: {_VERSION_MIN} or later is needed"
    if is_read_only:
        yield "Postgres is read-only here: connect to the primary, as a user that may write"


@cache
def question() -> str:
    """Return the statement that asks, with the oids of the three tables in braces."""
    text = sql_text("batch_cancel.adapters", "postgres_catalog.sql")
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))


def read_facts(answer: str) -> Facts:
    """
    Read the answer.

    Arguments:
        answer: the JSON text that `question` returns.
    """
    server: dict[str, Any] = json.loads(answer)
    tables: dict[str, dict[str, Any]] = server["tables"] or {}
    jobs, contacts = tables.get("jobs", {}), tables.get("contacts", {})
    return Facts(
        jobs=_table(jobs),
        contacts=_table(contacts),
        refusals=tuple(_refusals(server, tables)),
        jobs_have_triggers=bool(jobs.get("is_view") or jobs.get("has_triggers")),
        contacts_have_triggers=bool(contacts.get("is_view") or contacts.get("has_triggers")),
        jobs_are_rewritten=bool(jobs.get("is_view") or jobs.get("is_rewritten")),
        contacts_are_rewritten=bool(contacts.get("is_view") or contacts.get("is_rewritten")),
        contacts_partitioned_by=frozenset(contacts.get("partitioned_by") or ()),
        deferrable=tuple(
            dict.fromkeys(
                (namespace, name, is_deferred)
                for table in tables.values()
                for namespace, name, is_deferred in table["deferrable"] or ()
            )
        ),
        writers=tuple(_writers(tables)),
        are_provisional=bool(server.get("is_changing")),
    )


def _table(facts: dict[str, Any]) -> Table:
    return Table(
        name=facts.get("name", ""),
        unique=tuple(
            UniqueIndex(frozenset(it["columns"]), it["nulls_distinct"])
            for it in facts.get("unique") or ()
        ),
        not_null=frozenset(facts.get("not_null") or ()),
        is_view=bool(facts.get("is_view")),
        kinds=facts.get("kinds") or {},
    )


def _writers(tables: dict[str, dict[str, Any]]) -> Iterator[Writer]:
    for field, table in tables.items():
        for kind, name, its_table, when, is_of_rows, adds, changes in table["writers"] or ():
            events = [*(["INSERT"] if adds else []), *(["UPDATE"] if changes else [])]
            yield Writer(field, kind, name, its_table, when, is_of_rows, tuple(events))


def _refusals(server: dict[str, Any], tables: dict[str, dict[str, Any]]) -> list[str]:
    found: list[str] = []
    if server["encoding"] == "SQL_ASCII":
        found.append(SQL_ASCII)
    found.extend(
        f"the database is one of several primaries ({_MULTI_PRIMARY[extension]}), where the last "
        "write wins and a cancel can be undone without an error: use a database with one primary"
        for extension in server["extensions"] or ()
        if extension != "pglogical" or server["applies_and_sends"]
    )
    for table in tables.values():
        name = table["name"]
        if table["is_foreign"]:
            found.append(
                f"{name} is a foreign table, or reads from one, whose remote transaction keeps a "
                "snapshot from before the wait for the job: connect to the database that has it"
            )
        if table["hides_another"]:
            found.append(
                f"a temporary table {name} of this session hides yours: name your tables with "
                "their schema, (schema, table), or drop the temporary one"
            )
    return found
