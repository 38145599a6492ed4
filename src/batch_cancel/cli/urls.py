"""
Stores and schedulers by URL.

Rule 1: a URL may contain a password, so only a known scheme of it is ever shown.
Rule 2: an invalid URL is refused before anything is done. An unreachable scheduler is reported
        afterwards: it must not prevent a cancel.
Rule 3: a driver is imported only for a URL that asks for it.
"""

from __future__ import annotations

from contextlib import nullcontext
from importlib import resources
from typing import TYPE_CHECKING, Final, Protocol

from batch_cancel.adapters.postgres_releases import migration_text
from batch_cancel.cli import libraries
from batch_cancel.cli.imports import UsageError, found
from batch_cancel.cli.libraries import OpenScheduler
from batch_cancel.domain.defaults import CONNECT_TIMEOUT_SECONDS
from batch_cancel.domain.diagnosis import Diagnosis
from batch_cancel.ports import Checkable, UnitOfWork

if TYPE_CHECKING:
    from batch_cancel.adapters.postgres import PostgresSchema, PostgresUnitOfWork

STORES: Final = "sqlite:///relative.db, sqlite:////absolute.db or postgresql://..."
SCHEDULERS: Final = (
    f"sqlite:///file.db, {libraries.named()}, gate+postgresql://... or "
    "procrastinate+postgresql://... "
    "(+rediss:// with TLS, +unix:///path for a socket, native+redis+cluster://)"
)

_NO_PSYCOPG: Final = "a Postgres store needs more: pip install 'batch_cancel[postgres-binary]'"

_STORE: Final = "--store"
_SCHEDULER: Final = "--scheduler"


class Store(UnitOfWork, Checkable, Protocol):
    """A store with everything that the commands need."""

    def examine(self) -> Diagnosis:
        """Examine it."""
        ...


def ddl(
    schema: str | None,
    release: str | None,
    *,
    reference: bool,
    guards: bool,
    start_gates: bool = False,
) -> str:
    """
    Return the SQL that Postgres needs.

    Arguments:
        schema: where a PostgresSchema is found, as `module:name`; None for the default names.
        release: the release whose tables are there already; None if there are none.
        reference: whether to add example tables, which have the default names.
        guards: whether to add triggers.
        start_gates: whether to add the table of the start gate in SQL.

    Raises:
        UsageError: the schema or the release is not valid, or psycopg, which quotes names, is
            missing.
    """
    if reference and schema is not None:
        msg = "--reference is for the reference names: leave --schema out"
        raise UsageError(msg)
    if reference and release is not None:
        msg = "--reference is for a database without tables: leave --from out"
        raise UsageError(msg)
    folder = resources.files("batch_cancel.adapters").joinpath("postgres")
    tables = folder.joinpath("tables.sql").read_text("utf-8")
    if release is not None:
        try:
            tables = migration_text(release)
        except ValueError as error:
            msg = f"--from: {error}"
            raise UsageError(msg) from error
    parts = [] if schema else [tables]
    if reference:
        parts.append(folder.joinpath("reference_tables.sql").read_text("utf-8"))
    if start_gates:
        parts.append(folder.joinpath("start_gate_table.sql").read_text("utf-8"))
    if schema or guards:
        names = _names(schema)
        from batch_cancel.adapters.postgres.ddl import guards_ddl, named_ddl  # noqa: PLC0415

        parts += [named_ddl(tables, names)] if schema else []
        parts += [guards_ddl(names)] if guards else []
    return "\n".join(parts)


def store_at(url: str, schema: str | None = None) -> Store:
    """
    Return the store that a URL names.

    Arguments:
        url: where it is.
        schema: where a PostgresSchema is found, as `module:name`; None for the default names.

    Raises:
        UsageError: the URL or the schema is not valid.
    """
    scheme, rest = _split(url, _STORE, STORES)
    match scheme:
        case "postgresql" | "postgres":
            return _postgres_store(url, schema)
        case "sqlite":
            if schema is not None:
                msg = "--schema is for a Postgres store"
                raise UsageError(msg)
            return _sqlite_store(_sqlite_path(rest, _STORE))
        case _:
            raise _unknown(_STORE, STORES)


