"""The store on Django's connection."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import psycopg
import pytest

from tests import data_layers
from tests.adapters_under_test.limits import BUDGET
from tests.adapters_under_test.postgres import PostgresTables
from tests.adapters_under_test.sqlalchemy import _LeavingNoConnection


class DjangoTables(PostgresTables):
    """Django's connection, one a thread as ever."""

    sweep = False
    site: ClassVar[Any]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _site(cls, tables_of_class: tuple[str, psycopg.Connection[Any]]) -> Iterator[None]:
        with data_layers.django_uow(tables_of_class[0], lock_timeout=BUDGET) as uow:
            cls.site = uow
            yield

    def uow(self) -> Any:
        """Return the unit of work: what it does in another thread is on another connection."""
        return _LeavingNoConnection(self.site)

    def connections(self) -> int | None:
        """They are Django's."""
        return None

    @contextmanager
    def _joined(self) -> Generator[Any]:
        """Open a block of the caller's."""
        from django.db import transaction

        block: Any = transaction.atomic(using=self.site.using)
        with block:
            yield self.site
