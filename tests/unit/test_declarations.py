"""What the kit says to an adapter's author whose declarations are not true."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from batch_cancel import JobKey
from batch_cancel.testing.declarations import CAPABILITIES, mistakes
from tests.adapters_under_test import MemoryTables

PORTS = {
    "records": "outbox",
    "inspection": "inspection",
    "overview": "overview",
    "history": "history",
    "bulk": "bulk",
    "retries": "pause",
}
EVERYTHING = (*PORTS.values(), "work")


def _adapter(**declared: object) -> MemoryTables:
    kind = type("Declaring", (MemoryTables,), {**dict.fromkeys(PORTS, True), **declared})
    adapter = kind()
    assert isinstance(adapter, MemoryTables)
    return adapter


def _having(*ports: str) -> SimpleNamespace:
    """Return what serves as unit of work and as repositories."""
    return SimpleNamespace(**dict.fromkeys(ports, object()))


def test_what_a_store_may_lack_is_known() -> None:
    """Each by the name of its port."""
    assert {name: it.port for name, it in CAPABILITIES.items()} == PORTS


def test_true_declarations_are_no_mistake() -> None:
    """A store with all of it, and one with nothing."""
    everything = _having(*EVERYTHING)
    assert mistakes(_adapter(), everything, everything) == []
    nothing = _adapter(guards=frozenset(), **dict.fromkeys(PORTS, False))
    assert mistakes(nothing, _having(), _having()) == []


def test_steps_without_work_are_named() -> None:
    """Those of the kit; a step of one's own needs no `work`."""
    rest = _having(*PORTS.values())

    def start(_adapter: MemoryTables, _key: JobKey) -> bool:
        raise NotImplementedError

    own = _adapter(guards=frozenset({"claim", "start"}), start=start)
    [sentence] = mistakes(own, rest, rest)
    assert sentence == (
        "There is no `work` in the repositories, so there are no steps 'claim': provide it, "
        "define these steps in your class, or declare `guards` without them."
    )
    assert mistakes(_adapter(guards=frozenset()), rest, rest) == []


@pytest.mark.parametrize("declared", PORTS)
def test_what_is_missing_is_declared_by_one_word(declared: str) -> None:
    """The sentence says which one, and what it costs."""
    rest = _having(*(port for port in EVERYTHING if port != PORTS[declared]))
    [sentence] = mistakes(_adapter(), rest, rest)
    assert sentence.startswith(f"There is no `{PORTS[declared]}` in the ")
    assert f"declare `{declared} = False` in your class. Without it " in sentence
    assert mistakes(_adapter(**{declared: False}), rest, rest) == []


def test_the_price_of_no_pause_is_named() -> None:
    """It is looked for in the unit of work, and not in the repositories."""
    everything = _having(*EVERYTHING)
    [sentence] = mistakes(_adapter(), _having(), everything)
    assert sentence == (
        "There is no `pause` in the unit of work: provide it, or declare `retries = False` in "
        "your class. Without it a cancel that meets a deadlock or a lock timeout fails at once, "
        "and a lost answer to COMMIT is an error with the outcome 'unknown'."
    )


@pytest.mark.parametrize("declared", PORTS)
def test_what_is_there_is_not_switched_off(declared: str) -> None:
    """Its tests would be skipped."""
    everything = _having(*EVERYTHING)
    [sentence] = mistakes(_adapter(**{declared: False}), everything, everything)
    assert sentence.startswith(f"There is a `{PORTS[declared]}` in the ")
    assert sentence.endswith(
        f", whose tests would be skipped: declare `{declared} = True` in your class."
    )
