"""The table: one row for each measure, the peer's figure beside ours, between two marks of the page on benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

from benchmarks.datasets.turns import ROOT, BenchmarkError

HEAD = ("measure", "peer", "ours", "ratio", "target", "met")
PAGE = ROOT / "docs" / "explanation" / "benchmarks.md"
BEGIN = "<!-- figures of make bench-datasets -->"
END = "<!-- end of figures -->"


@dataclass(frozen=True)
class Row:
    """A line of the table, as text."""

    measure: str
    peer: str
    ours: str
    ratio: str = ""
    target: str = ""
    met: str = ""


def at_least(measure: str, peer: str, ours: str, ratio: float, target: float | None) -> Row:
    """A row whose ratio, peer's figure by ours, has to reach a target; without one it only informs."""
    if target is None:
        return Row(measure, peer, ours, f"{ratio:.2f}")
    return Row(measure, peer, ours, f"{ratio:.2f}", f">= {target:g}", _met(ratio >= target))


def at_most(measure: str, peer: str, ours: str, share: float, target: float) -> Row:
    """A row whose share may not pass a target."""
    return Row(measure, peer, ours, f"{share:.2%}", f"<= {target:.0%}", _met(share <= target))


def holds(measure: str, peer: str, ours: str, ratio: float, target: str, *, met: bool) -> Row:
    """A row whose target is written in words."""
    return Row(measure, peer, ours, f"{ratio:.3f}", target, _met(met))


def absent(measure: str, reason: str) -> Row:
    """A row that could not be measured, with the reason in the peer's place."""
    return Row(measure, f"not measured: {reason}", "")


def as_markdown(rows: Sequence[Row]) -> str:
    """Write the table in Markdown, with its columns aligned for the terminal."""
    cells = [HEAD, *(astuple(row) for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(HEAD))]
    written = [_line([cell.ljust(width) for cell, width in zip(line, widths, strict=True)]) for line in cells]
    return "\n".join([written[0], _line(["-" * width for width in widths]), *written[1:]])


def write_figures(text: str) -> None:
    """Put text between the marks, in place of what stood there. Raises BenchmarkError if a mark is missing."""
    before, begin, rest = PAGE.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise BenchmarkError(f"{PAGE} has no {BEGIN} with {END} after it: the figures go between them")
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _met(met: bool) -> str:
    return "yes" if met else "NO"
