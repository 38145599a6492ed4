"""
A store and a scheduler in memory, for your tests and for trials.

They keep the same promises as the other adapters and pass the same tests. A transaction works on a
draft that replaces the rows on a clean exit only; a transaction inside a transaction is a
savepoint. One transaction runs at a time, which is stricter than a database: races that a database
allows do not happen here. A worker's step costs what it changes, however many contacts the job
has.
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
