"""
Django on Postgres: cancel on the ORM's own connection, in the transaction that `atomic()` holds.

    uow = DjangoUnitOfWork(DjangoTables(jobs=Campaign, contacts=Call, job_status="state"))

    with transaction.atomic():
        cancellation = cancel_rows("batch_xyz789", uow=uow)
        removal = remove_deferred_on_commit(cancellation, scheduler, uow=uow)
    removal.result

Django's connection is a psycopg connection, and the Postgres adapter does the work. This adapter
knows when Django has a transaction open, and when it needs a new connection.

It is an app as well: `INSTALLED_APPS += ["batch_cancel.adapters.django"]` brings the library's
tables as a migration, an admin of the cancellations, the command `manage.py batch_cancel` and
checks. `batch_cancel.adapters.django.views` has the endpoint.

Rule 1: this module imports without settings. `models` and `admin` are left to Django to load.
"""

from batch_cancel.adapters.missing_extra import missing_extra

try:
    from batch_cancel.adapters.django.removals import DeferredRemoval, remove_deferred_on_commit
    from batch_cancel.adapters.django.tables import DjangoTables
    from batch_cancel.adapters.django.unit_of_work import DjangoUnitOfWork
except ModuleNotFoundError as _missing:
    raise missing_extra(__name__, "django", _missing) from _missing

__all__ = ["DeferredRemoval", "DjangoTables", "DjangoUnitOfWork", "remove_deferred_on_commit"]
