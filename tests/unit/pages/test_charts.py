from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from include.pages.charts import (
    MOST_POINTS,
    Curve,
    Line,
    MeasuredShare,
    Point,
    coloured,
    curves,
    heat_map,
    histogram,
    line_chart,
    measured_shares,
    scatter,
    stacked_bar,
    stacked_columns,
    svg_file,
)
from tests.unit.pages.reading import ReadPage


def bars(drawn: str) -> list[int]:
    return [int(count.replace(",", "")) for count in re.findall(r"<title>[^<]*: ([\d,]+)</title>", drawn)]


def test_a_chart_is_a_file_of_its_own_with_the_names_of_its_lines() -> None:
    drawn = curves("Accuracy", [Curve("base & more", [(1, 0.5), (2, 0.75)], 0), Curve("next", [(1, 0.8)], 9)])

    root = ElementTree.fromstring(svg_file(drawn))

    texts = ["".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[-2:] == ["\u25cf base & more", "\u25cf next"]
    assert (
        next(title.text for title in root.iter("{http://www.w3.org/2000/svg}title")) == "base & more, epoch 1: 0.5000"
    )
    width, height = (float(number) for number in root.attrib["viewBox"].split()[2:])
    lowest = max(float(text.attrib["y"]) for text in root.iter("{http://www.w3.org/2000/svg}text"))
    assert height > lowest
    assert (root.attrib["width"], root.attrib["height"]) == (f"{2 * width:g}", f"{2 * height:g}")
    assert svg_file(curves("Accuracy", [])) == ""


def texts(drawn: str) -> list[str]:
    return re.findall(r"<text[^>]*>(.*?)</text>", drawn)


def test_no_two_lines_have_one_colour() -> None:
    assert len({coloured(number) for number in range(500)}) == 500


def test_an_axis_shows_where_lines_differ_and_names_epochs() -> None:
    first, second = [0.1, 0.5, 0.9, 0.962, 0.969, 0.97], [0.12, 0.55, 0.91, 0.955, 0.957, 0.96]
    lines = [Curve("a", [*enumerate(first, 1)], 0, marked=True), Curve("b", [*enumerate(second, 1)], 1)]
    drawn = curves("Accuracy", lines)

    assert texts(drawn) == ["93%", "94%", "95%", "96%", "97%", "1", "2", "3", "4", "5", "6", "epoch"]
    assert "Values below 93% are not drawn." in drawn
    assert "a, epoch 3" not in drawn
    assert "a, epoch 4: 0.9620" in drawn
    assert re.findall(r'<polyline points="([\d.]+),([\d.]+) ', drawn)[0][1] == "222.0"  # the bottom


def test_dots_stand_against_round_values_in_the_unit_of_the_objective() -> None:
    losses = [Point("0.1", 0.413, "a", 0), Point("0.2", 0.627, "b", 7, marked=True)]

    assert texts(scatter("learning_rate", losses, "{:.2f}".format))[:2] == ["0.50", "0.60"]
    close = texts(scatter("x", [Point("a", 0.971, "a"), Point("b", 0.9712, "b")]))
    assert [text for text in close if text.endswith("%")] == ["97.10%", "97.11%", "97.12%"]


def test_an_axis_of_many_epochs_has_round_ticks() -> None:
    drawn = curves("Loss", [Curve("a", [(epoch, 1 / epoch) for epoch in range(1, 121)], 0)], unit="{:.2f}".format)

    assert [int(text) for text in texts(drawn) if text.isdigit()] == [1, 10, *range(20, 121, 10)]


@example([[0.0, 5e-324]])
@example([[1.0, 1.0 - 1e-16, 1.0]])
@given(
    st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=40), min_size=1, max_size=5),
)
def test_any_curves_stay_within_their_picture(values: list[list[float]]) -> None:
    drawn = curves("Any", [Curve(f"{number}", [*enumerate(line, 1)], number) for number, line in enumerate(values)])

    paths = " ".join(re.findall(r'points="([^"]*)"', drawn))
    heights = re.findall(r'cy="([\d.-]+)"', drawn) + re.findall(r"[\d.-]+,([\d.-]+)", paths)
    assert all(0 <= float(y) <= 260 for y in heights)


