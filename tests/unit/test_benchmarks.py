"""The arithmetic of the benchmarks, and what they write: no server, no time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial

import attrs
import pytest

from benchmarks import bars, machine, picture, plots, sizes
from benchmarks.bars import Bar, Measured, Verdict, judged, verdict
from benchmarks.findings import Curve, Findings, Table, number, spread
from benchmarks.page import EMPTY, PAGE, SECTIONS, filled, with_report
from benchmarks.place import shared
from benchmarks.report import Report, markdown, printed, row
from benchmarks.rounds import Figure, Rounds, figure, interleaved, percentile

LESS = Bar("less", "a cancel", 1.5, 1.25)
MORE = Bar("more", "cancels", 0.8, 0.9, "a second", more_is_better=True)


def one(value: float) -> Figure:
    """Return a figure of one value."""
    return Figure(value, value, value, 1)


def test_a_figure_is_the_median_with_its_quartiles() -> None:
    """By hand; one outlier moves neither."""
    assert figure([5.0, 1.0, 2.0, 3.0, 1000.0]) == Figure(3.0, 2.0, 5.0, 5)
    assert figure([2.0]) == one(2.0)
    assert figure([1.0, 3.0]).times(1000) == Figure(2000.0, 1500.0, 2500.0, 2)


def test_without_values_there_is_no_figure() -> None:
    """A run that measured nothing must not look like one that was fast."""
    with pytest.raises(ValueError, match="needs a value"):
        figure([])
    with pytest.raises(ValueError, match="needs a value"):
        percentile([], 99)


@pytest.mark.parametrize(
    ("percent", "expected"), [(1, 1), (50, 50), (98.5, 99), (99, 99), (100, 100)]
)
def test_a_percentile_is_one_of_the_values(percent: float, expected: int) -> None:
    """The smallest that so many percent do not exceed."""
    assert percentile([float(it) for it in range(100, 0, -1)], percent) == expected


def test_a_ratio_is_taken_within_a_round() -> None:
    """The machine is slow in the second round: the ratio of the medians would be 12."""
    rounds = Rounds({"ours": (2.0, 60.0, 24.0), "floor": (1.0, 40.0, 2.0)})
    assert rounds.ratio("ours", "floor") == Figure(2.0, 1.75, 7.0, 3)
    assert rounds.time("floor").median == 2.0


def test_contestants_take_turns() -> None:
    """Each round begins with another one; the first does not count."""
    order = list[str]()
    clock = iter(range(100))

    def contestant(name: str) -> float:
        order.append(name)
        return float(next(clock))

    rounds = interleaved(2, {name: partial(contestant, name) for name in "abc"})
    assert "".join(order) == "abcbcacab"
    assert rounds.seconds == {"a": (5.0, 7.0), "b": (3.0, 8.0), "c": (4.0, 6.0)}


def test_jobs_are_shared_in_turns() -> None:
    """Each is cancelled once."""
    parts: list[Iterator[str]] = shared(["a", "b", "c", "d"], 2)
    assert [list(it) for it in parts] == [["a", "c"], ["b", "d"]]


@pytest.mark.parametrize(
    ("bar", "value", "expected"),
    [
        (LESS, 1.25, Verdict.AIM_MET),
        (LESS, 1.26, Verdict.MUST_MET),
        (LESS, 1.5, Verdict.MUST_MET),
        (LESS, 1.51, Verdict.MISSED),
        (MORE, 0.9, Verdict.AIM_MET),
        (MORE, 0.89, Verdict.MUST_MET),
        (MORE, 0.8, Verdict.MUST_MET),
        (MORE, 0.79, Verdict.MISSED),
        (Bar("no-aim", "memory", 1.5), 0.0, Verdict.MUST_MET),
    ],
)
def test_a_bar_is_met_by_its_median(bar: Bar, value: float, expected: Verdict) -> None:
    """Exactly the bar is met; the quartiles don't count."""
    assert verdict(bar, Measured(bar.name, Figure(value, 0.0, 99.0, 9))) is expected


def test_what_was_not_measured_is_not_met() -> None:
    """Nor is what is not built; neither is missed."""
    assert verdict(LESS, None) is Verdict.NOT_MEASURED
    assert verdict(LESS, Measured("less", None)) is Verdict.NOT_BUILT


def test_each_bar_has_its_name_and_an_aim_beyond_its_must() -> None:
    """Otherwise a verdict would be that of another bar, or none at all."""
    assert len(bars.NAMES) == len(bars.BARS)
    for bar in bars.BARS:
        assert bar.aim is None or bar.reached(bar.aim, bar.must), bar


def test_all_bars_are_listed_whatever_was_measured() -> None:
    """And nothing is measured that is no bar, or twice."""
    listed = judged([Measured("rate-8", one(0.85))])
    assert [bar for bar, _, _ in listed] == list(bars.BARS)
    assert {it for bar, _, it in listed if bar.name == "rate-8"} == {Verdict.MUST_MET}
    assert {it for bar, _, it in listed if bar.name != "rate-8"} == {Verdict.NOT_MEASURED}
    for wrong in (["no such bar"], ["rate-8", "rate-8"]):
        with pytest.raises(ValueError, match="is no bar, or was measured twice"):
            judged(Measured(name, one(1.0)) for name in wrong)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (4, "4"),
        (1.2345, "1.23"),
        (0.00012345, "0.000123"),
        (99.96, "100"),
        (1234.5, "1,234"),
        (5_000_000, "5,000,000"),
    ],
)
def test_numbers_have_three_digits(value: float, expected: str) -> None:
    """Or all of them, where there are more."""
    assert number(value) == expected


