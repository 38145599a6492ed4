"""
The parts of the code that are mutated, and the tests that judge each.

`make proof` takes a fixed sample, the fifth mutant of each function: there are more than the tests
can judge in the time. `make mutants` tries all of the domain, the use cases and the memory store;
the other adapters are judged by tests that ask real servers. Those of Celery, Dramatiq,
APScheduler, taskiq and Procrastinate are left out: only workers of theirs judge them, in processes
of their own. What SQLAlchemy does on MariaDB and Galera is left out, too: only `make mysql` has
these.
"""

from __future__ import annotations

import attrs

from tests.proof.planted_patches import PACKAGE, ROOT


@attrs.frozen
class Part:
    """
    A part of the code, and what judges it.

    Arguments:
        name: what it is called.
        files: its files below src/batch_cancel, as patterns.
        tests: the tests that judge it, below tests/. Those that read the source, and those that
            run it in processes of their own, see no mutant.
        world: what they are narrowed to, as pytest's -k.
        is_sampled: whether only a sample of its mutants is tried.
    """

    name: str
    files: tuple[str, ...]
    tests: tuple[str, ...]
    world: str
    is_sampled: bool = True


CONTRACT = tuple(
    f"contract/test_{name}.py"
    for name in (
        *("cancel", "cancel_ids", "cancel_operations", "inspect", "log"),
        *(
            "native_store",
            "native_store_model",
            "native_store_pump",
            "reconcile",
            "reconcile_hooks",
        ),
        *("bulk", "forget", "history", "overview", "sweep"),
        *("telling_once", "work", "work_appends", "work_calls", "work_property"),
    )
)
_NO_JUDGES = {
    f"test_{name}.py"
    for name in (
        *("benchmarks", "cli_urls", "complete_types", "distribution", "english", "imports"),
        *("pins", "pytest_plugin", "repository", "selection", "sizes", "twins", "watchdog"),
        "written_once",
    )
}
"""
Unit tests that read the source or other files, start processes of their own, or are of an adapter.
"""
CORE = tuple(
    f"unit/{path.name}"
    for path in sorted((ROOT / "tests" / "unit").glob("test_*.py"))
    if path.name not in _NO_JUDGES
)
MEMORY = "not redis and not postgres and not sqlite and not cluster and not django"
"""The tests of what needs no server: in the worlds of the memory store, and outside of worlds."""


_ON_MARIADB = ("bytewise", "certification", "galera", "mysql")
SQLALCHEMY = tuple(
    str(path.relative_to(PACKAGE))
    for path in sorted((PACKAGE / "adapters" / "sqlalchemy").rglob("*.py"))
    if not path.name.startswith(_ON_MARIADB)
)


