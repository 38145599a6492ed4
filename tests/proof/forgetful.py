"""
A pytest plugin: each test makes anew what the package keeps in its caches.

A mutant is judged by the tests that call what it changes. A test that finds the answer in a cache
calls nothing, so it would be no judge, and what an earlier test has left would hide the mutant.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest


def caches(package: str) -> Iterator[functools._lru_cache_wrapper[object]]:
    """Yield the caches of a package's functions and methods, as far as it is imported."""
    for name, module in list(sys.modules.items()):
        if f"{name}.".startswith(f"{package}."):
            yield from _caches_in(module)


def _caches_in(owner: ModuleType | type) -> Iterator[functools._lru_cache_wrapper[object]]:
    for value in list(vars(owner).values()):
        if isinstance(value, functools._lru_cache_wrapper):
            yield value
        elif isinstance(value, type) and isinstance(owner, ModuleType):
            yield from _caches_in(value)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Empty them."""
    for cache in caches("batch_cancel"):
        cache.cache_clear()
