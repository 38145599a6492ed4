"""The commands on a store: check, doctor, schema."""

from __future__ import annotations

from typing import Annotated

import typer

from batch_cancel.cli import options, output, reports, urls
from batch_cancel.cli.exits import (
    FINDINGS,
    SILENT,
    faults_reported,
)
from batch_cancel.cli.imports import importable
from batch_cancel.cli.options import wiring
from batch_cancel.cli.program import program


@program.command()
def check(
    context: typer.Context,
    *,
    app: options.App = None,
    store: options.Store = None,
    scheduler: options.Scheduler = None,
    schema: options.Names = None,
    as_json: options.Json = False,
) -> None:
    """
    Check whether store and scheduler are fit for the library, without a change.

    It checks tables, columns, keys, indexes, permissions, statuses, versions and settings, by the
    names in PostgresSchema() or in yours (--schema). It names what cannot be checked.

    \b
    Exit codes:
      0  both are fit; things that deserve review may be listed
      1  something is missing or slow; stdout says what
      2  the command line is wrong
      5  failed; stderr says why
      7  the scheduler did not answer; what else was found is reported
    """  # noqa: D301  # \b is a character here: it keeps the list from being wrapped.
    with faults_reported():
        wired = wiring(context, app=app, store=store, scheduler=scheduler, schema=schema)
        found = wired.perform(lambda calls: calls.check())
        notes = [*found.store.notes, *found.notes]
        report = reports.Checked(found.store.problems, found.scheduler, notes, found.fault)
    output.answer(report.json() if as_json else report.text())
    if report.fault is not None:
        raise typer.Exit(SILENT)
    if not report.is_fit:
        raise typer.Exit(FINDINGS)


@program.command()
def doctor(
    context: typer.Context,
    *,
    app: options.App = None,
    store: options.Store = None,
    schema: options.Names = None,
    as_json: options.Json = False,
) -> None:
    """
    Examine a store: what fits, what is missing, what is slow, what only workers need.

    It reads the database's catalogs and up to 10,000 rows of each table, and has the library's
    statements planned, not run. It changes nothing.

    \b
    Exit codes:
      0  no requirement of a cancel is missing or slow
      1  something is missing or slow; stdout says what
      2  the command line is wrong
    """  # noqa: D301  # \b is a character here: it keeps the list from being wrapped.
    with faults_reported():
        wired = wiring(context, app=app, store=store, schema=schema)
        report = reports.Doctored(wired.perform_on_store(lambda calls: calls.examine()))
    output.answer(report.json() if as_json else report.text())
    if not report.is_fit:
        raise typer.Exit(FINDINGS)


@program.command()
def schema(
    *,
    reference: Annotated[
        bool, typer.Option("--reference", help="Add example tables of jobs and contacts.")
    ] = False,
    guards: Annotated[
        bool,
        typer.Option(
            "--guards", help="Add triggers that repair writers who ignore a cancellation."
        ),
    ] = False,
    start_gates: Annotated[
        bool, typer.Option("--start-gates", help="Add the table of SqlStartGate.")
    ] = False,
    release: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RELEASE",
            help="Print what changes the tables that an earlier release created, such as 0.1.",
        ),
    ] = None,
    names: options.Names = None,
) -> None:
    """Print the SQL for what the library needs in Postgres: batch-cancel schema | psql."""
    with faults_reported(), importable():
        text = urls.ddl(
            names, release, reference=reference, guards=guards, start_gates=start_gates
        )
    output.answer(text)
