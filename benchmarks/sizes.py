"""How much is measured: in full, in two minutes, or only whether it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs


@attrs.frozen(kw_only=True)
class Sizes:
    """
    How much is measured.

    Arguments:
        name: of these sizes.
        other_contacts: how many contacts of other jobs are in the table.
        cancels: how many rounds of a cancel, by the job's contacts.
        network_runs: how many cancels go over a slow network.
        connections: the numbers of connections of the throughput.
        small_jobs: how many small jobs each connection cancels in a round.
        rate_rounds: how many rounds of throughput, and of workers.
        worker_calls: how many calls each of 8 workers makes in a round.
        bulk_jobs: how many jobs are cancelled together.
        bulk_rounds: how many rounds of that.
        million: how many contacts the very large job has.
        idle_seconds: how long workers are watched without a cancel.
        records: how many records a reconcile finishes.
        record_rounds: how many rounds of that.
        starts: how many deferred starts are cancelled in a round.
        start_rounds: how many rounds of that.
        memory: the numbers of contacts of which the memory is measured.
        claims: how many claims of the memory store are measured.
        peer_items: how many items a peer cancels.
        peer_rounds: how many rounds of that.
        single_rounds: how many rounds of one item.
    """

    name: str
    other_contacts: int
    cancels: Mapping[int, int]
    network_runs: int
    connections: tuple[int, ...]
    small_jobs: int
    rate_rounds: int
    worker_calls: int
    bulk_jobs: int
    bulk_rounds: int
    million: int
    idle_seconds: float
    records: int
    record_rounds: int
    starts: int
    start_rounds: int
    memory: tuple[int, ...]
    claims: int
    peer_items: int
    peer_rounds: int
    single_rounds: int


FULL: Final = Sizes(
    name="full",
    other_contacts=5_000_000,
    cancels={100: 300, 1_000: 150, 10_000: 20, 100_000: 8, 1_000_000: 3},
    network_runs=40,
    connections=(1, 2, 4, 8, 16),
    small_jobs=100,
    rate_rounds=8,
    worker_calls=150,
    bulk_jobs=1_000,
    bulk_rounds=5,
    million=1_000_000,
    idle_seconds=5.0,
    records=1_000,
    record_rounds=5,
    starts=500,
    start_rounds=30,
    memory=(100, 1_000, 10_000, 100_000, 1_000_000),
    claims=50,
    peer_items=10_000,
    peer_rounds=3,
    single_rounds=200,
)

QUICK: Final = Sizes(
    name="quick",
    other_contacts=200_000,
    cancels={100: 60, 1_000: 20, 10_000: 5, 100_000: 2},
    network_runs=10,
    connections=(1, 8),
    small_jobs=30,
    rate_rounds=3,
    worker_calls=40,
    bulk_jobs=200,
    bulk_rounds=2,
    million=100_000,
    idle_seconds=2.0,
    records=300,
    record_rounds=2,
    starts=100,
    start_rounds=10,
    memory=(100, 10_000, 100_000),
    claims=20,
    peer_items=500,
    peer_rounds=1,
    single_rounds=30,
)

TINY: Final = Sizes(
    name="tiny",
    other_contacts=2_000,
    cancels={100: 2, 1_000: 2, 10_000: 1, 20_000: 1},
    network_runs=2,
    connections=(1, 8),
    small_jobs=2,
    rate_rounds=2,
    worker_calls=2,
    bulk_jobs=5,
    bulk_rounds=1,
    million=5_000,
    idle_seconds=0.2,
    records=10,
    record_rounds=1,
    starts=10,
    start_rounds=2,
    memory=(100, 10_000),
    claims=2,
    peer_items=5,
    peer_rounds=1,
    single_rounds=2,
)
