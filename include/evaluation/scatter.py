"""One hyperparameter of many jobs against what they reached."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from include.pages.elements import Markup, joined, shown

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 320, 180, 44, 22, 8
LOGARITHMIC = 50
"""From this ratio of the largest to the smallest value on they are drawn by their order of magnitude."""


@dataclass(frozen=True)
class Point:
    """A job: a hyperparameter as it was sent, and the objective, 0 to 1."""

    x: str
    y: float
    name: str
    marked: bool = False


def scatter(title: str, points: Sequence[Point]) -> Markup:
    """A figure of dots; numbers are spread by value or order of magnitude, words stand side by side."""
    places, labels = _across([point.x for point in points])
    low, high = _bounds([point.y for point in points])
    dots = joined(_dot(point, places[point.x], (point.y - low) / (high - low)) for point in points)
    grid = joined(_grid_line(low + share * (high - low), share) for share in (0, 0.5, 1))
    axis = joined(_tick(text, share) for text, share in labels)
    return Markup(
        f'<figure><h3>{shown(title)}</h3><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{shown(title)} of {len(points)} jobs against the objective">{grid}{dots}{axis}</svg></figure>'
    )


def _across(values: Sequence[str]) -> tuple[dict[str, float], list[tuple[str, float]]]:
    """Where each value lies between 0 and 1, and the axis's labels with their places."""
    distinct = sorted(set(values))
    try:
        numbers = {value: float(value) for value in distinct}
    except ValueError:
        places = {value: (number + 0.5) / len(distinct) for number, value in enumerate(distinct)}
        return places, list(places.items())
    low, high = min(numbers.values()), max(numbers.values())
    if low > 0 and high / low >= LOGARITHMIC:
        numbers = {value: math.log(number) for value, number in numbers.items()}
    first, last = min(numbers.values()), max(numbers.values())
    places = {value: (number - first) / ((last - first) or 1) for value, number in numbers.items()}
    return places, [(f"{low:.3g}", 0.0), (f"{high:.3g}", 1.0)]


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = (high - low) * 0.05 or 0.01
    return max(low - room, 0.0), high + room


def _dot(point: Point, across: float, up: float) -> Markup:
    kind, radius = ("line1", 5) if point.marked else ("line0", 3)
    said = shown(f"{point.name}: {point.x}, {point.y:.4f}")
    place = f'cx="{_x(across):.1f}" cy="{_y(up):.1f}"'
    return Markup(f'<circle class="{kind}" {place} r="{radius}"><title>{said}</title></circle>')


def _grid_line(value: float, up: float) -> Markup:
    y = _y(up)
    return Markup(
        f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/><text x="0" y="{y + 4:.1f}">{value:.1%}</text>'
    )


def _tick(text: str, across: float) -> Markup:
    anchor = "start" if across == 0 else "end" if across == 1 else "middle"
    return Markup(f'<text x="{_x(across):.1f}" y="{HEIGHT - 4}" text-anchor="{anchor}">{shown(text)}</text>')


def _x(across: float) -> float:
    return LEFT + 8 + (WIDTH - LEFT - 16) * across


def _y(up: float) -> float:
    return TOP + (HEIGHT - BOTTOM - TOP) * (1 - up)
