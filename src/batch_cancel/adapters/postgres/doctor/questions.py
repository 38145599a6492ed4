"""The questions that only Postgres can answer: conditions, plans and contents of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import attrs
from psycopg import sql

from batch_cancel.adapters.postgres.doctor.tables import Rows
from batch_cancel.adapters.postgres.sql_parts import PACKAGE, trusted
from batch_cancel.adapters.sql_files import statements

STATEMENTS: Final = statements(PACKAGE, "doctor/catalog.sql")


@attrs.frozen
class Condition:
    """
    A condition on a status column, and the statuses for which it must hold.

    Arguments:
        text: as in the catalog.
        columns: the values of a row in its columns, as SQL; `given.status` is a status.
        statuses: the statuses for which it must hold.
        unknown_will_do: whether NULL counts as true, as in a check constraint.
    """

    text: str
    columns: sql.Composable
    statuses: Sequence[str]
    unknown_will_do: bool = False

    @property
    def question(self) -> sql.SQL:
        """The statement that evaluates it."""
        parts = {"condition": self.text, "columns": self.columns.as_string(None)}
        # A percent sign would be read as a placeholder.
        escaped = {name: trusted(text.replace("%", "%%")) for name, text in parts.items()}
        composed = trusted(STATEMENTS["condition"]).format(**escaped)
        return trusted(composed.as_string(None))

    def answer(self, row: tuple[Any, ...] | None) -> bool:
        """Read the answer; no row means no."""
        return row is not None and bool(row[0] if self.unknown_will_do else row[1])


@attrs.frozen
class Reading:
    """
    A statement of the adapter that should read a table by an index.

    Arguments:
        statement: as the adapter sends it.
        parameters: sample parameters.
        parts: the table or its partitions, as schema.name.
        alias: the table's alias in the part in question; "" for everywhere.
    """

    statement: sql.SQL
    parameters: Mapping[str, object]
    parts: frozenset[str]
    alias: str

    @property
    def question(self) -> sql.SQL:
        """The statement that plans it; it is not run."""
        return trusted(STATEMENTS["plan"] + " " + self.statement.as_string(None))

    def scans(self, rows: Rows) -> bool:
        """Read the answer: whether the whole table is read; no plan means no."""
        return any(
            node["Node Type"] == "Seq Scan"
            and f"{node['Schema']}.{node['Relation Name']}" in self.parts
            and node["Alias"].startswith(self.alias)  # The aliases of partitions end in a number.
            for plan in _plans(rows)
            for node in _nodes(plan)
        )

    def refusal(self, rows: Rows) -> str | None:
        """Read the answer: why a statement has no plan; None if it has one."""
        return None if any(_plans(rows)) else "a rule removes it"


def _plans(rows: Rows) -> Iterator[dict[str, Any]]:
    """Yield a statement's plans: a rule may leave none, make several, or only notify."""
    for [planned] in rows:
        for it in planned:
            if isinstance(it, dict) and "Plan" in it:
                yield it["Plan"]


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for below in node.get("Plans", ()):
        yield from _nodes(below)


@attrs.frozen
class Doubt:
    """
    A sentence that is reported unless one of some conditions holds.

    Arguments:
        kind: the list that the sentence belongs to.
        sentence: the problem.
        unless: the conditions.
        fits: the sentence if there is no problem.
        is_dispelled: whether the catalogs alone show that there is no problem.
        reading: the statement; a plan that reads the whole table is a problem.
    """

    kind: Literal["missing", "slow", "workers"]
    sentence: str
    unless: Sequence[Condition] = ()
    fits: str | None = None
    is_dispelled: bool = False
    reading: Reading | None = None


@attrs.frozen
class Attempt:
    """
    A statement of the adapter that Postgres plans, to see whether it accepts it.

    Arguments:
        kind: the list that a refusal belongs to.
        belies: the sentence that is wrong if Postgres refuses the statement.
        what: what it does, to follow "the statement that".
        reading: the statement.
    """

    kind: Literal["missing", "workers"]
    belies: str
    what: str
    reading: Reading


@attrs.frozen
class Look:
    """
    A read of some rows of the adopter.

    Arguments:
        question: the statement; it reads a bounded number of rows.
        parameters: its parameters.
        finding: returns the sentence for an answer; None if there is no problem.
    """

    question: sql.SQL
    parameters: Mapping[str, object]
    finding: Callable[[Rows], str | None]
