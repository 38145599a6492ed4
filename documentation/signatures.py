"""The signatures of attrs' classes, with the values of their defaults."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import Enum
from typing import Any, Final

_IN_GENERATED_CODE: Final = "attr_dict"
"""The global in which the `__init__` that attrs writes finds its attributes."""

_SHORT: Final = (type(None), bool, int, float, str, timedelta)
"""Types whose repr is what one writes."""


class _Shown:
    """A default of which a signature shows this text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def with_values(function: Callable[..., Any]) -> inspect.Signature | None:
    """
    Return the signature of an `__init__` that attrs has written, as its reader would write it.

    Sphinx would show the source of a default, which is `attr_dict['is_swept'].default`. None for
    any other function.
    """
    attributes: Mapping[str, Any] | None
    attributes = getattr(function, "__globals__", {}).get(_IN_GENERATED_CODE)
    if attributes is None:
        return None
    by_argument = {it.alias: it for it in attributes.values()}
    signature = inspect.signature(function)
    return signature.replace(
        parameters=[
            it
            if it.default is it.empty
            else it.replace(default=_Shown(_text(by_argument[it.name].default)))
            for it in signature.parameters.values()
        ]
    )


def _text(default: object) -> str:
    """Return what the signature shows; three dots for what is made later or has no short form."""
    if isinstance(default, Enum):
        return f"{type(default).__name__}.{default.name}"
    is_empty = isinstance(default, tuple | frozenset) and not default
    return repr(default) if is_empty or isinstance(default, _SHORT) else "..."
