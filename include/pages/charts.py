"""Pictures of a page as inline SVG and HTML, so that it stands alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from include.pages.elements import Markup, joined, shown

WIDTH, HEIGHT, BOTTOM = 320, 130, 18
BINS = 20
OUTLIERS = 0.995
"""Share of the values a histogram spreads over its bars; its last bar holds the larger ones too."""
LONG_LABEL = 4
"""Letters of the longest label of a heat map that still stands across its column."""


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
    return Markup(
        f'<div class="scroll"><table class="heat{tall}"><thead><tr><th class="corner">{shown(corner)}</th>'
        f"{head}</tr></thead><tbody>{rows}</tbody></table></div>"
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
    """How often values lie where, with their median; one line where they all are the same. `unit` writes a value."""
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
