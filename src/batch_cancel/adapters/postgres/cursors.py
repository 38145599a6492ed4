"""
Our own cursors, so that the caller's factories, loaders and DateStyle don't matter.

They use our own loaders, and load timestamps only from binary results.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import Loader
from psycopg.adapt import AdaptersMap
from psycopg.pq import Format
from psycopg.types.bool import BoolBinaryLoader, BoolLoader
from psycopg.types.datetime import TimestamptzBinaryLoader
from psycopg.types.numeric import Int8BinaryLoader, IntLoader
from psycopg.types.string import TextBinaryLoader, TextLoader

AnyConnection = psycopg.Connection[Any] | psycopg.AsyncConnection[Any]
AnyCursor = TypeVar("AnyCursor", bound="psycopg.Cursor[Any] | psycopg.AsyncCursor[Any]")

_LOADERS: Final = (
    ("bool", BoolLoader),
    ("bool", BoolBinaryLoader),
    ("int8", IntLoader),
    ("int8", Int8BinaryLoader),
    ("text", TextLoader),
    ("text", TextBinaryLoader),
    ("timestamptz", TimestamptzBinaryLoader),
)
"""For the types of our results; timestamps are binary only, which no DateStyle changes."""


def _own() -> dict[tuple[int, Format], type[Loader] | None]:
    adapters = AdaptersMap(psycopg.adapters)
    for name, loader in _LOADERS:
        adapters.register_loader(name, loader)
    oids = {name: psycopg.adapters.types[name].oid for name, _ in _LOADERS}
    return {
        (oids[name], loader.format): adapters.get_loader(oids[name], loader.format)
        for name, loader in _LOADERS
    }


_OWN: Final = _own()


def with_loaders(cursor: AnyCursor) -> AnyCursor:
    """Set our own loaders on a cursor, whatever its connection has."""
    adapters = cursor.adapters
    for (oid, kind), loader in _OWN.items():
        # Most connections have no other loaders, and a check is cheaper than registering.
        if adapters.get_loader(oid, kind) is not loader:
            for name, own in _LOADERS:
                adapters.register_loader(name, own)
            break
    return cursor