def scheduler_at(url: str | None, store_url: str) -> OpenScheduler:
    """
    Return a function that opens the scheduler of a URL; None means the SQLite store's file.

    Raises:
        UsageError: the URL is not valid.
    """
    if url is None:
        if not store_url.startswith("sqlite:"):
            msg = f"--scheduler is needed with this store: {SCHEDULERS}"
            raise UsageError(msg)
        url = store_url
    scheme, rest = _split(url, _SCHEDULER, SCHEDULERS)
    match scheme:
        case "sqlite":
            return _sqlite_scheduler(_sqlite_path(rest, _SCHEDULER))
        case "procrastinate+postgresql" | "procrastinate+postgres":
            return _procrastinate_scheduler(f"postgresql://{rest}")
        case "gate+postgresql" | "gate+postgres":
            return _gate_in_postgres(f"postgresql://{rest}")
        case _ if scheme in libraries.BARE:
            msg = (
                f"--scheduler: {scheme}:// does not name the library whose deferred starts are "
                f"there; write one of {libraries.named()} (native is RedisScheduler, gate the "
                "start gate of Celery and Dramatiq)"
            )
            raise UsageError(msg)
        case _:
            opener = libraries.opener(scheme, rest)
            if opener is None:
                raise _unknown(_SCHEDULER, SCHEDULERS)
            return opener


def _split(url: str, option: str, known: str) -> tuple[str, str]:
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise _unknown(option, known)
    return scheme, rest


def _unknown(option: str, known: str) -> UsageError:
    return UsageError(f"{option} must be a URL: {known}")


def _sqlite_path(rest: str, option: str) -> str:
    if not rest.startswith("/"):
        msg = (
            f"{option} needs three slashes before a relative path, four before an absolute one: "
            "sqlite:///relative.db, sqlite:////absolute.db"
        )
        raise UsageError(msg)
    return rest[1:]


def _sqlite_store(path: str) -> Store:
    from batch_cancel.adapters.sqlite import SqliteStore  # noqa: PLC0415

    try:
        return SqliteStore(path, create=False)
    except ValueError as error:
        msg = f"--store: {error}"
        raise UsageError(msg) from error


def _sqlite_scheduler(path: str) -> OpenScheduler:
    from batch_cancel.adapters.sqlite import SqliteScheduler  # noqa: PLC0415

    try:
        scheduler = SqliteScheduler(path, create=False)
    except ValueError as error:
        msg = f"--scheduler: {error}"
        raise UsageError(msg) from error
    return lambda: nullcontext(scheduler)


def _postgres_store(url: str, schema: str | None, option: str = _STORE) -> PostgresUnitOfWork:
    try:
        import psycopg  # noqa: PLC0415
        from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

        from batch_cancel.adapters.postgres import PostgresUnitOfWork  # noqa: PLC0415
    except ImportError as error:  # psycopg raises it too, if it finds no libpq.
        raise UsageError(_NO_PSYCOPG) from error
    try:
        given = conninfo_to_dict(url)
    except (psycopg.Error, ValueError):  # Its message may contain pieces of the password.
        msg = (
            f"{option} is not a valid URL: percent-encode special characters in user and password"
        )
        raise UsageError(msg) from None
    seconds = given.get("connect_timeout") or CONNECT_TIMEOUT_SECONDS
    names = _names(schema)
    return PostgresUnitOfWork(lambda: psycopg.connect(url, connect_timeout=seconds), names)


def _procrastinate_scheduler(url: str) -> OpenScheduler:
    store = _postgres_store(url, None, _SCHEDULER)
    from batch_cancel.adapters.procrastinate import ProcrastinateScheduler  # noqa: PLC0415

    return lambda: nullcontext(ProcrastinateScheduler(store))


def _gate_in_postgres(url: str) -> OpenScheduler:
    store = _postgres_store(url, None, _SCHEDULER)
    from batch_cancel.adapters.postgres import SqlStartGate  # noqa: PLC0415

    return lambda: nullcontext(SqlStartGate(store))


def _names(schema: str | None) -> PostgresSchema:
    try:
        from batch_cancel.adapters.postgres import PostgresSchema  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(_NO_PSYCOPG) from error
    names = PostgresSchema() if schema is None else found("--schema", schema)
    if not isinstance(names, PostgresSchema):
        msg = (
            "--schema must name a PostgresSchema, for the tables of SQLAlchemy as well: this SQL "
            "is written from it"
        )
        raise UsageError(msg)
    return names
