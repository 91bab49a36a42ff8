"""All charts of all pages, as inline SVG and HTML: a page stands alone."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from include.pages import Markup, joined, note, scrolled, shown

WIDTH, HEIGHT, BOTTOM = 320, 130, 18
BINS = 20
OUTLIERS = 0.995
"""Share of the values a histogram spreads over its bars; its last bar holds the larger ones too."""
LONG_LABEL = 4
"""Letters of the longest label of a heat map that still stands across its column."""
SVG = re.compile(r"<svg (viewBox=\"0 0 ([\d.]+) ([\d.]+)\".*?)</svg>", re.DOTALL)
KEY = re.compile(r"<span (class=\"key [^>]*)>(.*?)</span>", re.DOTALL)
FILE_STYLE = (
    "text{fill:#5d6b7e;font:11px system-ui,sans-serif}line{stroke:#dfe4ea}polyline{fill:none;stroke-width:2.2;"
    "stroke:currentColor}circle{fill:currentColor}.whisker{stroke:currentColor;stroke-width:1.6;opacity:.45}"
    ".ideal{stroke:#5d6b7e;stroke-dasharray:5 4}.line0{color:#1769c4}.line1{color:#c4561a}.line2{color:#16806a}"
    ".line3{color:#8a3fb0}.more{color:hsl(var(--hue) 65% calc(40% + var(--tone)*1%))}.key{fill:currentColor}"
)
"""What a page's style reports about a chart, in its light colours."""
KEY_HEIGHT = 16
NAMED_COLOURS = ("line0", "line1", "line2", "line3")
GOLDEN_ANGLE = 137.508
"""Degrees between the hues of further lines: they never meet, however many there are."""
MOST_EPOCH_TICKS = 12
MANY_EPOCHS = 6
"""From so many on the early values of a line may be left out of the picture."""
LEAST_SPREAD = 1e-9
"""Values that differ by less, or by a smaller share of themselves, are drawn as one."""
LOGARITHMIC = 50
"""Values are spread by their order of magnitude if the largest is this many times the smallest."""


def svg_file(figure: Markup) -> str:
    """The chart of a figure as an SVG file of its own, with the names of its lines below; empty without a chart."""
    found = SVG.search(figure)
    if not found:
        return ""
    drawing, width, height = found[1].partition(">")[2], float(found[2]), float(found[3])
    keys = joined(
        Markup(f'<text x="4" y="{height + KEY_HEIGHT * (number + 1) - 4:g}" {kind}>\u25cf {name}</text>')
        for number, (kind, name) in enumerate(KEY.findall(figure))
    )
    whole = height + KEY_HEIGHT * len(KEY.findall(figure))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {whole:g}" width="{2 * width:g}" '
        f'height="{2 * whole:g}"><style>{FILE_STYLE}</style><rect width="100%" height="100%" fill="#ffffff"/>'
        f"{drawing}{keys}</svg>"
    )


def heat_map(
    counts: npt.NDArray[Any],
    labels: Sequence[str],
    *,
    corner: str,
    totals: npt.NDArray[Any],
    kinds: tuple[str, str] = ("hit", "miss"),
) -> Markup:
    """A square matrix as a table; the deeper a cell, the larger its share of its row's total.

    `kinds` are the styles on the diagonal and beside it.
    """
    head = joined(Markup(f'<th scope="col"><span>{shown(label)}</span></th>') for label in labels)
    rows = joined(_heat_row(labels, counts, totals, number, kinds) for number in range(len(labels)))
    tall = " tall" if max(map(len, labels), default=0) > LONG_LABEL else ""
    return scrolled(
        f"Heat map of {corner}",
        Markup(
            f'<table class="heat{tall}"><thead><tr><td class="corner">{shown(corner)}</td>'
            f"{head}</tr></thead><tbody>{rows}</tbody></table>"
        ),
    )


