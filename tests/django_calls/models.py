"""Campaigns, and the calls of each."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models


class State(models.TextChoices):
    """What a campaign's state is: in other words than the contract's."""

    PLANNED = "PLANNED"
    READY = "READY"
    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    DONE = "DONE"
    BROKEN = "BROKEN"
    STOPPED = "STOPPED"


class Number(models.IntegerChoices):
    """The contract's statuses of a job, as numbers."""

    SCHEDULED = 1
    PENDING = 2
    RUNNING = 3
    COMPLETED = 4
    FAILED = 5
    CANCELLED = 6


STATES = {
    "scheduled": State.PLANNED,
    "pending": State.READY,
    "running": [State.ACTIVE, State.PAUSED],
    "completed": State.DONE,
    "failed": State.BROKEN,
    "cancelled": State.STOPPED,
}


class Campaign(models.Model):
    """A job; callers know it by its name."""

    objects: ClassVar[Any]  # Django adds it.

    slug = models.TextField(unique=True)
    owner = models.TextField(null=True)  # noqa: DJ001  # NULL is no organization.
    state = models.CharField(max_length=16, choices=State.choices)
    start_id = models.TextField(null=True, db_column="deferred_start")  # noqa: DJ001
    changed = models.DateTimeField(auto_now=True)
    removed = models.DateTimeField(null=True)

    class Meta:
        db_table = "campaign"

    def __str__(self) -> str:
        return str(self.slug)


class Call(models.Model):
    """A contact."""

    objects: ClassVar[Any]  # Django adds it.

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE)
    status = models.CharField(max_length=16, default="pending")
    due = models.DateTimeField(null=True)
    changed = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "call"

    def __str__(self) -> str:
        return f"{self.campaign}: {self.status}"
