"""What is shown of an exception that nobody foresaw, and that its text stays short."""

from __future__ import annotations

import pytest

from batch_cancel.use_cases.unexpected import with_text

AT_MOST = 200


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no such name", "ImportError: no such name"),
        ("two\n  lines", "ImportError: two lines"),
        ("", "ImportError"),
        ("a\0b", "ImportError"),
        ("x" * AT_MOST, f"ImportError: {'x' * AT_MOST}"),
        ("x" * (AT_MOST + 1), f"ImportError: {'x' * AT_MOST}..."),
        ("no answer of ann@example.org", "ImportError"),
        ("call +49 170 1234567", "ImportError"),
    ],
)
def test_a_text(text: str, shown: str) -> None:
    """Up to 200 characters, in one line, and none that looks like data."""
    assert with_text(ImportError(text)) == shown
