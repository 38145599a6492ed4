"""What undoes the writes of our stores: triggers in the databases, and a layer in memory."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final, LiteralString

import attrs

from batch_cancel.adapters.memory import (
    AsyncMemoryRepositories,
    AsyncMemoryStore,
    MemoryRepositories,
    MemoryStore,
)
from batch_cancel.adapters.memory.contacts import Contact
from batch_cancel.adapters.memory.rows import Rows
from batch_cancel.use_cases.run_blocking import own

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from batch_cancel.testing.adapter import Sabotage

SETS_BACK: Final[LiteralString] = (
    "UPDATE batch_jobs SET status = 'scheduled' WHERE status = 'cancelled'"
)
"""No trigger: it is as if one had run."""

SQLITE_TRIGGERS: Final[dict[Sabotage, str]] = {
    "job skipped": (
        "CREATE TRIGGER sabotage BEFORE UPDATE ON batch_jobs BEGIN SELECT RAISE(IGNORE); END;"
    ),
    "job restored": (
        "CREATE TRIGGER sabotage AFTER UPDATE OF status ON batch_jobs BEGIN "
        "UPDATE batch_jobs SET status = OLD.status WHERE number = NEW.number; END;"
    ),
    "contacts skipped": (
        "CREATE TRIGGER sabotage BEFORE UPDATE ON batch_contacts "
        "BEGIN SELECT RAISE(IGNORE); END; "
        "CREATE TRIGGER sabotage_too BEFORE INSERT ON batch_contacts "
        "BEGIN SELECT RAISE(IGNORE); END;"
    ),
    "contacts restored": (
        "CREATE TRIGGER sabotage AFTER UPDATE OF status ON batch_contacts BEGIN "
        "UPDATE batch_contacts SET status = OLD.status "
        "WHERE job_number = NEW.job_number AND id = NEW.id; END;"
    ),
    "contacts diverted": (
        "CREATE TRIGGER sabotage AFTER UPDATE OF status ON batch_contacts "
        "WHEN NEW.status = 'cancelled' BEGIN UPDATE batch_contacts SET status = 'failed' "
        "WHERE job_number = NEW.job_number AND id = NEW.id; END;"
    ),
    "contact added": (
        "CREATE TRIGGER sabotage AFTER UPDATE OF status ON batch_jobs BEGIN "
        "INSERT INTO batch_contacts (job_number, id, status, updated_at) "
        "VALUES (NEW.number, 'added', 'pending', NEW.updated_at); END;"
    ),
    "record skipped": (
        "CREATE TRIGGER sabotage BEFORE INSERT ON batch_cancellations "
        "BEGIN SELECT RAISE(IGNORE); END;"
    ),
    "job set back": SETS_BACK,
}

POSTGRES_TRIGGERS: Final[dict[Sabotage, tuple[LiteralString, LiteralString, LiteralString]]] = {
    "job skipped": ("batch_jobs", "BEFORE UPDATE", "RETURN NULL;"),
    "job restored": (
        "batch_jobs",
        "BEFORE UPDATE",
        "NEW.status := OLD.status; RETURN NEW;",
    ),
    "contacts skipped": ("batch_contacts", "BEFORE INSERT OR UPDATE", "RETURN NULL;"),
    "contacts restored": (
        "batch_contacts",
        "BEFORE UPDATE",
        "NEW.status := OLD.status; RETURN NEW;",
    ),
    "contacts diverted": (
        "batch_contacts",
        "BEFORE UPDATE",
        "IF NEW.status = 'cancelled' THEN NEW.status := 'failed'; END IF; RETURN NEW;",
    ),
    "contact added": (
        "batch_jobs",
        "BEFORE UPDATE OF status",
        (
            "INSERT INTO batch_contacts (batch_job_id, status) VALUES (NEW.id, 'pending'); "
            "RETURN NEW;"
        ),
    ),
    "record skipped": ("batch_cancellations", "BEFORE INSERT", "RETURN NULL;"),
}
"""By what they do: the table, when, and the body of the function."""


MARIADB_TRIGGERS: Final[dict[Sabotage, dict[str, str]]] = {
    "job skipped": {
        "BEFORE UPDATE ON batch_jobs": (
            "SET NEW.status = OLD.status, NEW.updated_at = OLD.updated_at"
        )
    },
    "job restored": {"BEFORE UPDATE ON batch_jobs": "SET NEW.status = OLD.status"},
    # Nothing skips an INSERT there: the row goes elsewhere.
    "contacts skipped": {
        "BEFORE UPDATE ON batch_contacts": (
            "SET NEW.status = OLD.status, NEW.updated_at = OLD.updated_at"
        ),
        "BEFORE INSERT ON batch_contacts": "SET NEW.batch_job_id = 'elsewhere'",
    },
    "contacts restored": {"BEFORE UPDATE ON batch_contacts": "SET NEW.status = OLD.status"},
    "contacts diverted": {
        "BEFORE UPDATE ON batch_contacts": (
            "SET NEW.status = IF(NEW.status = 'cancelled', 'failed', NEW.status)"
        )
    },
    "contact added": {
        "AFTER UPDATE ON batch_jobs": (
            "INSERT INTO batch_contacts (batch_job_id, status) "
            "SELECT NEW.id, 'pending' FROM dual WHERE NEW.status <> OLD.status"
        )
    },
    "record skipped": {"BEFORE INSERT ON batch_cancellations": "SET NEW.operation_id = 'another'"},
}
"""By what they do: when and on which table, and the statement."""


class UndoneRows(Rows):
    """Rows of a memory store of which a part is undone as soon as it is written."""

    def __init__(self, rows: Rows, what: Sabotage) -> None:
        super().__init__(rows, clock=rows.clock)
        self._what = what

    def __setitem__(self, key: Any, row: Any) -> None:
        super().__setitem__(key, self._undone(self[key], row))

    def _undone(self, before: Any, after: Any) -> Any:
        match self._what:
            case "job skipped" | "job restored":
                return attrs.evolve(after, status=before.status)
            case "contacts skipped" | "contacts restored":
                return attrs.evolve(after, contacts=before.contacts)
            case "contacts diverted":
                diverted = {
                    it: Contact("failed")
                    for it, contact in after.contacts.items()
                    if contact.status == "cancelled" != before.contacts.status_of(it)
                }
                return attrs.evolve(after, contacts=after.contacts | diverted)
            case "contact added" if before.status != after.status:
                added = {"added": Contact("pending")}
                return attrs.evolve(after, contacts=after.contacts | added)
            case "record skipped":
                return attrs.evolve(after, cancellation=before.cancellation)
            case _:
                return after


def undone(repositories: Any, what: Sabotage | None) -> Any:
    """Return repositories of a memory store that write on such rows."""
    if what is None:
        return repositories
    parts: dict[str, Any] = {
        name: attrs.evolve(part, rows=UndoneRows(part.rows, what))
        for name, part in attrs.asdict(repositories, recurse=False).items()
        if part is not None
    }
    return attrs.evolve(repositories, **parts)


class UndoneStore(MemoryStore):
    """A memory store that can be made to undo what it writes."""

    undone: Sabotage | None = None

    @contextmanager
    def begin(self) -> Generator[Any]:
        """Open a transaction."""
        with super().begin() as repositories:
            yield undone(repositories, self.undone)


class AsyncUndoneStore(AsyncMemoryStore):
    """Its twin."""

    undone: Sabotage | None = None

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[Any]:
        """Open a transaction."""
        async with super().begin() as repositories:
            parts: dict[str, Any] = {name: own(part) for name, part in vars(repositories).items()}
            blocking = undone(MemoryRepositories(**parts), self.undone)
            yield AsyncMemoryRepositories(blocking)
