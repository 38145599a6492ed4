"""What differs between an asyncio half and its blocking half, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs


@attrs.frozen
class Differs:
    """
    A difference that is meant.

    Arguments:
        stripped: how the stripped asyncio half says it, somewhere in its source.
        blocking: how the blocking half says it.
        reason: why they differ.
    """

    stripped: str
    blocking: str
    reason: str


MEANT: Final[Mapping[tuple[str, str], tuple[Differs, ...]]] = {
    ("adapters/memory/scheduler.py", "AsyncMemoryScheduler"): (
        Differs("-> Answer:", "-> bool:", "A test that only seeds need not await `schedule`,"),
        Differs(
            "return Answer(self._schedule(deferred_id, at, payload))",
            "return self._schedule(deferred_id, at, payload)",
            "so it answers with a bool for both.",
        ),
    ),
    ("adapters/memory/store.py", "AsyncMemoryStore"): (
        Differs(
            "yield MemoryRepositories(repositories)",
            "yield repositories",
            "The blocking repositories, in wrappers that look awaited.",
        ),
    ),
    ("testing/breakpoints.py", "_passed_async"): (
        Differs(
            "asyncio.to_thread(hook, point)",
            "hook(point)",
            "A hook may wait, and must not hold up the loop.",
        ),
    ),
    ("adapters/postgres/unit_of_work.py", "AsyncPostgresUnitOfWork"): (
        Differs(
            " | Awaitable[psycopg.Connection[Any]]",
            "",
            "psycopg's asyncio `connect` returns a connection only when awaited.",
        ),
        Differs("asyncio.sleep(", "time.sleep(", "A task waits without holding the others up."),
    ),
    ("adapters/sqlalchemy/unit_of_work.py", "AsyncSqlAlchemyUnitOfWork"): (
        Differs(
            "connection.run_sync(check_shared)",
            "check_shared(connection)",
            "The blocking half does the work, over the engine's bridge.",
        ),
        Differs(
            "connection.run_sync(self._settings.open, self._tables)",
            "self._settings.open(connection, self._tables)",
            "The same.",
        ),
        Differs("asyncio.sleep(", "time.sleep(", "A task waits without holding the others up."),
    ),
    ("adapters/sqlalchemy/health.py", "AsyncChecked"): (
        Differs(
            "bridged(repositories, examined)",
            "examined(repositories.jobs)",
            "The blocking half does the work, over the engine's bridge.",
        ),
    ),
    ("adapters/sqlalchemy/start_gate.py", "_AsyncTransactions"): (
        Differs(
            "bridged(repositories, lambda its: _done(its, self.gates, step))",
            "_done(repositories.jobs, self.gates, step)",
            "The blocking half does the work, over the engine's bridge.",
        ),
    ),
    ("adapters/sqlalchemy/joining.py", "_AsyncJoined"): (
        Differs(
            "caller.run_sync(join, self.tables)",
            "join(caller, self.tables)",
            "The blocking half does the work, over the engine's bridge.",
        ),
    ),
}
"""By module and name of the asyncio half; each must occur exactly once, or it is outdated."""

OTHERWISE_MADE: Final[Mapping[tuple[str, str], str]] = {
    ("http/endpoint_kinds.py", "check_cancel_async"): (
        "Each half refuses the kind that the other one is for."
    ),
    ("adapters/memory/turns.py", "AsyncTurn"): (
        "No lock of asyncio is reentrant: it counts for itself what threading.RLock counts."
    ),
    ("adapters/postgres/repositories.py", "AsyncPostgresRepositories"): (
        "The blocking half runs what this one holds."
    ),
    ("adapters/sqlalchemy/repositories.py", "AsyncSqlAlchemyRepositories"): (
        "It holds the blocking half, in wrappers that look awaited."
    ),
}
"""
Halves of one shape that work differently: only methods and parameters are compared.

Their docstrings may be their own.
"""

LOOKS_AWAITED: Final[Mapping[tuple[str, str], str]] = {
    ("adapters/postgres/sender.py", "AsyncSender"): "What sends is written once, on either.",
    ("adapters/procrastinate/__init__.py", "_begun_async"): "The same.",
    ("adapters/postgres/start_gate.py", "_AsyncTransactions"): "The gate's steps are, too.",
    ("adapters/sqlalchemy/start_gate.py", "_AsyncTransactions"): "The same.",
}
"""Halves of which the blocking one consists of coroutines as well, which never suspend."""

ELSEWHERE: Final[Mapping[str, tuple[str, str]]] = {
    "adapters/redis/deadline_async.py": (
        "adapters/redis/deadline_sync.py",
        "A task is called off from outside, a socket has timeouts: two ways to keep a deadline.",
    ),
}
"""Modules of one half only: the other's module, and the reason. Shapes alone are compared."""

