"""
Schedulers of libraries by URL: `LIBRARY+redis://...`, with the adapter's options in its query.

Rule 1: a URL names the library of the deferred starts. A scheduler of another library would answer
        that there is no start, and the removal would be marked as done.
Rule 2: an adapter's options are those of its class. An unknown option is refused by its name.
Rule 3: of a URL only a known scheme and the name of an option are shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import timedelta
from importlib import import_module
from inspect import Parameter, signature
from typing import Any, Final, get_type_hints
from urllib.parse import parse_qsl, urlencode

import attrs

from batch_cancel.cli.durations import span
from batch_cancel.cli.imports import UsageError
from batch_cancel.ports import Scheduler, SchedulerUnavailable

OpenScheduler = Callable[[], AbstractContextManager[Scheduler]]
"""Opens a scheduler, and closes its connection afterwards."""


@attrs.frozen
class _Library:
    """
    Where the adapter of a library is.

    Arguments:
        module: its module, below `batch_cancel.adapters`.
        name: its class, whose first argument is the client; or, with a gate, its second.
        on_cluster: whether its keys may be on a Redis Cluster.
        has_gate: whether its first argument is a start gate.
    """

    module: str
    name: str
    on_cluster: bool = False
    has_gate: bool = False

    @property
    def kind(self) -> Any:  # noqa: ANN401  # Each has parameters of its own.
        """The class of the adapter."""
        return getattr(import_module(f"batch_cancel.adapters.{self.module}"), self.name)


LIBRARIES: Final = {
    "native": _Library("redis", "RedisScheduler", on_cluster=True),
    "arq": _Library("arq", "ArqScheduler"),
    "rq": _Library("rq", "RqScheduler"),
    "saq": _Library("saq", "SaqScheduler"),
    "huey": _Library("huey", "HueyScheduler"),
    "docket": _Library("docket", "DocketScheduler"),
    "taskiq": _Library("taskiq", "TaskiqStarts"),
    "apscheduler": _Library("apscheduler", "ApschedulerScheduler", has_gate=True),
    "gate": _Library("redis", "StartGate", on_cluster=True),
}
"""The libraries that keep their starts in Redis, by what a URL calls them."""

BARE: Final = ("redis", "rediss", "unix", "redis+cluster", "rediss+cluster")
"""Schemes that say where a Redis is, and not whose starts are in it."""

_CONNECTION: Final = (
    *("client_name", "db", "password", "protocol", "socket_connect_timeout", "socket_timeout"),
    *("ssl_ca_certs", "ssl_ca_path", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname"),
    *("ssl_keyfile", "username"),
)
"""The options of redis-py that a URL may hold."""

_NAME: Final = re.compile("[A-Za-z][A-Za-z0-9_-]{0,39}")

_INVALID: Final = (
    "--scheduler is not a valid URL: percent-encode special characters in user, password and "
    "options"
)


def named() -> str:
    """Return how the URLs of all libraries begin."""
    return ", ".join(f"{name}+redis://..." for name in LIBRARIES)


def opener(scheme: str, rest: str) -> OpenScheduler | None:
    """
    Return what opens the scheduler of a URL; None if the scheme names no library.

    Arguments:
        scheme: the URL's scheme.
        rest: what follows its `://`.

    Raises:
        UsageError: the URL can't be right, or redis-py is missing.
    """
    name, _, transport = scheme.partition("+")
    library = LIBRARIES.get(name)
    if library is None or transport not in BARE:
        return None
    is_cluster = transport.endswith("+cluster")
    if is_cluster and not library.on_cluster:
        msg = f"--scheduler: {name} keeps the keys of a start where no Redis Cluster can be"
        raise UsageError(msg)
    try:
        from redis.connection import (  # noqa: PLC0415  # Only for a URL that asks for it.
            parse_url,  # pyright: ignore[reportUnknownVariableType]  # It has no types.
        )
    except ImportError as error:
        msg = "a Redis scheduler needs more: pip install 'batch_cancel[redis]'"
        raise UsageError(msg) from error
    address, options = _split(rest)
    _check_address(f"{name}+{transport}", address, options)
    known = _options_of(library)
    ours = {key: _value(key, text, known) for key, text in options.items() if key in known}
    theirs = {key: text for key, text in options.items() if key in _CONNECTION}
    for key in options.keys() - known.keys() - theirs.keys():
        shown = repr(key) if _NAME.fullmatch(key) else "of that name"
        msg = (
            f"--scheduler: {name}+redis:// has no option {shown}; it knows {', '.join(known)}; "
            f"and of the connection {', '.join(_CONNECTION)}"
        )
        raise UsageError(msg)
    for key in theirs:
        if key.startswith("ssl_") and not transport.startswith("rediss"):
            msg = f"--scheduler: the option {key!r} needs {name}+rediss://"
            raise UsageError(msg)
    url = f"{transport.removesuffix('+cluster')}://{address}"
    if theirs:
        url = f"{url}?{urlencode(theirs)}"
    try:
        parse_url(url)
    except ValueError:  # Its message may contain pieces of the password.
        raise UsageError(_INVALID) from None
    return _opener(library, url, ours, is_cluster=is_cluster)


def _split(rest: str) -> tuple[str, dict[str, str]]:
    """Part an address from its options; a password with a `?` or a `#` in it is refused."""
    address, _, query = rest.partition("?")
    if "#" in rest or "@" in query or not rest.isprintable():
        raise UsageError(_INVALID)
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError:
        raise UsageError(_INVALID) from None
    options = dict(pairs)
    if len(options) < len(pairs):
        msg = "--scheduler: an option is given twice"
        raise UsageError(msg)
    return address, options


def _check_address(scheme: str, address: str, options: Mapping[str, str]) -> None:
    """
    Refuse an address of which redis-py would leave a part out: it is that of another database.

    Raises:
        UsageError: it is one.
    """
    user, _, location = address.rpartition("@")
    host, _, path = location.partition("/")
    if scheme.endswith("+unix"):
        if host or not path:
            msg = f"--scheduler: a socket's path needs three slashes: {scheme}:///path"
            raise UsageError(msg)
    elif "/" in user:  # Its password would be cut there, and the rest be taken for a database.
        raise UsageError(_INVALID)
    elif path and not (path.isascii() and path.isdecimal()):
        msg = f"--scheduler: a database is a whole number: {scheme}://host/0"
        raise UsageError(msg)
    elif path and "db" in options:
        msg = f"--scheduler: the database is named twice: {scheme}://host/0, or the option 'db'"
        raise UsageError(msg)


def _options_of(library: _Library) -> dict[str, type]:
    """Return the options of an adapter by name, with the types that can be written in a URL."""
    kinds = [library.kind]
    if library.has_gate:
        kinds.append(LIBRARIES["gate"].kind)
    return {name: kind for adapter in kinds for name, kind in _options(adapter).items()}


def _options(adapter: Any) -> dict[str, type]:  # noqa: ANN401  # A class of any adapter.
    hints = get_type_hints(adapter.__init__)
    found: dict[str, type] = {}
    for name, parameter in signature(adapter).parameters.items():
        if parameter.kind is Parameter.KEYWORD_ONLY:
            for kind in (bool, int, timedelta, str):
                if hints[name] in (kind, kind | None):
                    found[name] = kind
    return found


def _value(name: str, text: str, known: Mapping[str, type]) -> object:
    if not text:  # As of a variable that is not set.
        msg = f"--scheduler: the option {name!r} is empty"
        raise UsageError(msg)
    try:
        match known[name].__name__:
            case "bool":
                return {"true": True, "false": False}[text]
            case "int":
                return int(text)
            case "timedelta":
                return span(text)
            case _:
                return text
    except (ValueError, KeyError):  # Its message may hold what was meant for another option.
        wanted = {
            "bool": "true or false",
            "int": "a whole number",
            "timedelta": "a duration: seconds, or 250ms, 90s, 45m, 4h, 30d",
        }[known[name].__name__]
        msg = f"--scheduler: the option {name!r} must be {wanted}"
        raise UsageError(msg) from None


def _opener(
    library: _Library, url: str, options: Mapping[str, object], *, is_cluster: bool
) -> OpenScheduler:
    @contextmanager
    def opened() -> Generator[Scheduler]:
        import redis  # noqa: PLC0415  # Only for a URL that asks for it.

        kind = redis.RedisCluster if is_cluster else redis.Redis
        try:
            client = kind.from_url(url)  # pyright: ignore[reportUnknownMemberType]
        except Exception as error:  # noqa: BLE001  # A cluster's client connects here.
            yield Unreachable(type(error).__name__)
            return
        with closing(client):
            yield _built(library, client, options)

    return opened


def _built(library: _Library, client: object, options: Mapping[str, object]) -> Scheduler:
    positional = [client]
    if library.has_gate:
        positional.insert(0, _called(LIBRARIES["gate"].kind, [client], options))
    scheduler: Scheduler = _called(library.kind, positional, options)
    return scheduler


def _called(adapter: Any, positional: list[object], options: Mapping[str, object]) -> Any:  # noqa: ANN401
    own = {name: value for name, value in options.items() if name in _options(adapter)}
    try:
        return adapter(*positional, **own)
    except (TypeError, ValueError, OverflowError) as error:  # Of an option, in our own words.
        msg = f"--scheduler: {error}"
        raise UsageError(msg) from error


@attrs.frozen
class Unreachable:
    """A scheduler that cannot be opened; the store does not depend on it."""

    fault: str

    def cancel(self, _deferred_id: str, _operation_id: str, /) -> bool:
        """Raise that it is out of reach."""
        raise self._error()

    def waiting_among(self, _deferred_ids: object, /) -> set[str]:
        """Raise that it is out of reach."""
        raise self._error()

    def check(self) -> list[str]:
        """Raise that it is out of reach."""
        raise self._error()

    def _error(self) -> SchedulerUnavailable:
        return SchedulerUnavailable(f"the scheduler can't be reached ({self.fault})")
