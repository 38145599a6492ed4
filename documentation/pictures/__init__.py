"""The pictures of the pages, each drawn from the code that it shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from documentation.pictures.decision_table import decision_table
from documentation.pictures.layers import layers
from documentation.pictures.sequences import (
    cancel_beside_outcome,
    cancel_beside_start,
    crash_points,
    redis_first,
)
from documentation.pictures.state_machines import contact_states, deferred_states, job_states

PICTURES: Final[Mapping[str, Callable[[], str]]] = {
    "pictures/job-states.svg": job_states,
    "pictures/contact-states.svg": contact_states,
    "pictures/deferred-states.svg": deferred_states,
    "pictures/decision-table.svg": decision_table,
    "pictures/layers.svg": layers,
    "pictures/crash-points.svg": crash_points,
    "pictures/redis-first.svg": redis_first,
    "pictures/cancel-beside-start.svg": cancel_beside_start,
    "pictures/cancel-beside-outcome.svg": cancel_beside_outcome,
}
"""Each file below docs/, and what draws it."""
