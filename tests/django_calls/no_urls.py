"""A site without our view."""

from __future__ import annotations

urlpatterns: list[object] = []