def _heat_row(
    labels: Sequence[str], counts: npt.NDArray[Any], totals: npt.NDArray[Any], number: int, kinds: tuple[str, str]
) -> Markup:
    total = int(totals[number]) or 1
    cells = joined(
        Markup(
            f'<td class="{kinds[column != number]}" style="--share:{int(count) / total:.3f}">{int(count) or ""}</td>'
        )
        for column, count in enumerate(counts[number])
    )
    return Markup(f'<tr><th scope="row">{shown(labels[number])}</th>{cells}</tr>')


def stacked_bar(parts: Sequence[int], longest: int) -> Markup:
    """A horizontal bar of several parts, as long as its share of the longest bar."""
    drawn = joined(
        Markup(f'<i class="part{number % 4}" style="width:{100 * part / max(longest, 1):.2f}%"></i>')
        for number, part in enumerate(parts)
        if part
    )
    return Markup(f'<span class="bar">{drawn}</span>')


def stacked_columns(columns: Sequence[tuple[str, Sequence[int]]]) -> Markup:
    """A narrow upright column for each of many names, in their order, its parts one upon the other."""
    width = 960
    tallest = max((sum(parts) for _, parts in columns), default=0) or 1
    step = width / max(len(columns), 1)
    drawn = joined(_column(name, parts, number * step, step, tallest) for number, (name, parts) in enumerate(columns))
    grid = joined(_grid_line(share, HEIGHT * (1 - share), width, tallest) for share in (0, 0.5, 1))
    return Markup(
        f'<figure><svg viewBox="0 -14 {width} {HEIGHT + 16}" role="img" aria-label="Images per class">'
        f"{grid}{drawn}</svg></figure>"
    )


def _column(name: str, parts: Sequence[int], left: float, step: float, tallest: int) -> Markup:
    bars, top = [], float(HEIGHT)
    for number, part in enumerate(parts):
        height = HEIGHT * part / tallest
        top -= height
        bars.append(
            Markup(
                f'<rect class="part{number % 4}" x="{left:.2f}" y="{top:.2f}" width="{step * 0.8:.2f}" '
                f'height="{height:.2f}"/>'
            )
        )
    return Markup(f"<g><title>{shown(name)}: {sum(parts):,}</title>{joined(bars)}</g>")


def _grid_line(share: float, y: float, width: int, tallest: int) -> Markup:
    text = f'<text x="0" y="{y - 3:.1f}">{tallest * share:,.0f}</text>'
    return Markup(f'<line x1="0" x2="{width}" y1="{y:.1f}" y2="{y:.1f}"/>{text}')


def histogram(title: str, values: npt.NDArray[Any], unit: Callable[[float], str]) -> Markup:
    """How often values lie where, with their median; one line if they all are the same. `unit` writes a value."""
    if not len(values):
        return Markup()
    low, high = float(values.min()), float(values.max())
    if low == high:
        return Markup(f"<figure><h3>{shown(title)}</h3><p>{shown(unit(low))}, every image</p></figure>")
    counts, edges = _bars(values, low)
    step = WIDTH / len(counts)
    drawn = joined(
        _histogram_bar(
            number * step,
            step,
            height=HEIGHT * 0.97 * int(count) / int(counts.max()),
            says=f"{unit(edges[number])} to {unit(edges[number + 1])}: {count:,}",
        )
        for number, count in enumerate(counts)
        if count
    )
    middle = f"{unit(low)} to {unit(high)}, median {unit(float(np.median(values)))}"
    more = "" if high < edges[-1] else "+"
    return Markup(
        f'<figure><h3>{shown(title)}</h3><svg viewBox="0 0 {WIDTH} {HEIGHT + BOTTOM}" role="img" '
        f'aria-label="{shown(title)}: {shown(middle)}">{drawn}'
        f'<line x1="0" x2="{WIDTH}" y1="{HEIGHT}" y2="{HEIGHT}"/><text x="0" y="{HEIGHT + 14}">{shown(unit(edges[0]))}'
        f'</text><text x="{WIDTH}" y="{HEIGHT + 14}" text-anchor="end">{shown(unit(edges[-1]) + more)}</text></svg>'
        f"<figcaption>{shown(middle)}</figcaption></figure>"
    )


