"""The floors: SQL that a person would write by hand, sent by psycopg alone."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Final
from unittest import mock

import psycopg
from psycopg import sql

from batch_cancel.adapters.postgres.sql_parts import trusted
from batch_cancel.adapters.sql_files import statements

_STATEMENTS: Final = {
    name: trusted(text) for name, text in statements("benchmarks", "floors.sql").items()
}

_EXECUTE: Final = "execute"
CLAIM: Final = _STATEMENTS["claim"]
SETTLE: Final = _STATEMENTS["settle"]


def bare_update(job: str) -> str:
    """Return the UPDATE of a job's open contacts."""
    return _STATEMENTS["bare_update"].format(job=sql.Literal(job)).as_string(None)


def bare_update_of(jobs: Sequence[str]) -> str:
    """Return the UPDATE of the open contacts of many jobs."""
    update = _STATEMENTS["bare_update_of_many"]
    return update.format(jobs=sql.Literal(list(jobs))).as_string(None)


def with_record(job: str) -> str:
    """Return the string of a cancel that keeps a record."""
    update = trusted(bare_update(job))
    return (
        _STATEMENTS["with_record"]
        .format(job=sql.Literal(job), operation=sql.Literal(f"of {job}"), bare_update=update)
        .as_string(None)
    )


def same_sql(cancel: Callable[[str], object], sample: str) -> Callable[[str], bytes]:
    """
    Return what makes the string of any job's cancel, from what the library sends for a sample.

    Arguments:
        cancel: cancels a job by the library, blocking, under the operation `of JOB`.
        sample: the job to cancel; the others have as many contacts, and the same status.
    """
    with _sent() as statements:
        cancel(sample)
    string = ";\n".join(statements)

    def of(job: str) -> bytes:
        return (
            string.replace(f"'{sample}'", f"'{job}'")
            .replace(f"'of {sample}'", f"'of {job}'")
            .encode()
        )

    return of


@contextmanager
def _sent() -> Generator[list[str]]:
    """Collect the statements that are sent, with their values in them."""
    statements: list[str] = []
    execute: Callable[..., object] = getattr(psycopg.Cursor, _EXECUTE)

    def noting(cursor: psycopg.Cursor[object], *given: object, **options: object) -> object:
        rendered: Callable[..., str] = psycopg.ClientCursor(cursor.connection).mogrify
        statements.append(rendered(*given))
        return execute(cursor, *given, **options)

    with mock.patch.object(psycopg.Cursor, _EXECUTE, noting):
        yield statements
