"""
Django: cancel on the ORM's own connection, in the transaction that `atomic()` holds open.

    uow = DjangoUnitOfWork(joining)  # `joining` of batch_cancel.adapters.postgres

    with transaction.atomic():
        cancellation = cancel_rows("batch_xyz789", uow=uow)
        remove_deferred_on_commit(cancellation, scheduler, uow=uow)

Django's connection is one of its driver's: the store's adapter for that driver does the work, and
is handed over. This one knows when Django begins, commits and rolls back.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import attrs
from django.db import DEFAULT_DB_ALIAS, Error, connections, transaction

from batch_cancel.domain.cancellation import Cancellation
from batch_cancel.domain.errors import Fault, Outcome, StoreFailed
from batch_cancel.ports import Repositories, Scheduler, UnitOfWork
from batch_cancel.use_cases.removal import OnCancelled, remove_deferred

__all__ = ["DjangoUnitOfWork", "remove_deferred_on_commit"]


@attrs.frozen
class DjangoUnitOfWork:
    """
    Transactions on a connection of Django's: the one that is open, or one of our own.

    Within `atomic()` it is a savepoint, and the end of the outermost `atomic()` decides. Outside,
    it is a transaction of its own.

    Arguments:
        joining: gives a unit of work within the transaction of a driver's connection: `joining` of
            `batch_cancel.adapters.postgres`; with tables of your own
            `partial(joining, schema=SCHEMA)`.
        using: the alias of the database.
    """

    joining: Callable[[Any], UnitOfWork]
    using: str = DEFAULT_DB_ALIAS

    @contextmanager
    def begin(self) -> Generator[Repositories]:
        """Open a transaction or a savepoint: keep it on a clean exit, undo it on any exception."""
        connection = connections[self.using]
        is_committing = False
        try:
            # Where the caller's is open, the savepoint of `joining` is all that is needed.
            is_open = connection.in_atomic_block
            with nullcontext() if is_open else transaction.atomic(using=self.using):
                connection.ensure_connection()
                with self.joining(connection.connection).begin() as repositories:
                    yield repositories
                is_committing = not is_open
        except Error as error:
            # Django's own, of its BEGIN and COMMIT. Its text may hold a host, a user or a value.
            reason = f"Django's connection failed ({type(error).__name__})"
            outcome: Outcome = "unknown" if is_committing else "unchanged"
            raise StoreFailed(reason, outcome, Fault.INTERRUPTED) from error


def remove_deferred_on_commit(
    cancellation: Cancellation,
    scheduler: Scheduler,
    *,
    uow: DjangoUnitOfWork,
    on_cancelled: OnCancelled | None = None,
) -> None:
    """
    Take back the deferred start once Django has committed; not at all if it rolls back.

    Whatever becomes of it, the other hooks of the commit are run: the record of the cancellation
    says what is still owed, and reconcile finishes it.

    Arguments:
        cancellation: what `cancel_rows` returned in this transaction.
        scheduler: where the deferred starts wait.
        uow: where the jobs are.
        on_cancelled: is told of the cancellation; `cancel_rows` must have been told of it by
            `announce=True`.
    """
    remove = partial(remove_deferred, cancellation, scheduler, uow=uow, on_cancelled=on_cancelled)
    transaction.on_commit(remove, using=uow.using, robust=True)
