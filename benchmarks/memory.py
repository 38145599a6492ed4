"""What grows with a job's contacts and should not: memory, and claims of the memory store."""

from __future__ import annotations

import tracemalloc
from typing import Final

from batch_cancel import cancel_job, claim_contacts
from batch_cancel.adapters.memory import MemoryStore
from benchmarks.bars import Measured
from benchmarks.findings import Curve, Findings, Table, milliseconds, number
from benchmarks.place import Place, progress
from benchmarks.rounds import Contestant, figure, interleaved, timed

_CLAIMS_IN: Final = (1_000, 100_000)
_KILOBYTE: Final = 1024


def measured(place: Place) -> Findings:
    """Measure both."""
    return _of_cancels(place).joined(_of_claims(place))


def _of_cancels(place: Place) -> Findings:
    kilobytes = dict[int, float]()
    # What the first cancel loads stays, and is not that of a cancel.
    _peak(place, 10)
    for contacts in place.sizes.memory:
        progress(f"memory: {contacts:,} contacts")
        kilobytes[contacts] = _peak(place, contacts) / _KILOBYTE
    largest, smallest = max(kilobytes), min(kilobytes)
    ratio = kilobytes[largest] / kilobytes[smallest]
    return Findings(
        bars=(Measured("memory-flat", figure([ratio]), f"the largest has {largest:,} contacts"),),
        tables=(
            Table(
                "Memory that Python allocates in a cancel, at its peak",
                ("contacts", "KB"),
                tuple((f"{contacts:,}", number(it)) for contacts, it in kilobytes.items()),
            ),
        ),
        curves=(Curve("memory", "a cancel on Postgres", tuple(kilobytes.items())),),
    )


def _peak(place: Place, contacts: int) -> int:
    (job,), uow, scheduler = place.jobs(1, contacts), place.uow, place.scheduler
    tracemalloc.start()
    try:
        cancel_job(job, uow=uow, scheduler=scheduler)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _of_claims(place: Place) -> Findings:
    progress("claims of the memory store")

    def contestant(contacts: int) -> Contestant:
        store = MemoryStore()
        store.add_job("job", "running")
        store.add_contacts("job", {f"{it:06}": "pending" for it in range(contacts)})
        return lambda: timed(lambda: claim_contacts("job", uow=store, limit=1))

    few, many = (f"{contacts:,}" for contacts in _CLAIMS_IN)
    contestants = {f"{contacts:,}": contestant(contacts) for contacts in _CLAIMS_IN}
    taken = interleaved(place.sizes.claims, contestants)
    return Findings(
        bars=(Measured("memory-store", taken.ratio(many, few)),),
        tables=(
            Table(
                "A claim of one contact in the memory store",
                ("contacts", "ms"),
                tuple((it, milliseconds(taken.time(it))) for it in (few, many)),
            ),
        ),
    )
