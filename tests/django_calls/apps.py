"""The app."""

from __future__ import annotations

from django.apps import AppConfig


class CallsConfig(AppConfig):
    """The app `calls`."""

    name = "tests.django_calls"
    label = "calls"
