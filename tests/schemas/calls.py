"""What is asked of the library, and what it answered, without a word of the library in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs

Step = Literal["cancel", "start", "claim", "settle", "append", "finish", "expire", "inspect"]

Row = Mapping[str, str | None]
Dump = Mapping[str, Mapping[str, Row]]
"""Every row of every table, by table, by row, by column; all as the database writes it as text."""


@attrs.frozen
class How:
    """In what way a step is called."""

    is_joined: bool = False
    is_async: bool = False
    is_rolled_back: bool = False

    def __str__(self) -> str:
        words = ["joined" if self.is_joined else "alone", "asyncio" if self.is_async else ""]
        words += ["rolled back" if self.is_rolled_back else ""]
        return ", ".join(filter(None, words))


@attrs.frozen
class Call:
    """
    A step, on a job that the caller names.

    Arguments:
        step: what is called.
        job: the number of the row that is meant; None if there is no such job.
        batch_job_id: the id that is given.
        organization_id: the organization that is given.
        is_ambiguous: whether several rows have this name: then nothing may be done.
        operation_id: of a cancel.
        contact: the number of the row of the contact that is meant.
        contact_id: the id that is given for it.
        outcome: how its call ended.
        limit: how many contacts are claimed at most.
        contacts: those that are added, by the mapped names of columns.
        how: in what way.
    """

    step: Step
    job: int | None
    batch_job_id: str
    organization_id: str | None
    is_ambiguous: bool = False
    operation_id: str = "op"
    contact: str | None = None
    contact_id: str = ""
    outcome: str = ""
    limit: int = 0
    contacts: tuple[Mapping[str, Any], ...] = ()
    how: How = How()

    def __str__(self) -> str:
        named = f"{self.batch_job_id!r} of {self.organization_id!r}"
        more = f" {self.contact_id} {self.outcome}" if self.contact else ""
        return f"{self.step}({named}{more}), {self.how}"


@attrs.frozen
class Refusal:
    """
    What was raised.

    Arguments:
        kind: the error's class.
        sentence: its message.
        is_named: whether it is one of those that the library promises, or the caller's own commit.
    """

    kind: str
    sentence: str
    is_named: bool = True


@attrs.frozen
class Answer:
    """What was returned, as plain values."""

    value: Any


@attrs.frozen
class Verdict:
    """
    Whether a step came out right.

    Arguments:
        kind: "right"; "refused", with nothing changed; or "harm".
        complaints: what is wrong, in sentences.
        new_contacts: the rows that this step added to the job, to be remembered as its own.
    """

    kind: Literal["right", "refused", "harm"]
    complaints: tuple[str, ...] = ()
    new_contacts: tuple[str, ...] = ()
