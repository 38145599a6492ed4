"""
Stores and schedulers by URL.

Rule 1: a URL may hold a password, so no part of it but a known scheme is ever shown.
Rule 2: a URL that can't be right is refused before anything is done. A scheduler that can't be
        reached is found out afterwards: it must not keep a job from being cancelled.
Rule 3: a driver is imported only for a URL that asks for it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Generator
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from importlib import resources
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import attrs

from batch_cancel.domain.errors import SchedulerUnavailable
from batch_cancel.domain.fitness import Diagnosis
from batch_cancel.ports import Checkable, InspectableScheduler, Scheduler, UnitOfWork

if TYPE_CHECKING:
    from batch_cancel.adapters.postgres import PostgresSchema

STORES: Final = "sqlite:///relative.db, sqlite:////absolute.db or postgresql://..."
SCHEDULERS: Final = "sqlite:///file.db, redis://..., rediss://... or redis+cluster://..."

_NO_PSYCOPG: Final = "a Postgres store needs more: pip install 'batch_cancel[postgres]'"

_STORE: Final = "--store"
_SCHEDULER: Final = "--scheduler"

_CONNECT_TIMEOUT_SECONDS: Final = 10
"""A server behind a wall that swallows packets would be waited for much longer."""


class UnusableUrl(Exception):
    """A URL that names no store or no scheduler that there could be."""


class Store(UnitOfWork, Checkable, Protocol):
    """A store, with all that a command may want of it."""

    def examine(self) -> Diagnosis:
        """Examine it."""
        ...


class FullScheduler(Scheduler, InspectableScheduler, Checkable, Protocol):
    """A scheduler, with all that a command may want of it."""


OpenScheduler = Callable[[], AbstractContextManager[FullScheduler]]

_T = TypeVar("_T")


@attrs.define
class WatchedScheduler:
    """
    A scheduler that is opened when it is asked, and whose fault is kept.

    Arguments:
        opened: opens it.
        fault: why it gave no answer; None if it did, or was not asked.
    """

    opened: OpenScheduler
    fault: str | None = None

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """Take the deferred start back, for ever."""
        return self._ask(lambda scheduler: scheduler.cancel(deferred_id, operation_id))

    def waiting_among(self, deferred_ids: AbstractSet[str]) -> set[str]:
        """Give those of the deferred starts that wait to fire."""
        return self._ask(lambda scheduler: scheduler.waiting_among(deferred_ids))

    def check(self) -> list[str]:
        """Name in sentences what is missing."""
        try:
            return self._ask(lambda scheduler: scheduler.check())
        except Exception:  # noqa: BLE001  # Its fault is the sentence.
            return [f"the scheduler did not answer ({self.fault})"]

    def _ask(self, question: Callable[[FullScheduler], _T]) -> _T:
        try:
            with self.opened() as scheduler:
                return question(scheduler)
        except SchedulerUnavailable as error:
            self.fault = error.reason
            raise
        except Exception as error:
            self.fault = f"it raised {type(error).__name__}"
            raise


def examined(url: str, schema: str | None) -> Diagnosis:
    """
    Examine the store that a URL names.

    Arguments:
        url: where it is.
        schema: where a PostgresSchema is found, as `module:name`; None for the names of our own.

    Raises:
        UnusableUrl: there could be no such store, or no such schema.
    """
    if url.startswith(("postgresql:", "postgres:")):
        return _postgres_store(url, schema).examine()
    if schema is not None:
        msg = "--schema is for a Postgres store"
        raise UnusableUrl(msg)
    return store_at(url).examine()


def ddl(schema: str | None, *, reference: bool, guards: bool) -> str:
    """
    Give the SQL that Postgres needs.

    Arguments:
        schema: where a PostgresSchema is found, as `module:name`; None for the names of our own.
        reference: whether to add example tables, which have our own names.
        guards: whether to add triggers.

    Raises:
        UnusableUrl: there could be no such schema, or psycopg, which quotes its names, is missing.
    """
    if reference and schema is not None:
        msg = "--reference is for the reference names: leave --schema out"
        raise UnusableUrl(msg)
    folder = resources.files("batch_cancel.adapters").joinpath("postgres")
    parts = [] if schema else [folder.joinpath("schema.sql").read_text("utf-8")]
    if reference:
        parts.append(folder.joinpath("reference.sql").read_text("utf-8"))
    if schema or guards:
        names = _names(schema)
        from batch_cancel.adapters.postgres import guards_ddl, table_ddl  # noqa: PLC0415

        parts += [table_ddl(names)] if schema else []
        parts += [guards_ddl(names)] if guards else []
    return "\n".join(parts)


def store_at(url: str) -> Store:
    """
    Give the store that a URL names.

    Raises:
        UnusableUrl: there could be no such store.
    """
    scheme, rest = _split(url, _STORE, STORES)
    match scheme:
        case "sqlite":
            return _sqlite_store(_sqlite_path(rest, _STORE))
        case "postgresql" | "postgres":
            return _postgres_store(url)
        case _:
            raise _unknown(_STORE, STORES)


def scheduler_at(url: str | None, store_url: str) -> WatchedScheduler:
    """
    Give the scheduler that a URL names; None names the file of a SQLite store.

    Raises:
        UnusableUrl: there could be no such scheduler.
    """
    if url is None:
        if not store_url.startswith("sqlite:"):
            msg = f"--scheduler is needed with this store: {SCHEDULERS}"
            raise UnusableUrl(msg)
        url = store_url
    scheme, rest = _split(url, _SCHEDULER, SCHEDULERS)
    match scheme:
        case "sqlite":
            return WatchedScheduler(_sqlite_scheduler(_sqlite_path(rest, _SCHEDULER)))
        case "redis" | "rediss":
            return WatchedScheduler(_redis_scheduler(url, is_cluster=False))
        case "redis+cluster" | "rediss+cluster":
            plain = f"{scheme.removesuffix('+cluster')}://{rest}"
            return WatchedScheduler(_redis_scheduler(plain, is_cluster=True))
        case _:
            raise _unknown(_SCHEDULER, SCHEDULERS)


def _split(url: str, option: str, known: str) -> tuple[str, str]:
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise _unknown(option, known)
    return scheme, rest


def _unknown(option: str, known: str) -> UnusableUrl:
    return UnusableUrl(f"{option} must be a URL: {known}")


def _sqlite_path(rest: str, option: str) -> str:
    if not rest.startswith("/"):
        msg = (
            f"{option} needs three slashes before a relative path, four before an absolute one: "
            "sqlite:///relative.db, sqlite:////absolute.db"
        )
        raise UnusableUrl(msg)
    return rest[1:]


def _sqlite_store(path: str) -> Store:
    from batch_cancel.adapters.sqlite import SqliteStore  # noqa: PLC0415

    try:
        return SqliteStore(path, create=False)
    except ValueError as error:
        msg = f"--store: {error}"
        raise UnusableUrl(msg) from error


def _sqlite_scheduler(path: str) -> OpenScheduler:
    from batch_cancel.adapters.sqlite import SqliteScheduler  # noqa: PLC0415

    try:
        scheduler = SqliteScheduler(path, create=False)
    except ValueError as error:
        msg = f"--scheduler: {error}"
        raise UnusableUrl(msg) from error
    return lambda: nullcontext(scheduler)


def _postgres_store(url: str, schema: str | None = None) -> Store:
    try:
        import psycopg  # noqa: PLC0415
        from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

        from batch_cancel.adapters.postgres import PostgresUnitOfWork  # noqa: PLC0415
    except ImportError as error:  # psycopg raises it too, where it finds no libpq.
        raise UnusableUrl(_NO_PSYCOPG) from error
    try:
        given = conninfo_to_dict(url)
    except (psycopg.Error, ValueError):  # Its message may hold what stands beside the password.
        msg = "--store is no valid URL: percent-encode what is special in user and password"
        raise UnusableUrl(msg) from None
    seconds = given.get("connect_timeout") or _CONNECT_TIMEOUT_SECONDS
    names = _names(schema)
    return PostgresUnitOfWork(lambda: psycopg.connect(url, connect_timeout=seconds), names)


def _names(schema: str | None) -> PostgresSchema:
    try:
        from batch_cancel.adapters.postgres import PostgresSchema  # noqa: PLC0415
    except ImportError as error:
        raise UnusableUrl(_NO_PSYCOPG) from error
    names = PostgresSchema() if schema is None else _loaded(schema)
    if not isinstance(names, PostgresSchema):
        msg = "--schema must name a PostgresSchema"
        raise UnusableUrl(msg)
    return names


def _loaded(path: str) -> object:
    """Import what `module:name` names, from the working folder too."""
    module, _, name = path.partition(":")
    sys.path.insert(0, "")
    try:
        found: object = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        msg = f"--schema must be module:name, and this can't be imported: {error}"
        raise UnusableUrl(msg) from error
    finally:
        sys.path.remove("")
    return found


def _redis_scheduler(url: str, *, is_cluster: bool) -> OpenScheduler:
    try:
        import redis  # noqa: PLC0415
        from redis.connection import (  # noqa: PLC0415
            parse_url,  # pyright: ignore[reportUnknownVariableType]  # It has no types.
        )

        from batch_cancel.adapters.redis import RedisScheduler  # noqa: PLC0415
    except ImportError as error:
        msg = "a Redis scheduler needs more: pip install 'batch_cancel[redis]'"
        raise UnusableUrl(msg) from error
    try:
        parse_url(url)
    except ValueError:  # Its message may hold a part of the password.
        msg = "--scheduler is no valid URL: percent-encode what is special in user and password"
        raise UnusableUrl(msg) from None

    @contextmanager
    def opened() -> Generator[FullScheduler]:
        kind = redis.RedisCluster if is_cluster else redis.Redis
        with closing(
            kind.from_url(url)  # pyright: ignore[reportUnknownMemberType]  # Its options have none.
        ) as client:
            yield RedisScheduler(client)

    return opened
