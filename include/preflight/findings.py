"""What a look before a run finds: problems that stop it, notes for its log."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from include.problems import Problem, ProblemsError


class PreflightError(ProblemsError):
    """The run would fail or make something useless; nothing was started."""

    title = "This run cannot work and was not started"


@dataclass(frozen=True)
class Findings:
    """Problems, and notes on what could not be looked at or is worth knowing; `table` is the cost, line by line."""

    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    table: tuple[str, ...] = ()

    @classmethod
    def of(cls, problems: Iterable[Problem]) -> Findings:
        """Findings of problems alone."""
        return cls(problems=tuple(problems))

    @classmethod
    def note(cls, text: str) -> Findings:
        """Findings of one note alone."""
        return cls(notes=(text,))

    @classmethod
    def joined(cls, findings: Iterable[Findings]) -> Findings:
        """All findings in one; a problem that was found twice is told once."""
        several = tuple(findings)
        problems = [problem for each in several for problem in each.problems]
        return cls(
            problems=tuple({str(problem): problem for problem in problems}.values()),
            notes=tuple(dict.fromkeys(note for each in several for note in each.notes)),
            table=tuple(line for each in several for line in each.table),
        )
