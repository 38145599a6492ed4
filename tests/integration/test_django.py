"""Cancelling within Django's `atomic()`, on the ORM's own connection."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

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
from batch_cancel.ports import Checkable
from tests import data_layers
from tests.integration.django_site import AFTER, BEFORE, Site, Undone, site

if TYPE_CHECKING:
    from pathlib import Path


__all__ = ["site"]


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
        with pytest.raises(CancelFailed, match=r"rolls this atomic\(\) block back"):
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
            CancelFailed, match="does not use Postgres by psycopg 3, but sqlite by sqlite"
        ):
            cancel_rows("job", uow=uow)


def test_a_stranger_does_not_lock_the_job(site: Site) -> None:
    """The other organization gets its answer while the owner holds the lock."""
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
    assert "rolls this atomic() block back" in sentence
