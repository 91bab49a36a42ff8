"""What a run looks like while it lasts: a live table on a terminal, plain lines anywhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from demo.airflow_client import TaskRun
from demo.training_jobs import TrainingJob

SETTLED = frozenset({"success", "skipped"})
BROKEN = frozenset({"failed", "upstream_failed"})
STATE_STYLES = {"success": "green", "failed": "bold red", "running": "cyan", "waiting": "cyan", "skipped": "dim"}
JOB_STYLES = {"Completed": "green", "Failed": "bold red", "InProgress": "cyan", "Stopped": "yellow"}


@dataclass(frozen=True)
class Stage:
    """The tasks of one task group, or one task without a group, taken together."""

    name: str
    state: str
    task: str
    seconds: float | None

    @classmethod
    def of(cls, name: str, tasks: Sequence[TaskRun]) -> Stage:
        """Sum up the tasks of a stage; `task` names what it is busy with."""
        busy = [task for task in tasks if task.start and task.state not in SETTLED | BROKEN]
        starts = [task.start for task in tasks if task.start]
        ends = [task.end for task in tasks if task.end]
        state = _stage_state(tasks, busy)
        seconds = None
        if starts:
            end = datetime.now(UTC) if state in {"running", "waiting"} or not ends else max(ends)
            seconds = max((end - min(starts)).total_seconds(), 0.0)
        label = busy[0].task_id.rpartition(".")[2] if busy else ""
        return cls(name=name, state=state, task=label if label != name else "", seconds=seconds)


def _stage_state(tasks: Sequence[TaskRun], busy: Sequence[TaskRun]) -> str:
    states = {task.state for task in tasks}
    if "failed" in states:
        return "failed"
    if states == {"skipped"}:
        return "skipped"
    if states <= SETTLED:
        return "success"
    if "running" in states:
        return "running"
    if busy or states & SETTLED:
        return "waiting"
    return ""


def stages(tasks: Sequence[TaskRun], order: Mapping[str, int]) -> list[Stage]:
    """Group a run's tasks into stages, in the order of the DAG."""
    groups: dict[str, list[TaskRun]] = {}
    for task in sorted(tasks, key=lambda task: (order.get(task.task_id, len(order)), task.map_index)):
        groups.setdefault(task.task_id.partition(".")[0], []).append(task)
    return [Stage.of(name, group) for name, group in groups.items()]


@dataclass(frozen=True)
class Snapshot:
    """A run at one moment; `seconds` since it was triggered."""

    dag_id: str
    seconds: float
    stages: Sequence[Stage]
    jobs: Sequence[TrainingJob]


class Display(Protocol):
    """Shows a run while it lasts, between entering and leaving it."""

    def __enter__(self) -> Display:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End, leaving the last picture on the screen."""

    def show(self, snapshot: Snapshot) -> None:
        """Show how the run is doing now."""


def display_for(console: Console) -> Display:
    """The live table for a terminal, plain lines for anything else."""
    return LiveTable(console) if console.is_terminal else PlainLines(console)


class PlainLines:
    """A line whenever something changed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: dict[str, str] = {}

    def __enter__(self) -> PlainLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing is left to do: every line is already out."""

    def show(self, snapshot: Snapshot) -> None:
        """Print what is new."""
        for stage in snapshot.stages:
            if stage.state:
                ended = f" ({stage.seconds:.0f} s)" if stage.state in SETTLED and stage.seconds is not None else ""
                task = f" {stage.task}" if stage.task else ""
                self._say(snapshot, stage.name, f"{stage.name}{task}: {stage.state}{ended}")
        for job in snapshot.jobs:
            last = max(job.accuracies, default=-1)
            epoch = f", epoch {last + 1} of {job.epochs}" if last >= 0 else ""
            accuracy = "" if job.accuracy is None else f", validation accuracy {job.accuracy:.4f}"
            self._say(snapshot, job.name, f"  {job.role} job {job.name}: {job.status}{epoch}{accuracy}")

    def _say(self, snapshot: Snapshot, subject: str, line: str) -> None:
        if self._said.get(subject) != line:
            self._said[subject] = line
            self._console.print(f"[{snapshot.seconds:4.0f} s] {line}", markup=False, highlight=False, soft_wrap=True)


class LiveTable:
    """Two tables that keep their place on the terminal: the stages and the training jobs."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=4, transient=False)

    def __enter__(self) -> LiveTable:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, traceback)

    def show(self, snapshot: Snapshot) -> None:
        """Redraw both tables."""
        title = Text(f"{snapshot.dag_id}  {snapshot.seconds:.0f} s", style="bold")
        jobs = [_job_table(snapshot.jobs)] if snapshot.jobs else []
        self._live.update(Group(title, _stage_table(snapshot.stages), *jobs))


def _stage_table(stages: Sequence[Stage]) -> Table:
    table = Table(box=None, padding=(0, 2), show_header=True, header_style="dim")
    for heading in ("Stage", "State", "Task"):
        table.add_column(heading, no_wrap=True)
    table.add_column("Seconds", justify="right")
    for stage in stages:
        seconds = "" if stage.seconds is None else f"{stage.seconds:.0f}"
        state = Text(stage.state, style=STATE_STYLES.get(stage.state, ""))
        table.add_row(stage.name, state, stage.task, seconds)
    return table


def _job_table(jobs: Sequence[TrainingJob]) -> Table:
    table = Table(box=None, padding=(0, 2), show_header=True, header_style="dim")
    table.add_column("Training job", no_wrap=True, overflow="ellipsis")
    for heading, width in (("Role", 11), ("Status", 10)):
        table.add_column(heading, no_wrap=True, min_width=width)
    for heading, width in (("Epoch", 7), ("Accuracy", 8)):
        table.add_column(heading, justify="right", no_wrap=True, min_width=width)
    for job in jobs:
        last = max(job.accuracies, default=-1)
        accuracy = "" if job.accuracy is None else f"{job.accuracy:.4f}"
        status = Text(job.status, style=JOB_STYLES.get(job.status, ""))
        table.add_row(job.name, job.role, status, f"{last + 1} / {job.epochs}", accuracy)
    return table
