"""The signatures on the page of the interfaces show what is there, not how attrs writes it."""

from __future__ import annotations

import inspect
from datetime import timedelta
from typing import Any

import attrs

from batch_cancel import BulkResult, CancellationRecord, JobStatus, StoreFailed
from documentation.signatures import with_values


def signature(cls: Any) -> inspect.Signature:
    """Return the signature of a class's `__init__` as the page shows it."""
    found = with_values(cls.__init__)
    assert found is not None
    return found


def test_a_default_is_shown_by_its_value() -> None:
    """Of attrs' own `__init__`."""
    assert "is_swept: 'bool' = True" in str(signature(CancellationRecord))
    assert "taken_at: 'datetime | None' = None" in str(signature(CancellationRecord))
    assert "failures: 'tuple[CancelFailed | UnknownJobStatus, ...]' = ()" in str(
        signature(BulkResult)
    )


def test_a_status_is_shown_by_its_name() -> None:
    """As one writes it."""
    assert "fault: 'Fault' = Fault.REFUSED" in str(signature(StoreFailed))


def test_what_is_made_anew_is_left_open() -> None:
    """A factory has no value yet; others have no short form."""

    @attrs.frozen
    class Own:
        made: list[str] = attrs.field(factory=list[str])
        how_long: timedelta = timedelta(seconds=5)
        by: object = len
        _hidden: str = "seen"

    _, *parameters = signature(Own).parameters.values()
    assert {it.name: repr(it.default) for it in parameters} == {
        "made": "...",
        "how_long": "datetime.timedelta(seconds=5)",
        "by": "...",
        "hidden": "'seen'",
    }


def test_another_function_is_left_alone() -> None:
    """It has a signature of its own; so has an `__init__` that a class has written."""
    assert with_values(with_values) is None
    assert with_values(JobStatus.__init__) is None