def test_a_spread_needs_two_runs() -> None:
    """One run has none."""
    assert spread(one(1.5)) == "1.5"
    assert spread(Figure(1.5, 1.4, 1.75, 2)) == "1.5 (1.4 to 1.75)"


def test_a_row_shows_which_way_is_better() -> None:
    """With must, aim, figure and verdict, in the bar's unit."""
    measured = Measured("more", Figure(0.85, 0.8, 0.9, 8), "8 rounds")
    assert row(MORE, measured, Verdict.MUST_MET) == (
        "cancels",
        ">= 0.8 a second",
        ">= 0.9 a second",
        "0.85 (0.8 to 0.9) a second",
        "must met",
        "8 rounds",
    )
    assert row(Bar("memory", "memory", 1.5), None, Verdict.NOT_MEASURED) == (
        "memory",
        "<= 1.5",
        "",
        "",
        "not measured",
        "",
    )


REPORT = Report(
    "full",
    {"cores": "2"},
    Findings(
        (Measured("running-100", one(1.6)), Measured("bulk-rows", None, "1,000 jobs")),
        (Table("A table", ("a", "b"), (("1", "|"),)),),
        (Curve("time", "library", ((100.0, 1.5),)),),
    ),
)


def test_the_report_names_what_is_missed() -> None:
    """In its last line; a wrapped cell stays in its column."""
    text = printed(REPORT)
    assert REPORT.missed() == ["running-100"]
    assert text.endswith("\nmusts missed: running-100\n")
    assert text.startswith("cores: 2\n\nbar ")
    lines = text.splitlines()
    (first,) = (it for it in lines if it.startswith("cancel, 100 contacts, running"))
    assert re.split(r"  +", first) == [
        "cancel, 100 contacts, running, to the floor",
        "<= 1.5",
        "<= 1.25",
        "1.6",
        "MUST MISSED",
    ]
    assert lines[lines.index(first) + 1] == "with a record"
    assert sum("not built yet" in it for it in lines) == 1


def test_a_report_of_other_sizes_says_so() -> None:
    """The bars are those of full sizes."""
    assert "sizes: quick; the bars are those of full sizes" in printed(
        attrs.evolve(REPORT, sizes="quick")
    )


def test_the_json_holds_every_bar() -> None:
    """Those without a figure as well."""
    whole = json.loads(REPORT.as_json())
    by_name = {it["name"]: it for it in whole["bars"]}
    assert by_name.keys() == bars.NAMES
    assert by_name["running-100"]["measured"]["figure"]["median"] == 1.6
    assert by_name["running-100"]["verdict"] == "MUST MISSED"
    assert by_name["bulk-rows"]["measured"]["figure"] is None
    assert by_name["no-return"]["measured"] is None
    assert whole["curves"][0]["points"] == [[100.0, 1.5]]


def test_markdown_is_a_table() -> None:
    """A stroke in a cell does not end it, and an empty cell is one blank."""
    assert markdown(("a", ""), [("1|2", ""), ("", "x")]) == (
        "| a | |\n| --- | --- |\n| 1&#124;2 | |\n| | x |"
    )


def test_the_page_has_every_section() -> None:
    """And keeps all that is written by hand, however often it is filled."""
    page = PAGE.read_text("utf-8")
    once = with_report(page, REPORT, [("Time", "benchmarks/time.png")])
    assert with_report(once, REPORT, [("Time", "benchmarks/time.png")]) == once
    assert "### A table\n\n| a | b |" in once
    assert "![Time](benchmarks/time.png)" in once
    assert "| cores | 2 |" in once
    for section in SECTIONS:
        page, once = filled(page, section, EMPTY), filled(once, section, EMPTY)
    assert once == page


@pytest.mark.parametrize(
    "page", ["", "<!-- begin: bars -->", "<!-- end: bars --> <!-- begin: bars -->"]
)
def test_a_page_without_markers_is_refused(page: str) -> None:
    """Rather than written over."""
    with pytest.raises(ValueError, match="needs the markers of bars"):
        filled(page, "bars", "text")


def test_a_machine_is_busy_from_half_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cores, a load of one."""
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert not machine.is_busy(1.0)
    assert machine.is_busy(1.01)


def test_the_full_run_measures_the_bars_as_they_are_written() -> None:
    """A million contacts, a thousand jobs, and at least five million other contacts."""
    assert sizes.FULL.other_contacts >= 5_000_000
    assert [*sizes.FULL.cancels] == [100, 1_000, 10_000, 100_000, 1_000_000]
    assert (sizes.FULL.million, sizes.FULL.bulk_jobs, sizes.FULL.peer_items) == (
        10**6,
        1000,
        10**4,
    )
    assert {1, 8} <= {*sizes.FULL.connections}


def test_every_curve_has_its_plot() -> None:
    """One of each name."""
    names = [it.name for it in plots.PLOTS]
    assert len({*names}) == len(names)
    assert {"time", "throughput", "latency", "memory", "peers"} == {*names}


def test_a_picture_shows_the_bar_at_two_thirds() -> None:
    """With the answer behind its question, and without anything from elsewhere."""
    bars_ = "".join(f"\r\x1b[2Kjobs {done}/20000" for done in (0, 13_200, 13_400, 20_000))
    written = f"Cancel 20000 jobs? [y/N]: hint\n\x1b[?25l{bars_}\n\x1b[?25hdone\n"
    shown = picture.at_two_thirds(written)
    assert shown == "Cancel 20000 jobs? [y/N]: y\nhint\njobs 13400/20000"
    assert picture.at_two_thirds("jobs: 3\n") == "jobs: 3\n"
    svg = picture.drawn([("cancel-many", shown)])
    assert "13400/20000" in svg
    assert "url(http" not in svg
