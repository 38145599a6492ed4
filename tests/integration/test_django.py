"""
Cancelling within Django's `atomic()`, on the ORM's own connection.

The end of the outermost `atomic()` decides, and only after its commit is the scheduler asked.
"""

from __future__ import annotations

from contextlib import nullcontext, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs
import psycopg
import pytest

from batch_cancel import (
    CancelFailed,
    CancelResult,
    JobKey,
    JobNotFound,
    Removal,
    cancel_job,
    cancel_rows,
    reconcile,
)
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.ports import Checkable
from batch_cancel.presenter import present
from tests import data_layers
from tests.pairs import create_reference_tables

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batch_cancel.adapters.django import DeferredRemoval, DjangoUnitOfWork


class Undone(Exception):
    """What a view raises to roll back."""


@attrs.frozen
class Site:
    """A Django site with a scheduled job of organization a, seen from outside too."""

    uow: DjangoUnitOfWork
    outside: psycopg.Connection[tuple[object, ...]]
    scheduler: MemoryScheduler

    def atomic(self, **options: Any) -> Any:
        """Open a block."""
        from django.db import transaction

        return transaction.atomic(using=self.uow.using, **options)

    def statuses(self) -> list[object]:
        """Give the committed statuses of job and contacts."""
        found = self.outside.execute(
            "SELECT status FROM batch_jobs UNION ALL "
            "(SELECT status FROM batch_contacts ORDER BY id)"
        )
        return [status for (status,) in found]


@pytest.fixture
def site(postgres_schema: str) -> Iterator[Site]:
    """Lend a site; its database is known to Django under an alias of the test's own."""
    with psycopg.connect(postgres_schema, autocommit=True) as outside:
        create_reference_tables(outside)
        outside.execute(
            "INSERT INTO batch_jobs (id, organization_id, status, scheduled_job_id) "
            "VALUES ('job', 'a', 'scheduled', 'start')"
        )
        outside.execute(
            "INSERT INTO batch_contacts (batch_job_id, status) "
            "VALUES ('job', 'pending'), ('job', 'completed')"
        )
        scheduler = MemoryScheduler()
        scheduler.schedule("start", datetime.now(UTC) + timedelta(hours=1))
        with data_layers.django_uow(postgres_schema) as uow:
            yield Site(uow, outside, scheduler)


BEFORE = ["scheduled", "pending", "completed"]
AFTER = ["cancelled", "cancelled", "completed"]


@pytest.mark.parametrize("is_nested", [False, True], ids=["atomic", "nested"])
@pytest.mark.parametrize("commits", [True, False], ids=["commit", "rollback"])
def test_the_end_of_the_outermost_block_decides(
    site: Site, *, is_nested: bool, commits: bool
) -> None:
    """The deferred start is taken back after the commit, and never without one."""
    from batch_cancel.adapters.django import remove_deferred_on_commit

    told: list[CancelResult] = []
    with suppress(Undone), site.atomic():
        with site.atomic() if is_nested else nullcontext():
            cancellation = cancel_rows(
                "job", uow=site.uow, organization_id="a", operation_id="op", announce=True
            )
            remove_deferred_on_commit(
                cancellation, site.scheduler, uow=site.uow, on_cancelled=told.append
            )
        assert site.statuses() == BEFORE
        assert site.scheduler.waiting() == {"start"}
        assert told == []
        if not commits:
            raise Undone
    assert site.statuses() == (AFTER if commits else BEFORE)
    assert site.scheduler.waiting() == (set() if commits else {"start"})
    assert [(it.operation_id, it.removal) for it in told] == (
        [("op", Removal.REMOVED)] if commits else []
    )
    removals = site.outside.execute("SELECT removal FROM batch_cancellations").fetchall()
    assert removals == ([("removed",)] if commits else [])


def test_an_inner_block_that_fails_undoes_its_cancel_alone(site: Site) -> None:
    """And what it would have done on the commit; the outer block commits."""
    from batch_cancel.adapters.django import remove_deferred_on_commit

    with site.atomic():
        with suppress(Undone), site.atomic():
            cancellation = cancel_rows("job", uow=site.uow, organization_id="a")
            remove_deferred_on_commit(cancellation, site.scheduler, uow=site.uow)
            raise Undone
        for stranger in ("b", None):
            with pytest.raises(JobNotFound):
                cancel_rows("job", uow=site.uow, organization_id=stranger)
    assert site.statuses() == BEFORE
    assert site.scheduler.waiting() == {"start"}


