"""The libraries, and our adapters for them."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from batch_cancel.adapters.apscheduler import ApschedulerScheduler, AsyncApschedulerScheduler
from batch_cancel.adapters.arq import ArqScheduler, AsyncArqScheduler
from batch_cancel.adapters.redis import AsyncStartGate, StartGate
from tests.schedulers.rig import Library

PATIENCE: Final = timedelta(seconds=10)
"""A budget that a loaded machine keeps: these tests are of answers, not of delays."""

ARQ: Final = Library(
    "arq",
    lambda client: ArqScheduler(client, budget=PATIENCE),
    lambda client: AsyncArqScheduler(client, budget=PATIENCE),
    races=1000,
)
CELERY: Final = Library(
    "celery",
    lambda client: StartGate(client, budget=PATIENCE),
    lambda client: AsyncStartGate(client, budget=PATIENCE),
    races=200,
)
DRAMATIQ: Final = Library(
    "dramatiq",
    lambda client: StartGate(client, budget=PATIENCE),
    lambda client: AsyncStartGate(client, budget=PATIENCE),
    races=200,
)
APSCHEDULER: Final = Library(
    "apscheduler",
    lambda client: ApschedulerScheduler(
        StartGate(client, budget=PATIENCE), client, budget=PATIENCE
    ),
    lambda client: AsyncApschedulerScheduler(
        AsyncStartGate(client, budget=PATIENCE), client, budget=PATIENCE
    ),
    races=200,
    workers=1,
)
LIBRARIES: Final = {library.name: library for library in (ARQ, CELERY, DRAMATIQ, APSCHEDULER)}