def _bars(values: npt.NDArray[Any], low: float) -> tuple[npt.NDArray[Any], list[float]]:
    """Counts and edges of bars of a round width; values beyond the last edge are counted in the last bar."""
    far = max(float(np.quantile(values, OUTLIERS)), low + 1e-9)
    rough = (far - low) / BINS
    power = 10.0 ** math.floor(math.log10(rough))
    width = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.floor(low / width), math.floor(far / width)
    edges = [number * width for number in range(first, last + 2)]
    places = np.minimum(np.floor(values / width).astype(np.int64), last) - first
    return np.bincount(places, minlength=last - first + 1), edges


def _histogram_bar(left: float, step: float, *, height: float, says: str) -> Markup:
    height = max(height, 1.0)
    return Markup(
        f'<rect class="part0" x="{left + 0.5:.2f}" y="{HEIGHT - height:.2f}" width="{max(step - 1, 0.5):.2f}" '
        f'height="{height:.2f}"><title>{shown(says)}</title></rect>'
    )


@dataclass(frozen=True)
class _Plot:
    """A picture of points in pixels, with shares of 0 to 1 as its coordinates, and text below it."""

    width: int
    height: int
    top: int
    bottom: int
    left: int = 44

    def x(self, across: float) -> float:
        return self.left + 8 + (self.width - self.left - 16) * across

    def y(self, up: float) -> float:
        return self.top + (self.height - self.bottom - self.top) * (1 - up)

    def grid_line(self, text: str, up: float) -> Markup:
        y = self.y(up)
        line = f'<line x1="{self.left}" x2="{self.width}" y1="{y:.1f}" y2="{y:.1f}"/>'
        return Markup(f'{line}<text x="0" y="{y + 4:.1f}">{text}</text>')


_CURVES = _Plot(width=640, height=260, top=10, bottom=38)
_DOTS = _Plot(width=320, height=180, top=8, bottom=22)
_SHARES = _Plot(width=640, height=250, top=10, bottom=38)
_EQUAL_AXES = _Plot(width=320, height=230, top=10, bottom=38)
MOST_WHISKERS = 60
"""Dots above which their intervals hide each other, and are shown where the pointer rests only."""
NAMED_DOTS = 3
"""The lowest dots that have their name beside them."""


@dataclass(frozen=True)
class Curve:
    """A line of `curves`: its name, its points (an epoch, counted from 1, and a value), its colour's number."""

    name: str
    points: Sequence[tuple[int, float]]
    colour: int
    marked: bool = False


def coloured(number: int, *kinds: str) -> Markup:
    """The attributes of an element in the colour of this number, and of these classes; no two numbers have the same."""
    if number < len(NAMED_COLOURS):
        return Markup(f'class="{" ".join([*kinds, f"line{number}"])}"')
    hue, tone = (number * GOLDEN_ANGLE) % 360, (number % 3 - 1) * 9
    return Markup(f'class="{" ".join([*kinds, "more"])}" style="--hue:{hue:.1f};--tone:{tone}"')


def curves(title: str, lines: Sequence[Curve], *, unit: Callable[[float], str] | None = None) -> Markup:
    """A line for each name, by epoch; empty if no line has points. `unit` writes a value, a share of 0 to 1 if None.

    The upright axis shows where the lines differ: what they were early on may lie below it, and a remark says so.
    """
    lines = [line for line in lines if line.points]
    if not lines:
        return Markup()
    last = max(x for line in lines for x, _ in line.points)
    low, high, ticks = _values_shown(lines)

    def place(x: float, y: float) -> tuple[float, float]:
        up = (y - low) / (high - low)
        return _CURVES.x((x - 1) / (last - 1) if last > 1 else 0.5), _CURVES.y(min(max(up, 0.0), 1.0))

    write = unit or _shares_of(ticks[1] - ticks[0])
    grid = joined(_CURVES.grid_line(shown(write(value)), (value - low) / (high - low)) for value in ticks)
    drawn = joined(_curve(line, _from_where_it_rises(line.points, low), place) for line in lines)
    legend = joined(Markup(f"<span {coloured(line.colour, 'key')}>{shown(line.name)}</span>") for line in lines)
    epochs = joined(_epoch_tick(epoch, (epoch - 1) / (last - 1) if last > 1 else 0.5) for epoch in _epoch_ticks(last))
    axis = f'<text x="{_CURVES.x(0.5):.1f}" y="{_CURVES.height - 6}" text-anchor="middle">epoch</text>'
    below = min(y for line in lines for _, y in line.points) < low
    remark = note(f"Values below {write(low)} are not drawn.") if below else ""
    return Markup(
        f'<figure><svg viewBox="0 0 {_CURVES.width} {_CURVES.height}" role="img" aria-label="{shown(title)}">'
        f"{grid}{drawn}{epochs}{axis}</svg><figcaption>{legend}{remark}</figcaption></figure>"
    )


