"""When the deferred start is removed, after a cancel within Django's `atomic()`."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from batch_cancel import (
    CancelFailed,
    CancelResult,
    JobKey,
    Removal,
    cancel_rows,
    reconcile,
)
from batch_cancel.adapters.memory import MemoryStore
from batch_cancel.presenter import present
from tests.integration.django_site import AFTER, BEFORE, Site, Undone, removals, site

if TYPE_CHECKING:
    from batch_cancel.adapters.django import DeferredRemoval

__all__ = ["site"]


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


def test_a_store_that_is_not_djangos_is_refused(site: Site) -> None:
    """Nothing would say which commit to wait for."""
    from batch_cancel.adapters.django import remove_deferred_on_commit

    other: Any = MemoryStore()
    with site.atomic():
        cancellation = cancel_rows("job", uow=site.uow, organization_id="a")
        with pytest.raises(TypeError) as refused:
            remove_deferred_on_commit(cancellation, site.scheduler, uow=other)
    assert str(refused.value) == "the store (uow) must be a DjangoUnitOfWork, got MemoryStore"
    assert removals(site) == ["pending"]


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
