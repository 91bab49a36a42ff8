"""The pictures of a report as inline SVG and HTML, so that the page stands alone."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy.typing as npt

from include.training.epochs import EpochMetrics

WIDTH, HEIGHT, LEFT, BOTTOM = 640, 220, 44, 26


def accuracy_curves(runs: Sequence[tuple[str, Sequence[EpochMetrics]]]) -> str:
    """Validation accuracy after every epoch, a line for each run; empty where no log told any."""
    known = [(name, [(epoch.epoch + 1, epoch.validation_accuracy) for epoch in epochs]) for name, epochs in runs]
    lines = [(name, [(x, y) for x, y in points if y is not None]) for name, points in known]
    lines = [(name, points) for name, points in lines if points]
    if not lines:
        return ""
    last = max(x for _, points in lines for x, _ in points)
    drawn = "".join(_line(number, name, points, last) for number, (name, points) in enumerate(lines))
    grid = "".join(_grid_line(share / 4) for share in range(5))
    legend = "".join(
        f'<span class="key key{number % 4}">{escape(name)}</span>' for number, (name, _) in enumerate(lines)
    )
    axis = f'<text x="{WIDTH}" y="{HEIGHT - 4}" text-anchor="end">epoch {last}</text>'
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Validation accuracy by epoch">'
        f"{grid}{drawn}{axis}</svg><figcaption>{legend}</figcaption></figure>"
    )


def heat_map(confusion: npt.NDArray[Any], labels: Sequence[str]) -> str:
    """The confusion matrix as a table; the deeper a cell, the larger its share of the row's images."""
    head = "".join(f'<th scope="col"><span>{escape(label)}</span></th>' for label in labels)
    rows = "".join(
        _heat_row(label, row, number) for number, (label, row) in enumerate(zip(labels, confusion, strict=True))
    )
    return (
        '<div class="scroll"><table class="heat"><thead><tr><th class="corner">expected \\ predicted</th>'
        f"{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _heat_row(label: str, row: npt.NDArray[Any], number: int) -> str:
    total = int(row.sum()) or 1
    cells = "".join(
        f'<td class="{"hit" if column == number else "miss"}" style="--share:{int(count) / total:.3f}">'
        f"{int(count) or ''}</td>"
        for column, count in enumerate(row)
    )
    return f'<tr><th scope="row">{escape(label)}</th>{cells}</tr>'


def _line(number: int, name: str, points: Sequence[tuple[int, float]], last: int) -> str:
    places = [(_x(x, last), _y(y)) for x, y in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{escape(name)}, epoch {epoch}: {value:.4f}</title></circle>'
        for (x, y), (epoch, value) in zip(places, points, strict=True)
    )
    return f'<g class="line{number % 4}"><polyline points="{path}"/>{dots}</g>'


def _grid_line(share: float) -> str:
    y = _y(share)
    return f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/><text x="0" y="{y + 4:.1f}">{share:.0%}</text>'


def _x(epoch: int, last: int) -> float:
    return LEFT + 8 + (WIDTH - LEFT - 16) * ((epoch - 1) / (last - 1) if last > 1 else 0.5)


def _y(share: float) -> float:
    return 10 + (HEIGHT - BOTTOM - 10) * (1 - share)
