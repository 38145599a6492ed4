"""
What a mapped class says of its table: which rows are its own, its versions, its statuses.

Rule 1: what a mapping says is honoured, or refused with a sentence that says what to do. It is
        never passed over.
"""

from __future__ import annotations

from typing import Any, cast

import attrs
import sqlalchemy as sa
from sqlalchemy.orm import Mapper

Given = sa.Table | type[Any]
"""A table, or a class that is mapped to one."""


@attrs.frozen
class Part:
    """
    The rows of a table that are of a class, where several classes share the table.

    Arguments:
        column: the key of the column that distinguishes them.
        identities: what it holds for the class and for those derived from it; empty if all rows
            are of these.
        own: what it holds for the class itself; None if rows are of derived classes only.
    """

    column: str
    identities: tuple[object, ...]
    own: object


def table_of(given: Given) -> sa.Table:
    """
    Return a table, or the table of a mapped class.

    Raises:
        TypeError: it is neither.
    """
    table: Any = given if isinstance(given, sa.Table) else getattr(given, "__table__", None)
    if not isinstance(table, sa.Table):
        msg = f"a Table or a mapped class is needed, got {given!r}"
        raise TypeError(msg)
    return cast("sa.Table", table)


def mapper_of(given: Given) -> Mapper[Any] | None:
    """Return the mapper of a mapped class; None for a table."""
    if isinstance(given, sa.Table):
        return None
    inspect: Any = sa.inspect
    return cast("Mapper[Any] | None", inspect(given, raiseerr=False))  # A class has no other.


def part_of(given: Given) -> Part | None:
    """
    Return which rows are of a mapped class; None if the table has one class.

    Raises:
        ValueError: which rows are its own can't be known.
    """
    mapper = mapper_of(given)
    if mapper is None or mapper.polymorphic_on is None:
        return None
    key = _key(table_of(given), mapper.polymorphic_on)
    if not (mapper.single and mapper.inherits):
        return None if key is None else Part(key, (), mapper.polymorphic_identity)
    identities = [it.polymorphic_identity for it in mapper.self_and_descendants]
    if key is None or not any(it is not None for it in identities):
        msg = (
            f"which rows of {mapper.local_table} are a {mapper.class_.__name__} can't be seen "
            "from its mapping: name the Table, and say it by job_where or contact_where"
        )
        raise ValueError(msg)
    return Part(key, tuple(it for it in identities if it is not None), mapper.polymorphic_identity)


def version_of(given: Given, field: str) -> str | None:
    """
    Return the key of the column that a mapped class counts its versions in; None for none.

    Raises:
        ValueError: its versions are not counted, or in another table.
    """
    mapper = mapper_of(given)
    if mapper is None or mapper.version_id_col is None or mapper.version_id_generator is False:
        return None
    if not _counts(mapper.version_id_generator):
        msg = (
            f"{mapper.class_.__name__} makes its versions by a version_id_generator of its own, "
            "which SQL can't call: let the database make them (version_id_generator=False), or "
            f"name a column of numbers with {field}=..."
        )
        raise ValueError(msg)
    key = _key(table_of(given), mapper.version_id_col)
    if key is None:
        msg = f"the versions of {mapper.class_.__name__} are in another table: name its own table"
        raise ValueError(msg)
    return key


def _counts(generator: object) -> bool:
    """Check whether a generator is SQLAlchemy's own, which counts from 1."""
    generate = cast("Any", generator)
    try:
        return [generate(None), generate(1), generate(41)] == [1, 2, 42]
    except Exception:  # noqa: BLE001  # The adopter's own: it may want other arguments.
        return False


def _key(table: sa.Table, wanted: object) -> str | None:
    return next((key for key, column in table.c.items() if column is wanted), None)


def labels(table: sa.Table, name: str, field: str) -> dict[str, str]:
    """
    Return how an `Enum` stores its members, by their values; nothing for a column that is none.

    Raises:
        ValueError: what the column's type stores can't be known.
    """
    column = table.c.get(name)
    kind = None if column is None else column.type
    found: dict[str, str] = {}
    if isinstance(kind, sa.Enum) and kind.enum_class is not None:
        members: list[Any] = list(kind.enum_class)
        found = {str(it.value): label for it, label in zip(members, kind.enums, strict=True)}
    is_plain = not isinstance(kind, sa.types.TypeDecorator | sa.Enum | sa.Integer)
    if is_plain or (
        isinstance(kind, sa.Enum) and found.get("cancelled", "cancelled") in kind.enums
    ):
        return found
    msg = (
        f"the status names in {table.name}.{name} can't be derived from its type, {kind!r}: pass "
        f"{field}, a name for each status as the database holds it"
    )
    raise ValueError(msg)
