"""What a clean-up found, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ConfigDict

FINISHED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
"""States of a task instance that waits for nothing any more."""


class StillNeededError(Exception):
    """Somebody has begun to need it since it was found."""


class Airflow(Protocol):
    """What must be known of runs and tasks."""

    def task_states(self, dag_id: str, run_id: str) -> Mapping[str, str | None] | None:
        """The states of a run's tasks by task id, mapped ones as `TASK_INDEX`; None for a run it does not know."""

    def run_is_over(self, dag_id: str, run_id: str) -> bool | None:
        """Whether a run has ended; None for a run it does not know."""


@dataclass(frozen=True)
class Finding:
    """One thing that is not needed any more; `end` stops or deletes it and is None if it has to stay."""

    what: str
    name: str
    why: str
    end: Callable[[], object] | None


class Outcome(BaseModel):
    """A row of the table that shows what a clean-up did."""

    model_config = ConfigDict(frozen=True)

    what: str
    name: str
    why: str
    outcome: str
    is_refused: bool = False
    """Whether AWS refused to stop or delete it."""


def carry_out(findings: Iterable[Finding], *, done: str, dry_run: bool) -> list[Outcome]:
    """Stop or delete what was found; `done` says which. What AWS refuses is marked, and the rest is carried out."""
    outcomes = []
    for found in findings:
        outcome, is_refused = _outcome(found, done, dry_run)
        outcomes.append(
            Outcome(what=found.what, name=found.name, why=found.why, outcome=outcome, is_refused=is_refused)
        )
    return outcomes


def table(outcomes: Iterable[Outcome]) -> str:
    """The outcomes as lines for a log."""
    rows = [("what", "name", "why", "outcome"), *((row.what, row.name, row.why, row.outcome) for row in outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _outcome(found: Finding, done: str, dry_run: bool) -> tuple[str, bool]:
    """What became of it, and whether AWS refused."""
    if found.end is None:
        return "left", False
    if dry_run:
        return f"would be {done}", False
    try:
        found.end()
    except StillNeededError as needed:
        return f"left: {needed}", False
    except (ClientError, BotoCoreError) as error:
        return f"left: {error}", True
    return done, False
