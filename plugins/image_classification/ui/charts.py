"""Line charts as SVG, without styles of their own: the pages' policy allows none in the text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from image_classification.ui.rendering import environment

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640, 240, 66, 28, 14
MOST_TICKS, STEPS = 8, 4
NOTHING = 1e-9
"""What is below it is drawn as 0."""
COLOURS = 6
MOST_LINES = 2 * COLOURS
"""Lines that can be distinguished: one colour each, then each colour with dashes."""


@dataclass(frozen=True)
class Line:
    """A named line of points (x, y), the smallest x first."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    length: float

    def at(self, value: float) -> float:
        """The place of a value in pixels."""
        return round(self.start + self.length * (value - self.low) / ((self.high - self.low) or 1.0), 1)


def line_chart(
    title: str, lines: Sequence[Line], *, share: bool = True, ticks: Sequence[str] = (), dots: bool = False
) -> Markup:
    """A chart of the first MOST_LINES lines that have points; empty if none has.

    `share`: values are shown in percent. `ticks` are the words below all x values, from 0 on; by default the numbers
    of those that have points.
    `dots`: the points are not joined. Its text alternative has the first and last value of each line.
    """
    drawn = [line for line in lines if line.points][:MOST_LINES]
    if not drawn:
        return Markup()
    xs: list[float] = [*range(len(ticks))] if ticks else sorted({x for line in drawn for x, _ in line.points})
    ys = [y for line in drawn for _, y in line.points]
    across = _Scale(xs[0], xs[-1], LEFT, WIDTH - LEFT - 26)
    low, high = _bounds(min(ys), max(ys), share=share)
    up = _Scale(low, high, HEIGHT - BOTTOM, TOP + BOTTOM - HEIGHT)
    grid = [low + (high - low) * step / STEPS for step in range(STEPS + 1)]
    every = max(1, -(-len(xs) // MOST_TICKS))
    chart = (
        environment()
        .get_template("chart.html")
        .make_module(
            {
                "title": title,
                "width": WIDTH,
                "height": HEIGHT,
                "left": LEFT,
                "alternative": f"{title}. {'; '.join(_in_words(line, share=share) for line in drawn)}.",
                "lines": [
                    (_style(number, dots=dots), line.name, [(across.at(x), up.at(y), x, y) for x, y in line.points])
                    for number, line in enumerate(drawn)
                ],
                "rows": [(up.at(value), _shown(value, share=share).replace(".0%", "%")) for value in grid],
                "ticks": [(across.at(x), ticks[int(x)] if ticks else f"{x:g}") for x in xs[::every]],
                "shown": lambda value: _shown(value, share=share),
            }
        )
    )
    html: Markup = chart.__html__()
    return html


def _style(number: int, *, dots: bool) -> str:
    return f"line{number % COLOURS}{' dashed' if number >= COLOURS else ''}{' dots' if dots else ''}"


def _in_words(line: Line, *, share: bool) -> str:
    values = [_shown(value, share=share) for _, value in line.points]
    return f"{line.name}: {values[0]}" if len(values) == 1 else f"{line.name}: from {values[0]} to {values[-1]}"


def _bounds(lowest: float, highest: float, *, share: bool) -> tuple[float, float]:
    """The lowest and highest line of the grid: shares fit closely, so that differences are seen, counts begin at 0.

    The steps between are round.
    """
    if 0 <= lowest <= highest < NOTHING:
        return 0.0, 1.0
    if lowest < 0:
        room = (highest - lowest) * 0.1 or 1.0
        return lowest - room, highest + room
    low = lowest if share else 0.0
    digit = 10.0 ** math.floor(math.log10(max(highest - low, highest * 0.01) / STEPS))
    for step in (digit * each for each in ((1, 1.25, 2, 2.5, 5, 10, 12.5, 25) if share else (1, 2, 2.5, 5, 10))):
        start = math.floor(low / step + 1e-9) * step
        if share:
            start = max(0.0, min(start, 1 - STEPS * step))
        if start + STEPS * step >= highest - 1e-9:
            break
    return start, start + STEPS * step


def _shown(value: float, *, share: bool) -> str:
    return f"{value:.1%}" if share else f"{value:,.0f}" if value >= 10 or not value else f"{value:.1f}"
