"""
What varies from one generated schema to the next.

Rule 1: a value of `PLAIN` never keeps a well-formed schema from working; a twist may.
Rule 2: a schema is drawn so that pairs of values that have not met yet meet. Some have a twist, in
        turn, so that each plain value is also seen where a step is refused.
Rule 3: the n-th schema of a seed is always the same, however many are drawn.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import attrs

PLAIN: Final[Mapping[str, tuple[str, ...]]] = {
    "key": ("id", "organization, id", "surrogate", "surrogate, id per organization"),
    "id type": (
        "text",
        "varchar",
        "char",
        "citext",
        "uuid",
        "int",
        "bigint",
        "domain of text",
        "domain of bigint",
    ),
    "organization": ("absent", "text", "int", "uuid", "nullable", "unmapped"),
    "contact organization": ("absent", "mapped", "unmapped"),
    "contact key": ("id", "job, id", "organization, job, id"),
    "unique by": ("constraint", "index"),
    "status type": ("text", "enum", "smallint", "domain"),
    "status names": ("contract", "own", "several"),
    "partitions": ("none", "list", "hash", "range"),
    "relation": ("table", "view, with the word", "row security"),
    "soft deletion": ("none", "time", "flag"),
    "trigger": ("none", "touch", "audit"),
    "rule": ("none",),
    "names": ("plain", "quotes", "percent", "blanks", "capitals", "brackets", "colons"),
    "encoding": ("UTF8", "LATIN1"),
    "version": ("unmapped", "mapped"),
    "times": ("updated", "since", "both", "neither"),
    "next attempt": ("mapped", "absent"),
    "deferred id": ("mapped", "absent"),
    "path": ("search_path", "qualified"),
}
"""By dimension, the values with which everything must work."""

_TIMINGS: Final = ("before", "after", "deferred")
TRIGGERS: Final = tuple(
    f"{table} {action} {timing}"
    for action in ("swallow", "restore", "normalise", "add", "reject")
    for table in ("jobs", "contacts", "cancellations")
    for timing in (_TIMINGS if action != "swallow" else ("before",))
)
"""What a trigger of the adopter's does to a write, on which table and when."""

_PER_ORGANIZATION: Final = {"key": "organization, id"}

TWISTS: Final[tuple[Mapping[str, str], ...]] = (
    {**_PER_ORGANIZATION, "contact organization": "absent", "contact key": "id"},
    {**_PER_ORGANIZATION, "contact organization": "unmapped"},
    {
        **_PER_ORGANIZATION,
        "organization": "unmapped",
        "contact organization": "absent",
        "contact key": "job, id",
    },
    {"key": "surrogate, id per organization", "organization": "unmapped"},
    {"contact key": "created, id"},
    {"contact key": "organization, job, id", "contact organization": "unmapped", "key": "id"},
    {"unique by": "jobs: none"},
    {"unique by": "jobs: none", **_PER_ORGANIZATION},
    {"unique by": "jobs: partial"},
    {"unique by": "jobs: partial", **_PER_ORGANIZATION},
    {"unique by": "jobs: invalid"},
    {"unique by": "jobs: expression"},
    {"unique by": "jobs: nulls distinct", "organization": "nullable", **_PER_ORGANIZATION},
    {"unique by": "contacts: none"},
    {"unique by": "contacts: partial"},
    {"unique by": "contacts: invalid"},
    {"partitions": "by status"},
    {"relation": "view, no word"},
    {"relation": "view, no word", **_PER_ORGANIZATION, "contact organization": "unmapped"},
    {"relation": "view, instead of"},
    {"relation": "view, instead of nothing"},
    {"relation": "view that hides cancelled rows"},
    {"relation": "foreign"},
    {"relation": "row security, wider select"},
    {"relation": "table, with the word", "unique by": "jobs: none"},
    {"relation": "table, with the word", **_PER_ORGANIZATION, "contact organization": "unmapped"},
    {"rule": "jobs"},
    {"rule": "contacts"},
    {"rule": "cancellations"},
    {"rule": "also"},
    {"encoding": "SQL_ASCII"},
    *({"trigger": trigger} for trigger in TRIGGERS),
)
"""What may keep a schema from being one to work on."""

_CANDIDATES: Final = 10