def test_a_histogram_counts_every_value() -> None:
    values = np.random.default_rng(1).normal(300, 40, 5000).astype(np.int64)
    drawn = histogram("Short side", values, lambda value: f"{value:.0f} px")
    assert sum(bars(drawn)) == 5000
    assert f"median {np.median(values):.0f} px" in drawn


def test_a_giant_does_not_squeeze_the_others_into_one_bar() -> None:
    values = np.append(np.arange(200, 400).repeat(10), 60_000)
    drawn = histogram("Long side", values, lambda value: f"{value:.0f} px")
    assert len(bars(drawn)) >= 10
    assert sum(bars(drawn)) == len(values)
    assert "px+</text>" in drawn
    assert "200 px to 60000 px" in drawn


def test_one_size_for_all_is_a_line_of_text() -> None:
    drawn = histogram("Short side", np.full(7, 256), lambda value: f"{value:.0f} px")
    assert "256 px, every image" in drawn
    assert "<svg" not in drawn
    assert histogram("Short side", np.array([], np.int64), str) == ""


@given(st.lists(st.integers(1, 2**40), min_size=1, max_size=60))
def test_any_values_are_all_counted(values: list[int]) -> None:
    drawn = histogram("Record", np.array(values), lambda value: f"{value:.0f} B")
    ReadPage(drawn)
    assert sum(bars(drawn)) == (len(values) if len(set(values)) > 1 else 0)


def test_a_heat_cell_is_as_deep_as_its_share_of_the_row() -> None:
    counts = np.array([[6, 2], [0, 4]])
    drawn = heat_map(counts, ["<cat>", "dog"], corner="expected", totals=counts.sum(axis=1))
    cells = re.findall(r'<td class="(\w+)" style="--share:([\d.]+)">(\d*)</td>', drawn)
    assert cells == [("hit", "0.750", "6"), ("miss", "0.250", "2"), ("miss", "0.000", ""), ("hit", "1.000", "4")]
    assert "<cat>" not in drawn


def test_the_parts_of_a_bar_are_shares_of_the_longest() -> None:
    assert re.findall(r'class="(part\d)" style="width:([\d.]+)%', stacked_bar([6, 0, 3], 12)) == [
        ("part0", "50.00"),
        ("part2", "25.00"),
    ]


@pytest.mark.parametrize("classes", [1, 334])
def test_every_class_has_its_column(classes: int) -> None:
    drawn = stacked_columns([(f"<{number}>", [number, 1, 1]) for number in range(classes)])
    assert drawn.count("<g>") == classes
    assert f"&lt;{classes - 1}&gt;: {classes + 1}" in drawn
    assert set(ReadPage(drawn).tags) <= {"figure", "svg", "g", "title", "rect", "line", "text"}


