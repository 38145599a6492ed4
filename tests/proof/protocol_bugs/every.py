"""Every protocol that is wrong on purpose."""

from __future__ import annotations

from tests.proof.protocol_bugs import answers, bulks, cancels, nodes, reconciles, sweeps, workers
from tests.proof.protocol_bugs.planting import BUGS, Bug

__all__ = ["BUGS", "PLANTING", "Bug"]

PLANTING = (cancels, answers, workers, reconciles, sweeps, bulks, nodes)
"""The modules that plant a bug when they are imported."""