def removals(site: Site) -> list[object]:
    """Give what the records say of removals."""
    return [it for (it,) in site.outside.execute("SELECT removal FROM batch_cancellations")]


def test_the_result_is_there_after_the_commit(site: Site) -> None:
    """Before, the handle says when to ask; nested blocks are no commit."""
    from batch_cancel.adapters.django import remove_deferred_on_commit

    with site.atomic():
        with site.atomic():
            cancellation = cancel_rows("job", uow=site.uow, organization_id="a", operation_id="op")
            removal = remove_deferred_on_commit(cancellation, site.scheduler, uow=site.uow)
            with pytest.raises(RuntimeError, match=r"job 'job'.* once the outermost atomic\(\)"):
                _ = removal.result
        with pytest.raises(RuntimeError, match="outermost"):
            _ = removal.result
    assert (removal.result.operation_id, removal.result.removal) == ("op", Removal.REMOVED)
    assert present(cancellation).body | {"redisJobCancelled": True} == present(removal.result).body


def test_outside_of_a_block_the_result_is_there_at_once(site: Site) -> None:
    """The cancel has committed by itself."""
    from batch_cancel.adapters.django import remove_deferred_on_commit

    cancellation = cancel_rows("job", uow=site.uow, organization_id="a")
    removal = remove_deferred_on_commit(cancellation, site.scheduler, uow=site.uow)
    assert removal.result.redis_job_cancelled
    assert removals(site) == ["removed"]


