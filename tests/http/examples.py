"""The examples by name, and the kind of store and server that each is for."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

FOLDER: Final = Path(__file__).parents[2] / "examples"

ASGI: Final = ("asgi_bare", "fastapi_app", "litestar_app", "django_async_view")
WSGI: Final = ("wsgi_bare", "flask_app", "django_view")
OWN: Final = ("aiohttp_app",)
"""Speaks HTTP by itself."""

EVERY: Final = (*ASGI, *WSGI, *OWN)
LINES_MAX: Final = 40


def is_async(name: str) -> bool:
    """Say whether an example takes asyncio ports."""
    return name not in WSGI


def example(name: str) -> ModuleType:
    """Import an example."""
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def made(name: str, uow: Any, scheduler: Any, authenticate: Callable[[str], Any]) -> Any:
    """Make an example's application; Django's views get URLs and a handler around them."""
    if name.startswith("django"):
        return _in_django(example(name).make_view(uow, scheduler, authenticate), name)
    return example(name).make_app(uow, scheduler, authenticate)


def _in_django(view: Any, name: str) -> Any:
    import django
    from django.conf import settings
    from django.urls import re_path

    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], LOGGING_CONFIG=None)
        django.setup()
    urls: Any = ModuleType(f"urls_of_{name}")
    urls.urlpatterns = [re_path("^v1/", view)]
    from django.core.handlers.asgi import ASGIHandler
    from django.core.handlers.wsgi import WSGIHandler

    handler = ASGIHandler() if is_async(name) else WSGIHandler()
    return _with_urls(handler, urls) if is_async(name) else _with_urls_wsgi(handler, urls)
