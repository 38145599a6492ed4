"""How long an adapter under test waits for a lock."""

from __future__ import annotations

from datetime import timedelta

BUDGET = timedelta(seconds=2)
"""For a lock: as long as nobody waits who gets it, and soon over where nobody does."""
