"""Where the figures are kept: between two marks of ``docs/benchmarks.md``."""

from __future__ import annotations

from benchmarks.datasets.errors import BenchmarkError
from benchmarks.datasets.turns import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN = "<!-- figures of make bench-datasets -->"
END = "<!-- end of figures -->"


def write_figures(text: str) -> None:
    """Put text between the marks, in place of what stood there. Raises BenchmarkError where a mark is missing."""
    before, begin, rest = PAGE.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise BenchmarkError(f"{PAGE} has no {BEGIN} with {END} after it: the figures go between them")
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")
