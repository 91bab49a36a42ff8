"""The line charts of the pages."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st


@settings(max_examples=60, deadline=None)
@example(values=[0.0, 5e-324], share=False)
@example(values=[1e-300], share=True)
@given(values=st.lists(st.floats(0, 1e12), min_size=1, max_size=30), share=st.booleans())
def test_any_line_stays_within_its_picture(pages: Any, values: list[float], *, share: bool) -> None:
    from image_classification.ui.charts import HEIGHT, Line, line_chart  # noqa: PLC0415  (Airflow's home comes first)

    if share:
        values = [value / 1e12 for value in values]

    drawn = line_chart("Any", [Line("one", [*enumerate(values, 1)])], share=share)

    (points,) = re.findall(r'polyline points="([^"]*)"', drawn)
    heights = [float(point.partition(",")[2]) for point in points.split()]
    assert all(0 <= height <= HEIGHT for height in heights)
