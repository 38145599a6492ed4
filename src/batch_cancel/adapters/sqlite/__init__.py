"""
A store and a scheduler in one SQLite file: nothing to install, nothing to start.

    store = SqliteStore("jobs.db")
    scheduler = SqliteScheduler("jobs.db")

Any number of threads and processes of one machine may share the file; it must not lie on a network
drive, where SQLite's locks do not hold.
"""

from batch_cancel.adapters.sqlite.joining import joining
from batch_cancel.adapters.sqlite.repositories import SqliteRepositories
from batch_cancel.adapters.sqlite.scheduler import SqliteScheduler
from batch_cancel.adapters.sqlite.store import SqliteStore

__all__ = ["SqliteRepositories", "SqliteScheduler", "SqliteStore", "joining"]
