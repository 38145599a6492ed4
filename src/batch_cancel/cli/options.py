"""The options that several commands have, and what they name: an application, or its stores."""

from __future__ import annotations

from typing import Annotated, Final, TypeVar

import attrs
import typer

from batch_cancel.cli import apps, libraries, urls
from batch_cancel.cli.calls import Calls
from batch_cancel.cli.imports import UsageError, importable
from batch_cancel.use_cases.run_blocking import run

_T = TypeVar("_T")


def organization_named(organization: str | None) -> str | None:
    """
    Return the organization of an option.

    Raises:
        typer.BadParameter: it is empty, as from a variable of the shell that is not set.
    """
    if organization == "":
        msg = "it is empty: name an organization, or leave the option out for jobs of none"
        raise typer.BadParameter(msg)
    return organization


App = Annotated[
    str | None,
    typer.Option(
        "--app",
        metavar="MODULE:NAME",
        envvar="BATCH_CANCEL_APP",
        help="Your own wiring: an object with uow and scheduler, or a function that returns one. "
        "Instead of the other options that name them.",
    ),
]
Store = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="BATCH_CANCEL_STORE",
        help=f"Where the jobs are ({urls.STORES}). A SQLite file must exist.",
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="BATCH_CANCEL_SCHEDULER",
        help=f"Where the deferred starts wait: {urls.SCHEDULERS}. "
        "May be left out with a SQLite store: then it is the same file.",
    ),
]
Names = Annotated[
    str | None,
    typer.Option(
        "--schema",
        metavar="MODULE:NAME",
        help="Where your PostgresSchema is, if your names are not the reference ones.",
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Answer with one JSON object instead of sentences.")
]
Organization = Annotated[
    str | None,
    typer.Option(metavar="ID", help="Whose job it is; left out for a job of none."),
]
Organizations = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        callback=organization_named,
        help="Whose jobs; left out for those of none, never for all.",
    ),
]

_COMMAND_LINE: Final = "COMMANDLINE"
_BOTH: Final = (
    "--app names the store and the scheduler by itself: leave out --store, --scheduler and "
    "--schema, or --app (BATCH_CANCEL_APP, BATCH_CANCEL_STORE and BATCH_CANCEL_SCHEDULER count, "
    "too)"
)
_NEITHER: Final = (
    "a store is needed: name your application's wiring by --app, or the store by --store"
)


@attrs.frozen
class Wiring:
    """
    What a command line names.

    Arguments:
        app: the application, as `module:name`; None where the others name its ports.
        store: the URL of its store.
        scheduler: the URL of its scheduler.
        schema: where its PostgresSchema is, as `module:name`.
    """

    app: str | None
    store: str | None
    scheduler: str | None
    schema: str | None

    def perform(self, command: apps.Command[_T]) -> _T:
        """
        Run a command on what is named.

        Raises:
            UsageError: it cannot be used.
            Exception: whatever the command raises.
        """
        with importable():
            if self.app is not None:
                return apps.perform(self.app, command)
            store = _needed(self.store)
            uow = urls.store_at(store, self.schema)
            with urls.scheduler_at(self.scheduler, store)() as scheduler:
                return run(command(Calls.blocking(uow, scheduler)))

    def perform_on_store(self, command: apps.Command[_T]) -> _T:
        """
        Run a command that asks no scheduler.

        Raises:
            UsageError: what is named cannot be used.
            Exception: whatever the command raises.
        """
        with importable():
            if self.app is not None:
                return apps.perform(self.app, command)
            uow = urls.store_at(_needed(self.store), self.schema)
            nobody = libraries.Unreachable("none is named")
            return run(command(Calls.blocking(uow, nobody)))


def wiring(
    context: typer.Context,
    *,
    app: str | None,
    store: str | None,
    scheduler: str | None = None,
    schema: str | None = None,
) -> Wiring:
    """
    Decide between an application and the URLs of its ports.

    What stands on the command line counts more than the environment.

    Raises:
        UsageError: both are named in the same place.
    """
    ports = {"store": store, "scheduler": scheduler, "schema": schema}
    given = [name for name, value in ports.items() if value is not None]
    if app is None or not given:
        return Wiring(app, store, scheduler, schema)
    is_app_typed = _is_typed(context, "app")
    typed = [name for name in given if _is_typed(context, name)]
    if is_app_typed == bool(typed):
        raise UsageError(_BOTH)
    if is_app_typed:
        return Wiring(app, None, None, None)
    return Wiring(None, store, scheduler, schema)


def _is_typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == _COMMAND_LINE


def _needed(store: str | None) -> str:
    if store is None:
        raise UsageError(_NEITHER)
    return store
