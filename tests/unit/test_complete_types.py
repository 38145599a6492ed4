"""What `make check` finds of names whose types are not known."""

from __future__ import annotations

from tests.complete_types import UNTYPED, incomplete, is_beyond


def test_a_name_without_a_type_is_found() -> None:
    """If it is exported; with the reason in one line."""
    reason = {"message": "Type of parameter is unknown\n  Inferred"}
    symbols = [
        {"name": "a.known", "isExported": True, "isTypeKnown": True, "diagnostics": []},
        {"name": "a._own", "isExported": False, "isTypeKnown": False, "diagnostics": [reason]},
        {"name": "a.lost", "isExported": True, "isTypeKnown": False, "diagnostics": [reason]},
    ]
    assert incomplete(symbols) == {"a.lost": ["Type of parameter is unknown Inferred"]}


def test_only_what_inherits_from_untyped_classes_is_left_out() -> None:
    """Not what has a similar name."""
    for module in UNTYPED:
        assert is_beyond(f"{module}.Name")
        assert not is_beyond(f"{module}_more.Name")
    assert not is_beyond("batch_cancel.cancel_job")
