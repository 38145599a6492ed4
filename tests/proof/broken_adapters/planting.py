"""Each bug with the test that must find it, and a test class for each, built here."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

REJECTED_BY: Final[dict[str, str]] = {}
"""By the class of the broken adapter's tests, the test that must fail."""

SUITES: Final[dict[str, type]] = {}
"""The classes of tests, by name."""

SECOND: Final = timedelta(seconds=1)

ENDED: Final = {"completed", "failed", "blocked", "invalid_number", "carrier_error", "cancelled"}


def plant(name: str, test: str, base: type, suite: type, **attributes: object) -> None:
    """
    Make the tests of a broken adapter.

    Arguments:
        name: what is broken in it.
        test: the test of the kit that must fail.
        base: the adapter under test.
        suite: the kit.
        attributes: what the class of the tests has besides.
    """
    of = f"Test{name}"
    assert of not in REJECTED_BY
    assert hasattr(suite, test)
    REJECTED_BY[of] = test
    # What waits for the lock in vain must not be taken for a party that waits.
    more = {"patience_seconds": 0.5, "__module__": __name__, "__doc__": name, **attributes}
    SUITES[of] = type(of, (base, suite), more)
