"""What `make dist` finds wrong in an sdist or a wheel, and what `make extras` tries."""

from __future__ import annotations

from importlib.util import find_spec

from tests.distribution import extras, files

TRACKED = {"README.md", "src/batch_cancel/py.typed", "src/_batch_cancel_pytest.py"}
WHEEL = {"batch_cancel/py.typed", "_batch_cancel_pytest.py", "batch_cancel-1.dist-info/METADATA"}


def test_what_is_wrong_in_an_sdist_is_found() -> None:
    """A cache, a file that git has not, and one that is not there."""
    assert files.wrong_in_sdist({*TRACKED, "PKG-INFO"}, TRACKED) == set()
    names = {*TRACKED, "PKG-INFO", "notes.txt"} - {"README.md"}
    assert files.wrong_in_sdist(names, TRACKED) == {"notes.txt", "README.md"}


def test_what_is_wrong_in_a_wheel_is_found() -> None:
    """The tests, a module that git has not, and one that is not there."""
    assert files.wrong_in_wheel(WHEEL, TRACKED) == set()
    names = {*WHEEL, "tests/__init__.py", "batch_cancel/new.py"} - {"batch_cancel/py.typed"}
    assert files.wrong_in_wheel(names, TRACKED) == {
        "tests/__init__.py",
        "batch_cancel/new.py",
        "batch_cancel/py.typed",
    }
    other = {*TRACKED, "src/other/__init__.py"}
    assert files.wrong_in_wheel({*WHEEL, "other/__init__.py"}, other) == {"other/__init__.py"}


def test_each_extra_has_something_to_try() -> None:
    """An adapter of its name, or a program of its own."""
    for extra in files.extras():
        module = f"batch_cancel.adapters.{extra}"
        assert extra in extras.SPECIAL or find_spec(module) is not None, extra
    assert {*extras.SPECIAL} <= {*files.extras()}
    assert {*extras.NEEDS_LIBPQ} <= {*files.extras()}