def dots(drawn: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', drawn)]


def test_a_share_is_drawn_with_its_interval_and_what_it_stands_for() -> None:
    shares = [
        MeasuredShare(10, 0.5, "<cat>", (0.25, 0.75)),
        MeasuredShare(20, 1.0, "dog"),
        MeasuredShare(30, 0.0, "owl", (0.0, 0.5)),
    ]
    drawn = measured_shares("Recall", shares, across="images", up="Each dot is a class.", named=True)
    ReadPage(drawn)
    assert "<title>&lt;cat&gt;: 50.0%, between 25.0% and 75.0%</title>" in drawn
    assert "<title>dog: 100.0%</title>" in drawn
    assert drawn.count('class="whisker"') == 2
    (left, half), (middle, top), (right, bottom) = dots(drawn)
    assert middle - left == pytest.approx(right - middle)
    assert bottom - half == pytest.approx(half - top)


def test_the_lowest_shares_are_named_unless_a_name_would_hide_another() -> None:
    apart = [MeasuredShare(at, at / 50, f"class {at}") for at in range(10, 50, 10)]
    drawn = measured_shares("Recall", apart, across="images", up="", named=True)
    assert re.findall(r">(class \d+)</text>", drawn) == ["class 10", "class 20", "class 30"]
    close = [MeasuredShare(1, 0.5, "one"), MeasuredShare(1, 0.5, "two"), MeasuredShare(9, 0.9, "best")]
    drawn = measured_shares("Recall", close, across="images", up="", named=True)
    assert re.findall(r">(one|two|best)</text>", drawn) == ["one"]
    assert drawn.count('class="line1"') == 2


def test_classes_of_one_size_stand_side_by_side() -> None:
    shares = [MeasuredShare(26, 0.9, str(number)) for number in range(10)]
    drawn = measured_shares("Recall", shares, across="images", up="")
    assert len(set(dots(drawn))) == 10
    assert ">26</text>" in drawn


def test_sizes_that_differ_much_are_spread_by_their_order_of_magnitude() -> None:
    drawn = measured_shares("Recall", [MeasuredShare(at, 0.5, str(at)) for at in (1, 10, 100)], across="images", up="")
    (small, _), (middle, _), (large, _) = dots(drawn)
    assert middle - small == pytest.approx(large - middle)


def test_where_probabilities_mean_what_they_say_is_a_line() -> None:
    drawn = measured_shares("Reliability", [MeasuredShare(0.25, 0.25, "bin")], across="", up="", ideal=True)
    x1, y1, x2, y2 = (
        float(place)
        for place in re.findall(r'class="ideal" x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="([\d.]+)"', drawn)[0]
    )
    ((x, y),) = dots(drawn)
    assert (x - x1) / (x2 - x1) == pytest.approx(0.25, abs=0.01)
    assert (y - y1) / (y2 - y1) == pytest.approx(0.25, abs=0.01)


def test_many_classes_have_dots_alone_and_none_has_no_plot() -> None:
    many = [MeasuredShare(at, 0.5, str(at), (0.4, 0.6)) for at in range(300)]
    drawn = measured_shares("Recall", many, across="images", up="")
    assert len(dots(drawn)) == 300
    assert "whisker" not in drawn
    assert measured_shares("Recall", [], across="images", up="") == ""


def drawn_points(figure: str) -> list[list[tuple[float, float]]]:
    paths = re.findall(r'points="([^"]*)"', figure)
    return [[tuple(map(float, pair.split(","))) for pair in path.split()] for path in paths]  # type: ignore[misc]


def test_a_line_chart_shows_values_by_their_size_or_by_their_order_of_magnitude() -> None:
    steps = [(0.0, 1e-6), (1.0, 1e-3), (2.0, 1.0)]
    plain, logarithmic = (
        drawn_points(line_chart("t", [Line("<b>", steps)], across="step", unit=str, logarithmic=kind))[0]
        for kind in (False, True)
    )

    assert plain[0][1] == pytest.approx(plain[1][1], abs=0.5)
    assert logarithmic[1][1] == pytest.approx((logarithmic[0][1] + logarithmic[2][1]) / 2, abs=0.2)
    assert plain[0][0] < plain[1][0] < plain[2][0]


def test_a_threshold_is_a_dashed_line_within_the_chart() -> None:
    above = line_chart("t", [Line("a", [(0, 1.0), (1, 2.0)])], across="step", unit=str, threshold=4.0)
    beyond = line_chart("t", [Line("a", [(0, 1.0)])], across="step", unit=str, threshold=4.0, bounds=(0, 2))

    assert 'class="ideal"' in above
    assert 'class="ideal"' not in beyond
    ReadPage(above)


@given(points=st.lists(st.tuples(st.floats(0, 1e6), st.floats()), max_size=3 * MOST_POINTS), logarithmic=st.booleans())
def test_a_line_chart_stays_within_its_picture(points: list[tuple[float, float]], logarithmic: bool) -> None:
    figure = line_chart("t", [Line("a", sorted(points))], across="step", unit=str, logarithmic=logarithmic)

    for line in drawn_points(figure):
        assert len(line) <= MOST_POINTS
        assert all(0 <= x <= 360 and 0 <= y <= 170 for x, y in line)
    assert bool(figure) == any(math.isfinite(y) for _, y in points)
