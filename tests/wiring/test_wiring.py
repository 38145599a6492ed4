"""The wiring campaign in short, and what it would say of an adapter that lies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.wiring.campaign import run
from tests.wiring.catalogue import LIBRARIES
from tests.wiring.table import rows, shown
from tests.wiring.verdict import HAD_NOT_RUN, NOT_AGAIN, RAN, STILL_WAITS, Documented, tally

PAGE = Path(__file__).parents[2] / "docs" / "schedulers.md"

SHORT = {
    "arq": ["as it comes", "job_serializer"],
    "rq": ["as it comes", "rate_limit"],
}
EVENTS = ["scheduled", "queued", "running", "failed", "again", "untouched"]


@pytest.mark.repeats
@pytest.mark.parametrize("library", SHORT)
def test_every_answer_is_right_or_documented(library: str) -> None:
    """Two dozen combinations, with the library's real client and worker."""
    if os.environ.get("BATCH_CANCEL_TEST_LIBRARIES") == "all":
        return  # `make wiring` runs all of them.
    found = run(library, SHORT[library], EVENTS)
    assert found.wrong == []
    assert found.combinations == 24
    assert (found.true, found.false) == (12, 8)


def test_the_page_s_table_is_what_the_campaign_has_shown() -> None:
    """Row by row; and each library was tried in forty combinations at least."""
    lines = PAGE.read_text("utf-8").splitlines()
    assert [row for row in rows() if row not in lines] == []
    for name, library in LIBRARIES.items():
        found = shown()[name]
        assert found["combinations"] >= 40
        assert found["wrong"] == []
        assert {*found["documented"]} == {it.sentence for it in library.documented}


RIGHT: dict[str, Any] = {
    "setting": "as it comes",
    "event": "due",
    "second": "another",
    "answers": [True, False],
    "waited": True,
    "waits": False,
    "ran_before": 0,
    "ran": 0,
    "skipped": False,
}


@pytest.mark.parametrize(
    ("shows", "said"),
    [
        ({}, None),
        ({"ran": 1}, f"True, and {RAN}"),
        ({"ran_before": 1, "ran": 1}, "True, though it had run"),
        ({"answers": [False, False]}, HAD_NOT_RUN),
        ({"answers": [False, False], "ran": 1}, f"{RAN}; {HAD_NOT_RUN}"),
        ({"answers": [False, False], "ran_before": 1, "ran": 1}, None),
        ({"answers": [False, False], "ran_before": 1, "ran": 2}, RAN),
        ({"answers": [False, False], "event": "unknown"}, None),
        ({"answers": [True, True]}, "the other operation was then told True"),
        ({"answers": [True, True], "event": "again"}, None),
        ({"answers": [True, False], "event": "again"}, NOT_AGAIN),
        ({"second": "same"}, "the same operation was then told False"),
        ({"second": "same", "answers": [True, True]}, None),
        ({"waited": False}, "True, though it was not told as waiting"),
        ({"waits": True}, STILL_WAITS),
        ({"answers": ["Redis did not answer", True]}, "no answer: ['Redis did not answer', True]"),
        ({"answers": []}, "no answer: []"),
        ({"event": "after a run", "ran_before": 1, "ran": 1}, None),
        ({"event": "untouched", "answers": [], "ran": 1}, None),
        ({"event": "untouched", "answers": []}, "nobody cancelled it, and it did not run"),
        ({"skipped": True, "ran": 1}, None),
    ],
)
def test_each_rule_is_held(shows: dict[str, Any], said: str | None) -> None:
    """A record that breaks it is named, whatever the others show."""
    where = f"as it comes, {shows.get('event', 'due')}, {shows.get('second', 'another')} operation"
    expected = [f"{where}: {said}"] if said else []
    assert tally([RIGHT, RIGHT | shows, RIGHT], []).wrong == expected


def test_what_is_documented_is_no_more_than_that() -> None:
    """Another event, another setting, or something else beside it is not covered."""
    known = Documented("it says so", [HAD_NOT_RUN], ["due"], ["as it comes"])
    told = RIGHT | {"answers": [False, False]}
    found = tally([told, RIGHT | {"skipped": True}], [known])
    assert (found.wrong, found.documented, found.refused) == ([], {"it says so": 1}, 1)
    for shows in ({"event": "queued"}, {"setting": "other"}, {"ran": 1}, {"waits": True}):
        assert len(tally([told | shows], [known]).wrong) == 1