def _from_where_it_rises(points: Sequence[tuple[int, float]], low: float) -> list[tuple[float, float]]:
    """The points from where a line first crosses the bottom of the picture, that place included."""
    first = next((number for number, (_, y) in enumerate(points) if y >= low), len(points))
    if first in (0, len(points)):
        return [*points[first:]]
    (x0, y0), (x1, y1) = points[first - 1], points[first]
    return [(x0 + (x1 - x0) * (low - y0) / (y1 - y0), low), *points[first:]]


def _curve(
    line: Curve, points: Sequence[tuple[float, float]], place: Callable[[float, float], tuple[float, float]]
) -> Markup:
    path = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in points)
    dots = joined(
        Markup(
            '<circle cx="{:.1f}" cy="{:.1f}" r="3">'.format(*place(epoch, value))
            + f"<title>{shown(line.name)}, epoch {epoch}: {value:.4f}</title></circle>"
        )
        for epoch, value in line.points
        if (epoch, value) in points
    )
    kinds = ("marked",) if line.marked else ()
    return Markup(f'<g {coloured(line.colour, *kinds)}><polyline points="{path}"/>{dots}</g>')


def _values_shown(lines: Sequence[Curve]) -> tuple[float, float, list[float]]:
    """The lowest and the highest value of the upright axis, and its round ticks.

    Without the early values if the later halves of the lines take up less than a quarter of the whole: they have half
    of the picture then.
    """
    values = [y for line in lines for _, y in line.points]
    later = [y for line in lines for _, y in line.points[len(line.points) // 2 :]]
    low, high = min(values), max(values)
    many = max(len(line.points) for line in lines) >= MANY_EPOCHS
    if many and high - min(later) < (high - low) / 4:
        low = max(low, min(later) - max(high - min(later), (high - low) / 50))
    if high - low < LEAST_SPREAD * max(1.0, abs(high)):
        low, high = low - 0.005, high + 0.005
    step = _round_step((high - low) / 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return first * step, last * step, [number * step for number in range(first, last + 1)]


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


def _shares_of(step: float) -> Callable[[float], str]:
    """How shares are written that are so far apart, in percent."""
    digits = max(0, -math.floor(math.log10(step) + 1e-9) - 2)
    return lambda share: f"{share:.{digits}%}"


def _epoch_tick(epoch: int, share: float) -> Markup:
    place = f'x="{_CURVES.x(share):.1f}" y="{_CURVES.height - _CURVES.bottom + 16}"'
    return Markup(f'<text {place} text-anchor="{_anchor(share)}">{epoch}</text>')


def _epoch_ticks(last: int) -> list[int]:
    """Epochs to write below an axis: the first, then round ones."""
    step = max(1, int(_round_step(last / MOST_EPOCH_TICKS)))
    return [1, *range(step if step > 1 else 2, last + 1, step)]


@dataclass(frozen=True)
class Point:
    """A dot of `scatter`: a value as it is written, a number, what the dot stands for, and the number of its colour."""

    x: str
    y: float
    name: str
    colour: int = 0
    marked: bool = False


def scatter(title: str, points: Sequence[Point], unit: Callable[[float], str] | None = None) -> Markup:
    """A figure of dots; numbers are spread by value or order of magnitude, words stand side by side.

    `unit` writes a value of the upright axis, a share of 0 to 1 if None.
    """
    places, labels = _across([point.x for point in points])
    low, high = _bounds([point.y for point in points])
    dots = joined(_dot(point, places[point.x], (point.y - low) / (high - low)) for point in points)
    step = _round_step((high - low) / 4)
    write = unit or _shares_of(step)
    ticks = [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
    grid = joined(_DOTS.grid_line(shown(write(value)), (value - low) / (high - low)) for value in ticks)
    axis = joined(_tick(text, share) for text, share in labels)
    return Markup(
        f'<figure><h3>{shown(title)}</h3><svg viewBox="0 0 {_DOTS.width} {_DOTS.height}" role="img" '
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
    kinds, radius = (("marked",), 6) if point.marked else ((), 4)
    said = shown(f"{point.name}: {point.x}, {point.y:.4f}")
    place = f'cx="{_DOTS.x(across):.1f}" cy="{_DOTS.y(up):.1f}"'
    return Markup(f'<circle {coloured(point.colour, *kinds)} {place} r="{radius}"><title>{said}</title></circle>')


def _tick(text: str, across: float) -> Markup:
    place = f'x="{_DOTS.x(across):.1f}" y="{_DOTS.height - 4}"'
    return Markup(f'<text {place} text-anchor="{_anchor(across)}">{shown(text)}</text>')


def _anchor(across: float) -> str:
    """How the text of a tick stands at its place, so that it stays within the picture."""
    return "start" if across == 0 else "end" if across == 1 else "middle"


@dataclass(frozen=True)
class MeasuredShare:
    """A dot of `measured_shares`: a share of 0 to 1 with its interval, at a number, and what the dot stands for."""

    at: float
    share: float
    name: str
    interval: tuple[float, float] | None = None


def measured_shares(
    title: str, dots: Sequence[MeasuredShare], *, across: str, up: str, ideal: bool = False, named: bool = False
) -> Markup:
    """Shares against a number, each with its interval; empty without dots.

    `across` and `up` name the axes. With `ideal` both are shares, and the diagonal shows where they are equal;
    else they are counts, spread by their order of magnitude if they differ much. `named` writes the names of the lowest
    dots beside them. Dots at one number stand side by side.
    """
    if not dots:
        return Markup()
    plot = _EQUAL_AXES if ideal else _SHARES
    place, ticks = _scale([dot.at for dot in dots], ideal=ideal)
    shifts = _side_by_side([plot.x(place(dot.at)) for dot in dots], plot)
    whiskers = len(dots) <= MOST_WHISKERS
    across_pixels = [plot.x(place(dot.at)) + shift for dot, shift in zip(dots, shifts, strict=True)]
    lowest = _lowest(dots, across_pixels, plot) if named else {}
    drawn = joined(
        _measured_dot(dot, plot, x, name=lowest.get(number), whiskers=whiskers)
        for number, (dot, x) in enumerate(zip(dots, across_pixels, strict=True))
    )
    grid = joined(plot.grid_line(f"{share / 4:.0%}", share / 4) for share in range(5))
    bottom = plot.height - plot.bottom
    axis = joined(
        Markup(f'<text x="{plot.x(at):.1f}" y="{bottom + 16}" text-anchor="{_anchor(at)}">{shown(text)}</text>')
        for at, text in ticks
    )
    equal = f'<line class="ideal" x1="{plot.x(0):.1f}" y1="{plot.y(0):.1f}" x2="{plot.x(1):.1f}" y2="{plot.y(1):.1f}"/>'
    return Markup(
        f'<figure><h3>{shown(title)}</h3><svg viewBox="0 0 {plot.width} {plot.height}" role="img" '
        f'aria-label="{shown(title)}">{grid}{equal if ideal else ""}{drawn}{axis}'
        f'<text x="{plot.x(0.5):.1f}" y="{plot.height - 6}" text-anchor="middle">{shown(across)}</text></svg>'
        f"<figcaption>{shown(up)}</figcaption></figure>"
    )


def _scale(numbers: Sequence[float], *, ideal: bool) -> tuple[Callable[[float], float], list[tuple[float, str]]]:
    """Where a number lies between 0 and 1, and the axis's ticks."""
    if ideal:
        return lambda at: at, [(share / 4, f"{share / 4:.0%}") for share in range(5)]
    low, high = min(numbers), max(numbers)
    if low == high:
        return lambda _: 0.5, [(0.5, f"{low:,.0f}")]
    if low > 0 and high / low >= LOGARITHMIC:
        middle = math.sqrt(low * high)
        ticks = [(0.0, f"{low:,.0f}"), (0.5, f"{middle:,.0f}"), (1.0, f"{high:,.0f}")]
        return lambda at: math.log(at / low) / math.log(high / low), ticks
    between = [(0.5, f"{(low + high) / 2:,.0f}")] if high - low > 2 else []
    ticks = [(0.0, f"{low:,.0f}"), *between, (1.0, f"{high:,.0f}")]
    return lambda at: (at - low) / (high - low), ticks


def _side_by_side(places: Sequence[float], plot: _Plot) -> list[float]:
    """How many pixels each dot moves sideways, so that dots at one place do not hide each other."""
    number_of = Counter(places)
    widest = 500 if len(number_of) == 1 else 60
    met: Counter[float] = Counter()
    shifts = []
    for place in places:
        shift = (met[place] - (number_of[place] - 1) / 2) * min(
            14.0 if widest < 500 else 40.0, widest / number_of[place]
        )
        shifts.append(max(min(shift, plot.width - 8 - place), plot.left + 4 - place))
        met[place] += 1
    return shifts


def _lowest(dots: Sequence[MeasuredShare], across: Sequence[float], plot: _Plot) -> dict[int, str]:
    """The lowest dots and their names; a name that would hide another one is empty."""
    highest = max(dot.share for dot in dots)
    named: dict[int, str] = {}
    for number in sorted(range(len(dots)), key=lambda number: dots[number].share)[:NAMED_DOTS]:
        if dots[number].share < highest:
            y = plot.y(dots[number].share)
            hides = any(
                abs(plot.y(dots[other].share) - y) < 12 and abs(across[other] - across[number]) < 7 * len(name) + 14
                for other, name in named.items()
            )
            named[number] = "" if hides else dots[number].name
    return named


def _measured_dot(dot: MeasuredShare, plot: _Plot, x: float, *, name: str | None, whiskers: bool) -> Markup:
    """A dot; one with a `name` stands out, with the name beside it if that is not empty."""
    says, whisker = f"{dot.name}: {dot.share:.1%}", ""
    if dot.interval:
        says += f", between {dot.interval[0]:.1%} and {dot.interval[1]:.1%}"
        if whiskers:
            top, bottom = plot.y(dot.interval[1]), plot.y(dot.interval[0])
            whisker = f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"/>'
    y = plot.y(dot.share)
    beside, anchor = (x + 7, "start") if x < plot.width * 0.75 else (x - 7, "end")
    text = f'<text x="{beside:.1f}" y="{y + 4:.1f}" text-anchor="{anchor}">{shown(name)}</text>' if name else ""
    circle = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    kind = f"line{int(name is not None)}"
    return Markup(f'<g class="{kind}"><title>{shown(says)}</title>{whisker}{circle}{text}</g>')


MOST_POINTS = 240
"""Points that a line of `line_chart` has at most: of more, neighbours are drawn as their mean."""
SMALLEST, LARGEST = 1e-12, 1e30
"""What a logarithmic axis shows of zero, and what a line chart shows of all larger values."""


@dataclass(frozen=True)
class Line:
    """A line of `line_chart`: its name, and its points from left to right."""

    name: str
    points: Sequence[tuple[float, float]]


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    across: str,
    unit: Callable[[float], str],
    threshold: float | None = None,
    logarithmic: bool = False,
    bounds: tuple[float, float] | None = None,
    wide: bool = False,
) -> Markup:
    """Lines over a number, with the threshold as a dashed one; empty if no line has points.

    `across` names the axis, `unit` writes a value. The upright axis spans `bounds`, or what the values need. A `wide`
    chart has the page's width, others stand side by side.
    """
    drawn = [Line(line.name, _thinned(line.points)) for line in lines]
    drawn = [line for line in drawn if line.points]
    if not drawn:
        return Markup()
    values = [y for line in drawn for _, y in line.points] + ([] if threshold is None else [threshold])
    up = _Upward.of(values if bounds is None else [*bounds], logarithmic=logarithmic)
    xs = [x for line in drawn for x, _ in line.points]
    low, high = min(xs), max(xs)
    plot = _WIDE_LINES if wide else _LINES

    def place(x: float, y: float) -> tuple[float, float]:
        return plot.x((x - low) / (high - low) if high > low else 0.5), plot.y(up.share(y))

    grid = joined(plot.grid_line(shown(unit(up.value(share / 2))), share / 2) for share in range(3))
    limit = ""
    if threshold is not None and 0 <= up.share(threshold) <= 1:
        y = plot.y(up.share(threshold))
        limit = f'<line class="ideal" x1="{plot.left}" x2="{plot.width}" y1="{y:.1f}" y2="{y:.1f}"/>'
    paths = joined(_line(number, line, place, unit) for number, line in enumerate(drawn))
    keys = joined(
        Markup(f"<span {coloured(number, 'key')}>{shown(line.name)}</span>") for number, line in enumerate(drawn)
    )
    ends = joined(_line_end(plot, f"{x:,.0f}", anchor) for x, anchor in ((low, "start"), (high, "end")))
    middle = f'<text x="{plot.x(0.5):.1f}" y="{plot.height - 6}" text-anchor="middle">{shown(across)}</text>'
    return Markup(
        f'<figure><h3>{shown(title)}</h3><svg viewBox="0 0 {plot.width} {plot.height}" role="img" '
        f'aria-label="{shown(title)}">{grid}{limit}{paths}{ends}{middle}</svg><figcaption>{keys}</figcaption></figure>'
    )


_LINES = _Plot(width=360, height=170, top=10, bottom=24, left=52)
_WIDE_LINES = _Plot(width=800, height=220, top=10, bottom=24, left=52)


@dataclass(frozen=True)
class _Upward:
    """The upright axis of a line chart: where a value lies between 0 and 1, and what value lies at a place."""

    low: float
    high: float
    logarithmic: bool

    @classmethod
    def of(cls, values: Sequence[float], *, logarithmic: bool) -> _Upward:
        if logarithmic:
            powers = [math.log10(max(value, SMALLEST)) for value in values]
            first, last = math.floor(min(powers)), math.ceil(max(powers))
            return cls(first, max(first + 2, last + (last - first) % 2), True)  # the middle is a power of ten too
        low, high = min(0.0, *values), max(0.0, *values)
        return cls(low, high if high > low else low + 1, False)

    def share(self, value: float) -> float:
        at = math.log10(max(value, SMALLEST)) if self.logarithmic else value
        return (at - self.low) / (self.high - self.low)

    def value(self, share: float) -> float:
        at = self.low + share * (self.high - self.low)
        return 10**at if self.logarithmic else at


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points with numbers only, none too large, and not too many of them."""
    finite = [(x, max(-LARGEST, min(y, LARGEST))) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if len(finite) <= MOST_POINTS:
        return finite
    parts = np.array_split(np.array(finite), MOST_POINTS)
    return [(float(part[:, 0].mean()), float(part[:, 1].mean())) for part in parts]


def _line(
    number: int, line: Line, place: Callable[[float, float], tuple[float, float]], unit: Callable[[float], str]
) -> Markup:
    places = [place(x, y) for x, y in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    last = f"{line.name}: {unit(line.points[0][1])} at first, {unit(line.points[-1][1])} at last"
    dot = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places) if len(places) < 3 else ""
    return Markup(f'<g {coloured(number)}><title>{shown(last)}</title><polyline points="{path}"/>{dot}</g>')


def _line_end(plot: _Plot, text: str, anchor: str) -> Markup:
    x = plot.x(0.0 if anchor == "start" else 1.0)
    return Markup(f'<text x="{x:.1f}" y="{plot.height - 6}" text-anchor="{anchor}">{shown(text)}</text>')