def others(plain: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
    """Return the values that only twists have, by dimension."""
    found: dict[str, list[str]] = {}
    for twist in TWISTS:
        for dimension, value in twist.items():
            each = found.setdefault(dimension, [])
            if value not in [*plain.get(dimension, ()), *each]:
                each.append(value)
    return {dimension: values for dimension, values in found.items() if values}


@attrs.frozen
class Case:
    """One schema to be made: a value for each dimension."""

    seed: int
    index: int
    values: Mapping[str, str]
    plain: Mapping[str, tuple[str, ...]] = PLAIN

    def __getitem__(self, dimension: str) -> str:
        return self.values[dimension]

    @property
    def must_work(self) -> bool:
        """Whether it is plain and well-formed, so that no step may be refused."""
        values = self.values
        plain = {**self.plain, "soft deletion": (*self.plain["soft deletion"], "kind")}
        if any(value not in plain[dimension] for dimension, value in values.items()):
            return False
        if "sqlite" in values.get("driver", "") and values["organization"] == "nullable":
            return "organization" not in values["key"] + values["contact key"]
        if values["organization"] == "unmapped" and "organization" in values["key"]:
            return False
        per_organization = values["contact key"] == "organization, job, id"
        if values["key"] == "organization, id" or per_organization:
            return values["contact organization"] == "mapped"
        return True


def cases(
    seed: int,
    only: Mapping[str, tuple[str, ...]] | None = None,
    twists: Mapping[str, tuple[str, ...]] | None = None,
    twisted: frozenset[int] = frozenset({2, 4}),
) -> Iterator[Case]:
    """
    Draw schemas without end.

    Arguments:
        seed: of the random choices.
        only: for some dimensions, the only plain values.
        twists: for some dimensions, the only values that a twist may have.
        twisted: which of five in a row have a twist.
    """
    rng = random.Random(seed)  # noqa: S311  # No secret.
    offered = {**PLAIN, **(only or {})}
    turns = _shuffled(rng, twists or {})
    met: set[frozenset[tuple[str, str]]] = set()
    for index in itertools.count():
        twist = next(turns) if index % 5 in twisted else {}
        drawn = [_drawn(rng, offered, twist) for _ in range(_CANDIDATES)]
        values = max(drawn, key=lambda it: len(_pairs(it) - met))
        met |= _pairs(values)
        yield Case(seed, index, values, offered)


def _shuffled(
    rng: random.Random, among: Mapping[str, tuple[str, ...]]
) -> Iterator[Mapping[str, str]]:
    allowed = [
        twist
        for twist in TWISTS
        if all(value in among.get(dimension, (value,)) for dimension, value in twist.items())
    ]
    while True:
        yield from rng.sample(allowed, len(allowed))


def _pairs(values: Mapping[str, str]) -> set[frozenset[tuple[str, str]]]:
    return {frozenset(pair) for pair in itertools.combinations(values.items(), 2)}


def _drawn(
    rng: random.Random, offered: Mapping[str, tuple[str, ...]], twist: Mapping[str, str]
) -> dict[str, str]:
    values = {dimension: rng.choice(among) for dimension, among in offered.items()}
    return _fitted({**values, **twist}, twist)


def _fitted(values: dict[str, str], twist: Mapping[str, str]) -> dict[str, str]:
    """Mend what contradicts itself; a twist stays as it is."""

    def need(dimension: str, *allowed: str) -> None:
        if dimension not in twist and values[dimension] not in allowed:
            values[dimension] = allowed[0]

    if "organization" in values["key"] and "key" in twist:
        need("organization", "text", "int", "uuid", "nullable")
    if twist.get("contact organization") in {"mapped", "unmapped"}:
        need("organization", "text", "int", "uuid", "nullable")
    _fit_organizations(values, need)
    _fit_types(values, need)
    if ":" in values["unique by"] or values["trigger"].endswith("deferred"):
        need("partitions", "none")
    if set(twist) & {"key", "contact key", "contact organization", "organization", "unique by"}:
        need("relation", "table", "row security")  # Nobody gives a word that is not true.
    if values["relation"] not in {*PLAIN["relation"], "table, with the word"}:
        need("unique by", "constraint")
    if values["rule"] != "none" or values["unique by"] == "jobs: invalid":
        need("relation", "table")
    return values


def _fit_types(values: dict[str, str], need: Callable[..., None]) -> None:
    if " normalise " in values["trigger"]:
        need("status type", "text")
    if values["status type"] == "smallint":
        need("status names", "own", "several")
    if values.get("model") == "single-table inheritance":
        values["soft deletion"] = "kind"
    if values.get("model") == "class with version":
        values["version"] = "mapped"


def _fit_organizations(values: Mapping[str, str], need: Callable[..., None]) -> None:
    if values["organization"] == "absent":
        need("key", "id", "surrogate")
        need("contact organization", "absent")
    if values["organization"] == "unmapped":
        need("key", "id", "surrogate")
        need("contact organization", "absent", "unmapped")
    if values["key"] == "organization, id":
        need("contact organization", "mapped")
    if values["contact organization"] == "absent":
        need("contact key", "job, id", "id", "created, id")
    if values["contact organization"] == "unmapped":
        need("contact key", "job, id", "id", "created, id")
