"""The curves of an evaluation report."""

from __future__ import annotations

from collections.abc import Sequence

from include.pages.elements import Markup, joined, shown
from include.sagemaker.epochs import EpochMetrics

WIDTH, HEIGHT, LEFT, BOTTOM = 640, 220, 44, 26


def accuracy_curves(runs: Sequence[tuple[str, Sequence[EpochMetrics]]]) -> Markup:
    """Validation accuracy after every epoch, a line for each run; empty where no log told any."""
    known = [(name, [(epoch.epoch + 1, epoch.validation_accuracy) for epoch in epochs]) for name, epochs in runs]
    lines = [(name, [(x, y) for x, y in points if y is not None]) for name, points in known]
    lines = [(name, points) for name, points in lines if points]
    if not lines:
        return Markup()
    last = max(x for _, points in lines for x, _ in points)
    drawn = joined(_line(number, name, points, last) for number, (name, points) in enumerate(lines))
    grid = joined(_grid_line(share / 4) for share in range(5))
    legend = joined(
        Markup(f'<span class="key key{number % 4}">{shown(name)}</span>') for number, (name, _) in enumerate(lines)
    )
    axis = f'<text x="{WIDTH}" y="{HEIGHT - 4}" text-anchor="end">epoch {last}</text>'
    return Markup(
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Validation accuracy by epoch">'
        f"{grid}{drawn}{axis}</svg><figcaption>{legend}</figcaption></figure>"
    )


def _line(number: int, name: str, points: Sequence[tuple[int, float]], last: int) -> Markup:
    places = [(_x(x, last), _y(y)) for x, y in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = joined(
        Markup(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{shown(name)}, epoch {epoch}: {value:.4f}</title></circle>'
        )
        for (x, y), (epoch, value) in zip(places, points, strict=True)
    )
    return Markup(f'<g class="line{number % 4}"><polyline points="{path}"/>{dots}</g>')


def _grid_line(share: float) -> Markup:
    y = _y(share)
    return Markup(
        f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/><text x="0" y="{y + 4:.1f}">{share:.0%}</text>'
    )


def _x(epoch: int, last: int) -> float:
    return LEFT + 8 + (WIDTH - LEFT - 16) * ((epoch - 1) / (last - 1) if last > 1 else 0.5)


def _y(share: float) -> float:
    return 10 + (HEIGHT - BOTTOM - 10) * (1 - share)
