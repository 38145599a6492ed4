"""The faults of MariaDB and MySQL by their numbers, and SQL that no server of the tests meets."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import mysql

from batch_cancel.adapters.sqlalchemy import cancellations_table
from batch_cancel.adapters.sqlalchemy.bytewise import exactly
from batch_cancel.adapters.sqlalchemy.errors import Phase, TransactionLost, translated
from batch_cancel.adapters.sqlalchemy.errors import within_savepoint as within
from batch_cancel.adapters.sqlalchemy.mysql_faults import fatal
from batch_cancel.domain.errors import Fault, StoreFailed


class DriversError(Exception):
    """As drivers raise them: the number comes first, and the SQLSTATE is a general one."""

    sqlstate = "HY000"


def failure(number: int, phase: Phase) -> StoreFailed:
    """Return the translation of a fault."""
    cause = exc.OperationalError("UPDATE", {}, DriversError(number, "a secret"))
    with pytest.raises(StoreFailed) as caught:
        _fail(phase, cause)
    assert "secret" not in str(caught.value)
    return caught.value


def _fail(phase: Phase, cause: Exception) -> None:
    with translated() as progress:
        progress.phase = phase
        raise cause


@pytest.mark.parametrize(
    ("number", "fault"),
    [
        (1213, Fault.CONFLICT),
        (1205, Fault.LATE),
        (1969, Fault.LATE),
        (3024, Fault.LATE),
        (1290, Fault.BUSY),
        (1047, Fault.BUSY),
        (1180, Fault.BUSY),
        (1040, Fault.BUSY),
        (2006, Fault.INTERRUPTED),
        (2013, Fault.INTERRUPTED),
        (1146, Fault.REFUSED),
        (1054, Fault.REFUSED),
        (1142, Fault.REFUSED),
        (1064, Fault.REFUSED),
    ],
)
def test_a_failed_statement_leaves_everything_unchanged(number: int, fault: Fault) -> None:
    """Its number says what to do about it."""
    found = failure(number, "working")
    assert (found.fault, found.outcome) == (fault, "unchanged")


@pytest.mark.parametrize(
    ("number", "outcome"),
    [
        (1213, "unchanged"),
        (1205, "unchanged"),
        (1047, "unchanged"),
        (1290, "unchanged"),
        (2013, "unknown"),
        (1180, "unknown"),
        (1969, "unknown"),
        (1317, "unknown"),
    ],
)
def test_a_failed_commit_is_unknown_unless_it_is_known(number: int, outcome: str) -> None:
    """A commit that is refused is none; one that is cut off may be one."""
    assert failure(number, "committing").outcome == outcome


def test_a_commit_that_fails_counts_and_not_the_rollback_after_it() -> None:
    """A node that was cut off while it sent the commit refuses the ROLLBACK."""
    with pytest.raises(StoreFailed) as caught:
        _fail_twice(1180, 1047)
    assert caught.value.outcome == "unknown"


def _fail_twice(first: int, second: int) -> None:
    errors = [exc.OperationalError(None, {}, DriversError(it)) for it in (first, second)]
    with translated() as progress:
        try:
            with progress.committing():
                raise errors[0]
        finally:
            raise errors[1]


@pytest.mark.parametrize(
    ("number", "fault"), [(2003, Fault.BUSY), (1040, Fault.BUSY), (1045, Fault.REFUSED)]
)
def test_a_refused_connection_says_why(number: int, fault: Fault) -> None:
    """Nothing was asked yet."""
    found = failure(number, "connecting")
    assert (found.fault, found.outcome) == (fault, "unchanged")


@pytest.mark.parametrize(("number", "fault"), [(1213, Fault.CONFLICT), (1205, Fault.LATE)])
def test_the_end_of_the_transaction_within_a_savepoint(number: int, fault: Fault) -> None:
    """It is not called unchanged: what the caller wrote before is gone."""
    with pytest.raises(TransactionLost, match="your whole transaction") as lost:
        _fail_within(number, timeouts_are=True)
    assert (lost.value.outcome, lost.value.fault) == ("unknown", fault)


def test_a_lock_timeout_within_a_savepoint_ends_its_statement_alone() -> None:
    """Unless the server is set to roll back everything."""
    with pytest.raises(StoreFailed, match="lock wait timeout") as caught:
        _fail_within(1205, timeouts_are=False)
    assert caught.value.outcome == "unchanged"


def _fail_within(number: int, *, timeouts_are: bool) -> None:
    cause = exc.OperationalError("UPDATE", {}, DriversError(number, ""))
    with translated() as progress, within(progress, fatal(timeouts_are=timeouts_are)):
        raise cause


@pytest.mark.parametrize(
    ("is_mariadb", "collation"), [(True, "utf8mb4_nopad_bin"), (False, "utf8mb4_0900_bin")]
)
def test_texts_are_compared_in_a_collation_of_the_server(
    *, is_mariadb: bool, collation: str
) -> None:
    """Beside the plain comparison, which an index serves."""
    dialect = mysql.dialect(is_mariadb=is_mariadb)
    column = sa.Column("id", sa.String)
    compiled = str(exactly(column, column == "job").compile(dialect=dialect))
    assert compiled == f"(id = %s AND CONVERT(id USING utf8mb4) COLLATE {collation} = %s)"
    table = cancellations_table(sa.MetaData())
    ddl = str(sa.schema.CreateTable(table).compile(dialect=dialect))
    assert f"batch_job_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE {collation} NOT NULL" in ddl
    assert "cancelled_at DATETIME(6) NOT NULL" in ddl
