"""
A store and a scheduler in memory: for your tests, and for trying things out.

They are a product, not a stub: they keep the same promises as the real adapters and pass the same
tests. A transaction works on a draft that is written down on a clean exit only; a transaction
inside a transaction is a savepoint. One transaction runs at a time, which is stricter than a
database: a race that a database would show does not happen here. A worker's step costs what it
changes, however many contacts the job has.
"""

from __future__ import annotations

from batch_cancel.adapters.memory.repositories import AsyncMemoryRepositories, MemoryRepositories
from batch_cancel.adapters.memory.scheduler import Answer, AsyncMemoryScheduler, MemoryScheduler
from batch_cancel.adapters.memory.store import AsyncMemoryStore, MemoryStore

__all__ = [
    "Answer",
    "AsyncMemoryRepositories",
    "AsyncMemoryScheduler",
    "AsyncMemoryStore",
    "MemoryRepositories",
    "MemoryScheduler",
    "MemoryStore",
]
