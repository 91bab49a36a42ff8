from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.pages.charts import heat_map, histogram, stacked_bar, stacked_columns
from tests.unit.pages.reading import ReadPage


def bars(drawn: str) -> list[int]:
    return [int(count.replace(",", "")) for count in re.findall(r"<title>[^<]*: ([\d,]+)</title>", drawn)]


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
