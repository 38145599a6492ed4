"""The history port of SQLAlchemy, asked directly: how many records it answers and deletes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from batch_cancel.domain.history import Wanted
from tests.data_layers import TABLES, Layer
from tests.integration.own_tables import Asyncio, Blocking
from tests.integration.sqlalchemy_layers import layer

__all__ = ["layer"]

EARLIER = pytest.mark.parametrize("has_earlier", [True, False])


def cancelled(layer: Layer, *, has_earlier: bool) -> None:
    """Cancel both jobs and tell of it; without a table for earlier records if so."""
    if not has_earlier:
        layer.execute("DROP TABLE batch_cancellations_earlier")
    for job_id in ("j1", "j2"):
        layer.call("cancel_rows", job_id, tables=TABLES, operation_id=f"of {job_id}")


def asked(layer: Layer, method: str, *arguments: Any) -> Any:
    """Call a method of the port in a transaction, and return what it answers."""
    answers = list[Any]()
    half = Blocking() if layer.asyncio_engine is None else Asyncio()
    half.begun(
        layer.uow(TABLES),
        lambda call, repositories: answers.append(
            call(getattr(repositories.history, method), *arguments)
        ),
    )
    return answers[0]


@EARLIER
def test_a_page_has_as_many_records_as_are_asked_for(layer: Layer, *, has_earlier: bool) -> None:
    """The newest, also where there is no table for earlier ones."""
    cancelled(layer, has_earlier=has_earlier)
    for limit, names in ((1, ["of j2"]), (2, ["of j2", "of j1"]), (3, ["of j2", "of j1"])):
        page = asked(layer, "page", Wanted(None), limit)
        assert [it.operation_id for it in page] == names


@EARLIER
def test_as_many_records_are_forgotten_as_are_asked_for(
    layer: Layer, *, has_earlier: bool
) -> None:
    """The oldest first; the port says how many they were."""
    cancelled(layer, has_earlier=has_earlier)
    later, at_once = datetime.now(UTC) + timedelta(days=1), timedelta(days=-1)
    left = [["of j2"], [], []]
    for number, names in zip((1, 1, 0), left, strict=True):
        assert asked(layer, "forget", later, at_once, 1) == number
        assert [it.operation_id for it in asked(layer, "page", Wanted(None), 9)] == names
