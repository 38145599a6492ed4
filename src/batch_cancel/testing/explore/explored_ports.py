"""The ports that an actor is given."""

from __future__ import annotations

import attrs

from batch_cancel.testing.explore.postgres_model import ExploredUnitOfWork
from batch_cancel.testing.explore.redis_model import ExploredScheduler


@attrs.frozen
class Ports:
    """What an actor is given: the ports, as the world has them."""

    uow: ExploredUnitOfWork
    scheduler: ExploredScheduler