# The one that takes longest comes first, since two are tried at a time.
PARTS = (
    Part(
        "domain, use cases, memory store",
        ("domain/*", "use_cases/*", "adapters/memory/*"),
        (*CORE, *CONTRACT, "http/test_endpoint.py", "http/test_endpoint_body.py"),
        # What mutmut wraps is no coroutine function to whoever looks at it without calling it.
        f"{MEMORY} and not refuses_the_wrong_kind",
        is_sampled=False,
    ),
    Part(
        "Postgres",
        (
            "adapters/postgres/*",
            "adapters/postgres_catalog.py",
            "adapters/postgres_faults.py",
            "adapters/postgres_transactions.py",
            "adapters/sql_files.py",
            "adapters/sql_gate.py",
        ),
        (
            *CONTRACT,
            *(
                f"integration/test_postgres_{name}.py"
                for name in (
                    *("at_once", "checks", "checks_indexes", "checks_server", "connections"),
                    *("faults", "guards", "ids", "keys", "keys_of_contacts", "keys_of_jobs"),
                    *("locks", "names", "notes", "outcomes", "outcomes_of_steps", "pools"),
                    *("refused", "round_trips", "schemas", "sessions", "starts", "tables"),
                    "transaction",
                )
            ),
            *(
                f"integration/test_{name}_postgres.py"
                for name in (
                    *("bulk", "bulk_port", "history", "reconcile", "reports", "sql_gate"),
                    "sweep",
                )
            ),
            *(
                f"integration/test_{name}.py"
                for name in (
                    *("doctor", "ids_by_text", "migrations", "sql_gate", "sweep_plans"),
                    "sweep_refused",
                )
            ),
            *(
                f"integration/test_doctor_{name}.py"
                for name in ("indexes", "rows", "shapes", "writers")
            ),
            *(
                f"integration/test_{name}.py"
                for name in (
                    *("joining", "joining_starts", "work_plans", "work_postgres"),
                    "work_returning",
                )
            ),
            *(
                f"integration/test_work_postgres_{name}.py"
                for name in ("appends", "copy", "guards", "tables")
            ),
        ),
        "not redis and not sqlite and not cluster and (not contract or postgres) "
        "and not sqlalchemy and not django and not replica and not file and not pgbouncer "
        "and not says_whether_to_ask_again and not comes_back and not deadlock",
    ),
    Part(
        "Redis, and the libraries that keep their starts there",
        (
            "adapters/redis/*",
            *(f"adapters/{name}/*" for name in ("arq", "docket", "huey", "rq", "saq")),
        ),
        (
            *CONTRACT,
            *(
                f"integration/test_redis_{name}.py"
                for name in (
                    *("bulk", "checks", "claims", "clients", "faults", "server_state"),
                    "topologies",
                )
            ),
            *(
                f"integration/test_recipe{name}.py"
                for name in ("_answers", "_checks", "_docket", "s")
            ),
            "integration/test_start_gate.py",
        ),
        "(redis or cluster or recipe or gate) and not postgres and not sqlite and not replica",
    ),
    Part(
        "SQLAlchemy and Django",
        (*SQLALCHEMY, "adapters/django/*"),
        (
            *CONTRACT,
            "integration/test_sqlalchemy.py",
            "integration/test_ids_by_text.py",
            "integration/test_joining_sqlalchemy_and_django.py",
            "integration/test_sql_gate.py",
            "integration/test_work_plans.py",
            "integration/test_work_returning.py",
            *(
                f"integration/test_sqlalchemy_{name}.py"
                for name in (
                    "bulk",
                    "checks",
                    "columns",
                    "joining",
                    "keys",
                    "mapping",
                    "numbers",
                    "options",
                    "outcomes",
                    "ports",
                    "refusals",
                    "servers",
                    "status_names",
                    "sweeps",
                    "transactions",
                    "types",
                )
            ),
            "integration/test_django.py",
            *(
                f"integration/test_django_{name}.py"
                for name in (
                    *("app", "cases", "commands", "endpoint", "migrations", "removals"),
                    "tables",
                )
            ),
        ),
        "alchemy or django",
    ),
    Part(
        "SQLite",
        ("adapters/sqlite/*",),
        (
            *CONTRACT,
            *(
                f"integration/test_sqlite_{name}.py"
                for name in (
                    "checks",
                    "faults",
                    "joining",
                    "keys",
                    "paths",
                    "ports",
                    "scheduler",
                    "store",
                    "triggers",
                )
            ),
        ),
        "sqlite and not sqlalchemy and not redis and not postgres and not memory and not cluster "
        "or file",
    ),
    Part(
        "the endpoint",
        ("http/*", "adapters/asgi.py", "adapters/wsgi.py"),
        (
            *("unit/test_presenter.py", "unit/test_kinds_sentences.py"),
            *(
                f"http/test_{it}.py"
                for it in (
                    *("asgi", "asgi_clients", "endpoint", "endpoint_body", "frameworks"),
                    *("frameworks_openapi", "openapi"),
                )
            ),
        ),
        "not real_server",  # An uvicorn takes the wrapped application for a plain function.
    ),
    Part(
        "OpenTelemetry",
        ("adapters/otel/__init__.py", "adapters/otel/pending_removals.py"),
        (
            "contract/test_otel.py",
            "contract/test_otel_outcomes.py",
            "contract/test_otel_pending.py",
        ),
        MEMORY,
    ),
)

SAMPLES = tuple(attrs.evolve(part, is_sampled=True) for part in PARTS)

NO_JUDGES = frozenset(
    f"integration/test_{name}.py"
    for name in (
        # Of the command line, of the tests' own servers, and of what is not mutated.
        *("cli", "cli_app_refused", "cli_apps", "cli_bulk", "cli_demo", "cli_history"),
        *("cli_inspect", "cli_job_reports", "cli_operations", "cli_reconcile"),
        *("cli_reconcile_loop", "cli_servers", "alembic", "dialer", "fault_proxy"),
        *("operation_files", "servers"),
        # They need a server that only `make mysql` has, or replicas, or processes of their own.
        *("mariadb", "mariadb_settings", "min_replicas", "sqlite_processes"),
        # Many at once, again and again: they take long.
        *("bulk_orders", "bulk_postgres_races", "races", "reconcile_races", "redis_races"),
    )
)
"""Test files of adapters that judge no mutants. Every other file must be in PARTS."""