def test_a_commit_that_postgres_turned_into_a_rollback_removes_nothing(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """Django runs its hooks after it all the same; the others of them are run as well."""
    from django.db import Error, connections, transaction

    from batch_cancel.adapters.django import remove_deferred_on_commit

    others: list[str] = []
    with site.atomic():
        cancellation = cancel_rows("job", uow=site.uow, organization_id="a", announce=True)
        removal = remove_deferred_on_commit(
            cancellation, site.scheduler, uow=site.uow, on_cancelled=_never
        )
        transaction.on_commit(lambda: others.append("ran"), using=site.uow.using)
        with suppress(Error):
            connections[site.uow.using].cursor().execute("INSERT INTO nowhere VALUES (1)")
    assert site.statuses() == BEFORE
    assert site.scheduler.waiting() == {"start"}
    assert others == ["ran"]
    [entry] = caplog.records
    assert (entry.name, entry.levelname) == ("batch_cancel", "WARNING")
    assert entry.getMessage().startswith("batch job 'job': its cancellation is not committed")
    with pytest.raises(CancelFailed, match="not committed") as failure:
        _ = removal.result
    assert (failure.value.outcome, failure.value.retryable) == ("unknown", False)


def _never(_: CancelResult) -> None:
    pytest.fail("the hook was called")


@pytest.mark.parametrize("joins", ["django", "psycopg"])
def test_an_inner_block_rolled_back_removes_nothing_though_the_hook_is_outside_of_it(
    site: Site, joins: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The outer block's commit says nothing of it, whoever joined it."""
    from django.db import connections, transaction

    from batch_cancel.adapters.django import remove_deferred_on_commit
    from batch_cancel.adapters.postgres import joining

    uow: Any = site.uow
    with site.atomic():
        with site.atomic():
            if joins == "psycopg":
                uow = joining(connections[site.uow.using].connection)
            cancellation = cancel_rows("job", uow=uow, organization_id="a")
            transaction.set_rollback(True, using=site.uow.using)
        removal = remove_deferred_on_commit(
            # A wrapper of the adopter's may not know that it was joined.
            attrs.evolve(cancellation, joined=False),
            site.scheduler,
            uow=site.uow,
        )
    assert site.statuses() == BEFORE
    assert site.scheduler.waiting() == {"start"}
    assert "not committed" in caplog.text
    with pytest.raises(CancelFailed, match="not committed"):
        _ = removal.result


@pytest.mark.parametrize("is_inner", [True, False])
def test_a_handle_whose_block_was_rolled_back_says_so(site: Site, *, is_inner: bool) -> None:
    """Also while an outer block is still open: its hook is gone."""
    from django.db import transaction

    from batch_cancel.adapters.django import remove_deferred_on_commit

    with site.atomic() if is_inner else nullcontext():
        with site.atomic():
            cancellation = cancel_rows("job", uow=site.uow, organization_id="a")
            removal = remove_deferred_on_commit(cancellation, site.scheduler, uow=site.uow)
            transaction.set_rollback(True, using=site.uow.using)
        with pytest.raises(CancelFailed, match="was rolled back") as failure:
            _ = removal.result
        assert failure.value.key == JobKey("job", "a")
        assert (failure.value.outcome, failure.value.retryable) == ("unknown", True)
    assert site.scheduler.waiting() == {"start"}


def test_a_hook_of_anothers_that_fails_is_not_taken_for_a_rollback_alone(site: Site) -> None:
    """Django then runs no other: the job is cancelled, and reconcile removes its start."""
    from django.db import transaction

    from batch_cancel.adapters.django import remove_deferred_on_commit

    def fail() -> None:
        raise Undone

    handles: list[DeferredRemoval] = []
    with suppress(Undone), site.atomic():
        cancellation = cancel_rows("job", uow=site.uow, organization_id="a")
        transaction.on_commit(fail, using=site.uow.using)
        handles.append(remove_deferred_on_commit(cancellation, site.scheduler, uow=site.uow))
    with pytest.raises(CancelFailed, match="another on_commit hook failed") as failure:
        _ = handles[0].result
    assert failure.value.outcome == "unknown"
    assert site.statuses() == AFTER
    [finished] = reconcile(uow=site.uow, scheduler=site.scheduler, lease=timedelta(0))
    assert finished.redis_job_cancelled


def test_within_a_testcase_the_captured_hooks_give_the_result(site: Site) -> None:
    """`captureOnCommitCallbacks(execute=True)` runs them while the TestCase's block is open."""
    from django.db import connections
    from django.test import TestCase

    from batch_cancel.adapters.django import remove_deferred_on_commit

    block = site.atomic()
    block._from_testcase = True
    with block:
        with TestCase.captureOnCommitCallbacks(using=site.uow.using, execute=True), site.atomic():
            cancellation = cancel_rows("job", uow=site.uow, organization_id="a")
            removal = remove_deferred_on_commit(cancellation, site.scheduler, uow=site.uow)
        assert removal.result.redis_job_cancelled
        connections[site.uow.using].run_on_commit.clear()


def test_a_database_that_went_away_leaves_the_start_to_reconcile(site: Site) -> None:
    """The hook can't look, so it removes nothing and raises nothing."""
    from django.db import connections, transaction

    from batch_cancel.adapters.django import remove_deferred_on_commit

    known: Any = connections[site.uow.using]

    def cut() -> None:
        known.close()
        known.settings_dict["PORT"] = "1"

    port = known.settings_dict["PORT"]
    with site.atomic():
        cancellation = cancel_rows("job", uow=site.uow, organization_id="a")
        transaction.on_commit(cut, using=site.uow.using)
        removal = remove_deferred_on_commit(cancellation, site.scheduler, uow=site.uow)
    assert removal.result.removal is Removal.PENDING
    assert site.scheduler.waiting() == {"start"}
    known.settings_dict["PORT"] = port
    [finished] = reconcile(uow=site.uow, scheduler=site.scheduler, lease=timedelta(0))
    assert finished.redis_job_cancelled


def test_a_whole_cancel_in_a_block_is_refused(site: Site) -> None:
    """ATOMIC_REQUESTS opens one where nobody sees it; not so in that of a TestCase."""
    with site.atomic():
        with pytest.raises(CancelFailed, match="call cancel_rows there"):
            cancel_job("job", uow=site.uow, scheduler=site.scheduler, organization_id="a")
        assert site.scheduler.waiting() == {"start"}
    block = site.atomic()
    block._from_testcase = True
    with block:
        result = cancel_job("job", uow=site.uow, scheduler=site.scheduler, organization_id="a")
    assert result.redis_job_cancelled


def test_in_a_block_that_is_rolled_back_whatever_comes_nothing_is_cancelled(site: Site) -> None:
    """Django keeps the error to itself until the end, and then it is silent, too."""
    with site.atomic():
        with suppress(Undone), site.atomic(savepoint=False):
            raise Undone
        with pytest.raises(CancelFailed, match="rolled back"):
            cancel_rows("job", uow=site.uow, organization_id="a")
    assert site.statuses() == BEFORE


def test_outside_of_a_block_it_is_a_transaction_of_its_own(site: Site) -> None:
    """The whole cancel, and reconcile, work without `atomic()`."""
    result = cancel_job("job", uow=site.uow, scheduler=site.scheduler, organization_id="a")
    assert result.redis_job_cancelled
    assert site.statuses() == AFTER
    assert reconcile(uow=site.uow, scheduler=site.scheduler, lease=timedelta(0)) == []


def test_a_transaction_of_its_own_is_tried_again(site: Site) -> None:
    """On a new connection of Django's, where the server has ended the one that it kept."""
    from django.db import connections

    connection = connections[site.uow.using]
    connection.ensure_connection()
    cut: Any = connection.connection
    site.outside.execute("SELECT pg_terminate_backend(%s)", [cut.info.backend_pid])
    assert cancel_rows("job", uow=site.uow, organization_id="a").record.contacts_cancelled == 1
    assert site.statuses() == AFTER


def test_a_deferred_constraint_that_fails_is_known_to_have_undone_it(site: Site) -> None:
    """The commit was refused: that is no lost answer."""
    site.outside.execute(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE check_violation; END $$; "
        "CREATE CONSTRAINT TRIGGER no AFTER UPDATE ON batch_jobs DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION no()"
    )
    with pytest.raises(CancelFailed) as failure:
        cancel_rows("job", uow=site.uow, organization_id="a")
    assert failure.value.outcome == "unchanged"
    assert site.statuses() == BEFORE


def test_another_kind_of_database_is_refused_in_words(tmp_path: Path) -> None:
    """Before anything is asked of it."""
    from django.db import connections

    with data_layers.django_uow("host=none port=1 user=ann dbname=app") as uow:
        known: Any = connections.settings
        known[uow.using] |= {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(tmp_path / "site.sqlite"),
            "OPTIONS": {},
        }
        with pytest.raises(
            CancelFailed, match="is not Postgres by psycopg 3, but sqlite by sqlite"
        ):
            cancel_rows("job", uow=uow)


def test_a_stranger_does_not_lock_the_job(site: Site) -> None:
    """He is answered while the owner holds the lock."""
    site.outside.autocommit = False
    site.outside.execute("SELECT FROM batch_jobs FOR UPDATE")
    for stranger in ("b", None):
        with site.uow.begin() as repositories:
            assert repositories.jobs.lock(JobKey("job", stranger)) is None
        with pytest.raises(JobNotFound):
            cancel_rows("job", uow=site.uow, organization_id=stranger)
    site.outside.rollback()
    site.outside.autocommit = True
    assert site.statuses() == BEFORE


def test_a_database_out_of_reach_is_a_failure_that_changed_nothing() -> None:
    """Its message holds neither host nor user."""
    with (
        data_layers.django_uow("host=127.0.0.1 port=1 user=ann dbname=app") as uow,
        pytest.raises(CancelFailed) as failure,
    ):
        cancel_rows("job", uow=uow)
    assert failure.value.outcome == "unchanged"
    assert "127.0.0.1" not in str(failure.value)


# Checks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_joined", [False, True], ids=["own", "atomic"])
def test_reference_tables_fit(site: Site, *, is_joined: bool) -> None:
    """As they do for the Postgres adapter, whose examination it is."""
    assert isinstance(site.uow, Checkable)
    with site.atomic() if is_joined else nullcontext():
        assert site.uow.check() == []
        assert "batch_jobs has all that a cancel needs" in site.uow.examine().fits


@pytest.mark.parametrize("is_joined", [False, True], ids=["own", "atomic"])
def test_what_is_missing_is_named(site: Site, *, is_joined: bool) -> None:
    """And nothing is raised."""
    site.outside.execute("ALTER TABLE batch_jobs DROP COLUMN updated_at")
    with site.atomic() if is_joined else nullcontext():
        [sentence] = site.uow.check()
    assert sentence.startswith("column updated_at is missing from batch_jobs")


def test_a_block_goes_on_after_a_check(site: Site) -> None:
    """It can be written in, and keeps its own settings."""
    from django.db import connections

    with site.atomic():
        with connections[site.uow.using].cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = '41s'")
        assert site.uow.check() == []
        with connections[site.uow.using].cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone() == ("41s",)
            cursor.execute("UPDATE batch_jobs SET status = 'pending'")
    assert site.statuses()[0] == "pending"


def test_a_block_that_is_rolled_back_already_is_a_finding(site: Site) -> None:
    """It can't be examined, and neither could a cancel begin in it."""
    from django.db import transaction

    with site.atomic():
        transaction.set_rollback(True, using=site.uow.using)
        [sentence] = site.uow.check()
    assert "rolled back" in sentence
