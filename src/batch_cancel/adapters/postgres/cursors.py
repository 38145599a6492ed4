"""
Cursors of our own, so that the caller's factories, loaders and DateStyle don't matter.

They load by loaders of our own, and timestamps from binary results alone.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import psycopg
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
"""For the types of our results; timestamps come in binary alone, which no DateStyle changes."""


def with_loaders(cursor: AnyCursor) -> AnyCursor:
    """Let a cursor load by our own loaders, whatever its connection's are."""
    for name, loader in _LOADERS:
        cursor.adapters.register_loader(name, loader)
    return cursor
