"""
The catalog's facts about the adopter's tables, for every adapter on Postgres.

The catalogs are read in the first transaction that needs them, once per process, schema and
database, and the facts are cached for a minute: then a new trigger or a dropped index is seen.
Tables that are refused are read again each time, so that a repaired table works at once.
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
    "the database has the encoding SQL_ASCII, that is none, so ids can't be compared: move to a "
    "database in UTF8"
)


@attrs.frozen
class Writer:
    """
    A trigger or a rule of the adopter that runs when a row is added or changed.

    Arguments:
        field: the table that it is on or below: "jobs", "contacts" or "cancellations".
        kind: "trigger" or "rule".
        name: its name.
        table: its table, as SQL.
        when: BEFORE, AFTER, INSTEAD OF, DO ALSO or DO INSTEAD.
        is_of_rows: whether it runs for each row, not for each statement.
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
"""The most entries in the cache; a schema for each tenant makes many."""


@attrs.frozen
class Facts:
    """
    The facts that the catalogs hold.

    Arguments:
        jobs: the table of jobs.
        contacts: the table of contacts.
        refusals: why no mapping of this database is safe; empty if there is no reason.
        jobs_have_triggers: whether a trigger, a rule, a policy or a view may change what is
            written to a job.
        contacts_have_triggers: the same for a contact.
        jobs_are_rewritten: whether one of them may write a job other than RETURNING shows it, so
            that the row must be read again.
        contacts_are_rewritten: the same for a contact.
        contacts_partitioned_by: the columns in the partition keys of contacts.
        deferrable: the constraint triggers that may run at the commit: schema, name, and whether
            they do by default.
        writers: the triggers and rules that run when rows are added or changed, without ours.
        are_provisional: whether the transaction that read them changes the tables itself.
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
    """A cache of facts about tables, bounded in size and time."""

    _facts: dict[Hashable, tuple[float, Facts]] = attrs.field(
        factory=dict[Hashable, tuple[float, Facts]], init=False
    )

    def get(self, key: Hashable) -> Facts | None:
        """Return the facts of these tables, if they are less than a minute old."""
        learnt_at, facts = self._facts.get(key, (0.0, None))
        return facts if time.monotonic() < learnt_at + _KNOWN_SECONDS else None

    def learn(self, key: Hashable, facts: Facts) -> None:
        """Keep the facts, unless the transaction that read them changes the tables."""
        if facts.are_provisional:
            return
        if len(self._facts) >= _KNOWN_MAX:
            self._facts.clear()
        self._facts[key] = (time.monotonic(), facts)

    def forget(self, key: Hashable) -> None:
        """Remove the facts of these tables."""
        self._facts.pop(key, None)

    def clear(self) -> None:
        """Remove all facts."""
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
    """Return the statement that reads the catalogs; the three tables' oids are in braces."""
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
                "snapshot from before the wait for the job: connect to the database that holds "
                "the table"
            )
        if table["hides_another"]:
            found.append(
                f"a temporary table {name} of this session hides yours: name your tables with "
                "their schema, (schema, table), or drop the temporary one"
            )
    return found
