"""How long reconcile takes for each record whose removal is pending."""

from __future__ import annotations

from batch_cancel import Removal, reconcile
from benchmarks.bars import Measured
from benchmarks.findings import Findings, Table, milliseconds
from benchmarks.place import Place, progress
from benchmarks.rounds import interleaved, timed


def measured(place: Place) -> Findings:
    """Measure passes over pending removals, each of which Redis confirms."""
    records, rounds = place.sizes.records, place.sizes.record_rounds
    progress(f"reconcile: {records:,} records")
    uow, scheduler = place.uow, place.scheduler

    def one_pass() -> float:
        place.schedule(place.tables.seed_pending_removals(records))
        results = list[object]()

        def run() -> None:
            done = reconcile(uow=uow, scheduler=scheduler, limit=records)
            results.extend(it for it in done if it.removal is Removal.REMOVED)

        seconds = timed(run)
        assert len(results) == records
        return seconds / records

    taken = interleaved(rounds, {"reconcile": one_pass}).time("reconcile")
    return Findings(
        bars=(Measured("reconcile", taken.times(1000), f"{records:,} records in a pass"),),
        tables=(
            Table(
                "Reconcile",
                ("records in a pass", "ms for each"),
                ((f"{records:,}", milliseconds(taken)),),
            ),
        ),
    )