UNPAIRED: Final[Mapping[tuple[str, str], str]] = {
    ("cli/apps.py", "_perform"): "An application that has to be awaited needs an event loop.",
    ("adapters/django/command_line.py", "_examine"): "A command: the command line runs it.",
    ("adapters/redis/deadline_async.py", "_until"): "A socket's timeout needs no such care.",
    ("adapters/asgi.py", "AsgiApp"): "A protocol of its own; WSGI is the other, see WsgiApp.",
    ("adapters/asgi.py", "AsgiRoute"): "The same; see WsgiRoute.",
    ("adapters/asgi.py", "_Requests"): "A blocked thread has no budget, and nothing to wait for.",
    ("adapters/asgi.py", "_awaited"): "It runs a blocking cancel.",
    ("adapters/asgi.py", "_body"): "A protocol of its own.",
    ("adapters/taskiq/source.py", "CancellableScheduleSource"): "taskiq is asyncio alone.",
    ("adapters/otel/__init__.py", "Telemetry"): "One for both halves: what it is given decides.",
    ("adapters/otel/__init__.py", "_Spans"): "The same.",
    **{
        (f"testing/conformance/{theme}.py", name): "One for both halves: tests are written once."
        for theme, name in (
            ("cancel", "CancelConformance"),
            ("transactions", "TransactionConformance"),
        )
    },
    ("testing/conformance/expiry.py", "_is_refused"): "The same.",
    ("testing/conformance/outcomes.py", "_mark_alone"): "The same.",
    ("testing/conformance/turns.py", "_claiming"): "The same.",
    ("testing/conformance/faults.py", "FaultConformance"): "The same.",
    ("testing/conformance/faults.py", "_in_the_way"): "The same.",
    ("testing/conformance/faults.py", "_locking"): "The same.",
    ("testing/conformance/faults.py", "_cancelling_backwards"): "The same.",
    ("testing/conformance/inspection.py", "_look"): "The same.",
    ("testing/conformance/turns.py", "_taking"): "The same.",
    ("testing/conformance/turns.py", "mark_done"): "The same.",
    ("testing/runner.py", "_Loop"): "Only asyncio adapters need an event loop.",
    ("testing/seeded.py", "Seeded"): "One for both halves, as the tests that it is for.",
    ("testing/world.py", "World"): "The same.",
    ("adapters/memory/repositories.py", "AsyncMemoryRepositories"): (
        "It holds the blocking half, in wrappers that look awaited."
    ),
    ("adapters/sqlalchemy/statements.py", "Bridge"): "It is what runs the blocking half.",
    ("adapters/sqlalchemy/repositories.py", "bridged"): "The same.",
    ("adapters/postgres/unit_of_work.py", "_awaited"): "It exists because the halves differ.",
    **{
        (f"adapters/{module}.py", name): (
            "Its methods are the coroutines that the blocking half runs, see test_written_once.py."
        )
        for module, name in (
            ("postgres/start_gate", "AsyncSqlStartGate"),
            ("procrastinate/__init__", "AsyncProcrastinateScheduler"),
            ("redis/scheduler", "AsyncRedisScheduler"),
            ("redis/start_gate", "AsyncStartGate"),
            ("sqlalchemy/start_gate", "AsyncSqlStartGate"),
        )
    },
    **{
        (f"adapters/{module}.py", name): "Written once: both halves run it."
        for module, names in {
            "apscheduler/__init__": ("_JobStore",),
            "huey/__init__": ("_Huey",),
            "postgres/repositories": ("Jobs", "Contacts", "Outbox", "Inspection"),
            "postgres/sender": ("Answer",),
            "postgres/start_gate": ("_Rows",),
            "postgres/transaction": ("Transaction",),
            "procrastinate/__init__": ("_Jobs",),
            "redis/health": ("checked",),
            "redis/library_scheduler": ("LibraryScheduler",),
            "redis/scheduler": ("_DeferredStarts",),
            "redis/start_gate": ("_Gate",),
            "sql_gate": ("Rows", "Transactions", "SqlGate"),
            "sqlalchemy/start_gate": ("_Rows",),
        }.items()
        for name in names
    },
}
"""Coroutines that have no blocking half, and why."""

RENAMED: Final = {
    "AbstractAsyncContextManager": "AbstractContextManager",
    "StopAsyncIteration": "StopIteration",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "aclose": "close",
    "aclosing": "closing",
    "asynccontextmanager": "contextmanager",
}
"""Names that say asyncio in their own way; the others begin with Async or end in _async."""


ASYNCIO_ONLY: Final[Mapping[str, str]] = {
    "adapters/aiohttp.py": "The framework is asyncio alone.",
    "adapters/fastapi.py": "The same.",
    "adapters/litestar.py": "The same.",
    "adapters/postgres/doctor/": "Written once, over a sender of either kind.",
    "adapters/postgres/at_once.py": "The same.",
    "adapters/postgres/bulk.py": "The same.",
    "adapters/postgres/history.py": "The same.",
    "adapters/postgres/overview.py": "The same.",
    "adapters/postgres/statements.py": "The same.",
    "adapters/postgres/sweep.py": "The same.",
    "adapters/postgres/work_repository.py": "The same.",
    "adapters/redis/script_runner.py": "Written once, over a line of either kind.",
    "cli/bulk_calls.py": "Written once: blocking ports come in wrappers.",
    "cli/calls.py": "Written once: blocking ports come in wrappers.",
    "cli/store_calls.py": "The same.",
    "cli/passes.py": "The same.",
    "cli/watched.py": "The same.",
    "http/endpoint.py": "Its blocking methods run the coroutines of its asyncio ones.",
    "testing/explore/": (
        "A coroutine can be stopped between any two steps, a thread can't; what it explores are "
        "the coroutines that the blocking functions run as well."
    ),
    "use_cases/": "Each is a coroutine, which its blocking function runs.",
}
"""Folders and modules of which there is one half, and why."""
