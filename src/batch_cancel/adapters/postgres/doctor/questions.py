"""What only Postgres can tell: whether conditions hold, how it plans, what rows hold."""

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
    A condition on a status column, and the statuses that it has to hold for.

    Arguments:
        text: as the catalog spells it.
        columns: what a row holds in the columns that it may be on, as SQL; `given.status` is a
            status.
        statuses: all of which it must hold for.
        unknown_will_do: whether NULL is as good as true, as it is in a check constraint.
    """

    text: str
    columns: sql.Composable
    statuses: Sequence[str]
    unknown_will_do: bool = False

    @property
    def question(self) -> sql.SQL:
        """The statement that asks."""
        parts = {"condition": self.text, "columns": self.columns.as_string(None)}
        # A percent sign would read as a placeholder.
        escaped = {name: trusted(text.replace("%", "%%")) for name, text in parts.items()}
        composed = trusted(STATEMENTS["condition"]).format(**escaped)
        return trusted(composed.as_string(None))

    def answer(self, row: tuple[Any, ...] | None) -> bool:
        """Read the answer; none at all is a no."""
        return row is not None and bool(row[0] if self.unknown_will_do else row[1])


@attrs.frozen
class Reading:
    """
    A statement of the adapter's that should find what it reads of a table by an index.

    Arguments:
        statement: as the adapter sends it.
        parameters: some that it could be sent with.
        parts: what the table's rows are in, as schema.name.
        alias: what the statement calls the table where it is about this; "" for everywhere.
    """

    statement: sql.SQL
    parameters: Mapping[str, object]
    parts: frozenset[str]
    alias: str

    @property
    def question(self) -> sql.SQL:
        """The statement that asks; it runs nothing."""
        return trusted(STATEMENTS["plan"] + " " + self.statement.as_string(None))

    def scans(self, rows: Rows) -> bool:
        """Read the answer: whether all of the table is read; no plan at all is a no."""
        return any(
            node["Node Type"] == "Seq Scan"
            and f"{node['Schema']}.{node['Relation Name']}" in self.parts
            and node["Alias"].startswith(self.alias)  # Those of partitions end in a number.
            for plan in _plans(rows)
            for node in _nodes(plan)
        )

    def refusal(self, rows: Rows) -> str | None:
        """Read the answer: what is wrong with a statement of which no plan is left."""
        return None if any(_plans(rows)) else "a rule turns it into nothing"


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
    A sentence that is true unless one of some conditions holds.

    Arguments:
        kind: what the sentence is about.
        sentence: what is wrong then.
        unless: the conditions.
        fits: what is well otherwise.
        is_dispelled: whether the catalogs alone tell that it is well.
        reading: the statement that it is about; planned to read all of a table, it is not well.
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
    A statement of the adapter's that Postgres is asked to plan, to see whether it takes it.

    Arguments:
        kind: who needs it.
        belies: the sentence that is not true if Postgres does not take it.
        what: what it does, as a sentence goes on after "the statement that".
        reading: the statement.
    """

    kind: Literal["missing", "workers"]
    belies: str
    what: str
    reading: Reading


@attrs.frozen
class Look:
    """
    A look at some rows of the adopter's.

    Arguments:
        question: the statement; it reads a bounded number of rows.
        parameters: its parameters.
        finding: what its answer means; None if it is well.
    """

    question: sql.SQL
    parameters: Mapping[str, object]
    finding: Callable[[Rows], str | None]
