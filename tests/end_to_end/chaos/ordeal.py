"""The ordeal itself: runs start, parts of Airflow are killed until all runs are over, and the account is drawn."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import httpx

from demo.airflow_client import AirflowError, DagRun, TaskRun
from tests.end_to_end.chaos.ledger import (
    Account,
    IntendedJob,
    Job,
    account_of,
    jobs_on_record,
    strays,
    versions_on_record,
)
from tests.end_to_end.chaos.promotions import DEPLOY, Promotion, promotion_of, updates
from tests.end_to_end.chaos.strikes import Killer
from tests.end_to_end.chaos.trial import Trial
from tests.support.live_airflow import LiveAirflow, Operator
from tests.support.local_aws import eventually
from tests.support.world import World

THRESHOLDS = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "3",
}
"""How soon Airflow notices a worker that is gone; by default after five minutes."""

LOOK_SECONDS = 0.5
THINKING_SECONDS = 20.0
"""How long a person thinks: an answer within a second comes before Airflow's scheduler knows that the task waits, and
the task is tried again.
"""
LAST_JOBS_SECONDS = 60.0
TELLING = re.compile(r"error|exception|killed|terminat|signal|heartbeat|mismatch|exit|unreachable|lost", re.IGNORECASE)
"""A line that says why a task ended."""


@dataclass(frozen=True)
class EndedRun:
    """How a run ended; `reasons` say why its failed tasks did, an empty one where nothing tells."""

    run: DagRun
    tasks: Sequence[TaskRun]
    reasons: dict[str, str]

    @property
    def has_succeeded(self) -> bool:
        return self.run.state == "success"

    @property
    def has_clearly_failed(self) -> bool:
        return self.run.state == "failed" and bool(self.reasons) and all(self.reasons.values())

    def tasks_not_over(self) -> dict[str, str | None]:
        """The states of the tasks that have begun and have not ended."""
        return {
            task.task_id: task.state
            for task in self.tasks
            if task.state not in (None, "success", "failed", "skipped", "upstream_failed", "removed")
        }

    def state_of(self, intended: IntendedJob) -> str | None:
        """The state of the task that starts a job, None where it was never made."""
        places = {intended.map_index, -1}
        found = [task for task in self.tasks if task.task_id == intended.task_id and task.map_index in places]
        return found[0].state if found else None


@dataclass(frozen=True)
class Outcome:
    """What became of everything; `promotions` and `updates` are those of a DAG that deploys."""

    seed: int
    seconds: float
    strikes: Counter[str]
    runs: Sequence[EndedRun]
    accounts: Sequence[Account]
    jobs: dict[str, Job]
    versions: Mapping[str, Sequence[str]]
    promotions: Sequence[Promotion] = ()
    updates: int = 0
    answers: Counter[str] = field(default_factory=Counter)

    def faults(self) -> list[str]:
        """Everything that must not be, one line each; empty where the ordeal was survived."""
        found = [
            f"{ended.run.run_id} is {ended.run.state}, with {ended.tasks_not_over()}"
            for ended in self.runs
            if not ended.run.is_over
        ]
        for ended in self.runs:
            found += [
                f"{ended.run.run_id} {task} failed and nothing says why"
                for task, why in ended.reasons.items()
                if not why
            ]
            if ended.run.state == "failed" and not ended.reasons:
                found.append(f"{ended.run.run_id} failed without a failed task")
            registered = len(self.versions.get(ended.run.run_id, ()))
            if registered != 1 if ended.has_succeeded else registered > 1:
                found.append(f"{ended.run.run_id} is {ended.run.state} and registered {registered} versions")
        for account in self.accounts:
            found += account.faults()
        for promotion in self.promotions:
            found += promotion.faults()
        if self.updates != sum(promotion.is_done for promotion in self.promotions):
            found.append(f"endpoints were changed {self.updates} times")
        return [*found, *strays(self.accounts, self.jobs)]

    def rows(self) -> Iterator[tuple[str, str]]:
        """The figures, for a table of two columns."""
        begun = [account for account in self.accounts if account.attempts]
        attempts = sum(len(account.attempts) for account in begun)
        ended = {run.run.run_id: run.run.end for run in self.runs}
        left = [job for job in self.jobs.values() if job.ended is None]
        outlived = [
            (job.ended - end).total_seconds()
            for account in begun
            for job in account.attempts
            if (end := ended[account.run_id]) and job.ended and job.ended > end
        ]
        clashes = sum(
            earlier.lived_at(later.created)
            for account in begun
            for earlier, later in zip(account.attempts, account.attempts[1:], strict=False)
        )
        yield "seed", str(self.seed)
        yield "runs", f"{len(self.runs)}, all over after {self.seconds / 60:.0f} min"
        yield "succeeded", str(sum(run.has_succeeded for run in self.runs))
        yield (
            "- although a task had failed, with the other model",
            str(sum(run.has_succeeded and bool(run.reasons) for run in self.runs)),
        )
        yield "clearly failed", str(sum(run.has_clearly_failed for run in self.runs))
        yield "killed", f"{self.strikes.total()} times"
        for name, count in sorted(self.strikes.items()):
            yield f"- {name}", str(count)
        tasks = [task for run in self.runs for task in run.tasks if task.try_number > 0]
        yield "tasks, and tries they took", f"{len(tasks)}, {sum(task.try_number for task in tasks)}"
        ended_well = sum(account.state == "success" for account in self.accounts)
        yield "jobs that tasks ended well with, all completed", str(ended_well)
        failed = [account for account in self.accounts if account.state == "failed"]
        yield (
            "tasks that failed: with a job, without",
            (f"{sum(bool(account.attempts) for account in failed)}, {sum(not account.attempts for account in failed)}"),
        )
        yield "jobs created", str(attempts)
        yield "of them after an attempt that had failed or was stopped", str(attempts - len(begun))
        yield "created while another attempt lived", str(clashes)
        yield "versions registered", str(sum(len(self.versions.get(run, ())) for run in ended))
        if self.promotions:
            yield from self._rows_of_promotions()
        else:
            yield "training jobs of the tuning jobs", str(sum(job.parent is not None for job in self.jobs.values()))
        yield "longest time that a job outlived its run", f"{max(outlived, default=0.0):.0f} s"
        yield "left running", str(len(left))

    def _rows_of_promotions(self) -> Iterator[tuple[str, str]]:
        done = [promotion for promotion in self.promotions if promotion.is_done]
        yield "dataset versions published", str(sum(promotion.dataset_versions for promotion in self.promotions))
        yield "runs that a person approved, answers given", f"{len(self.answers)}, {self.answers.total()}"
        yield "endpoints changed, and changes asked for", f"{len(done)}, {self.updates}"
        half = sum(promotion.promoted != promotion.serves for promotion in self.promotions)
        yield "that serve another version than is noted as promoted", str(half)
        yield "promotions, as events of the asset", str(sum(promotion.announced for promotion in self.promotions))

    def table(self) -> str:
        """The figures as Markdown."""
        return "\n".join(["| figure | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in self.rows())])


@dataclass
class Ordeal:
    """Many runs of one DAG on one Airflow."""

    airflow: LiveAirflow
    operator: Operator
    world: World
    trial: Trial
    killer: Killer
    say: Callable[[str], None] = lambda _: None
    _answered: Counter[str] = field(default_factory=Counter)

    def undergo(self, seconds: float) -> Outcome:
        """Start the runs, strike until all are over or the time is, and draw the account."""
        started, jobs_before = time.monotonic(), jobs_on_record(self.world).keys()
        run_ids = [self._begin(run_id) for run_id in self.trial.confs]
        waiting = list(run_ids)
        while waiting and time.monotonic() < started + seconds:
            self.killer.strike_when_due(self.say)
            if self.trial.asked:
                self._approve()
            over = [run_id for run_id in waiting if self._is_over(run_id)]
            waiting = [run_id for run_id in waiting if run_id not in over]
            for run_id in over:
                self.say(f"{run_id} is over, {len(waiting)} runs are not")
            time.sleep(LOOK_SECONDS)
        took = time.monotonic() - started
        with suppress(AssertionError):  # what is left is in the figures
            eventually(lambda: not self._living_jobs(), LAST_JOBS_SECONDS)
        ended = [self._ended(run_id) for run_id in run_ids]
        jobs = {name: job for name, job in jobs_on_record(self.world).items() if name not in jobs_before}
        versions = versions_on_record(self.world)
        return Outcome(
            seed=self.killer.seed,
            seconds=took,
            strikes=self.killer.counts,
            runs=ended,
            accounts=[
                account_of(run.run.run_id, intended, run.state_of(intended), jobs)
                for run in ended
                for intended in self.trial.intended
            ],
            jobs=jobs,
            versions=versions,
            promotions=[
                promotion_of(
                    self.world,
                    self.trial.champions[run.run.run_id],
                    run_id=run.run.run_id,
                    state=run.run.state,
                    registered=versions.get(run.run.run_id, ()),
                    announced=self.operator.asset_events(self.trial.dag_id, run.run.run_id, DEPLOY),
                )
                for run in ended
                if run.run.run_id in self.trial.champions
            ],
            updates=updates(self.world),
            answers=self._answered,
        )

    def _begin(self, run_id: str) -> str:
        eventually(lambda: self.operator.begin(self.trial.dag_id, run_id, self.trial.confs[run_id]))
        return run_id

    def _approve(self) -> None:
        """Say yes to every question; Airflow may be gone just now, and a task that was killed then asks once more."""
        with suppress(AirflowError, httpx.HTTPError):
            for run_id, task_id in self.operator.asking(self.trial.dag_id, seconds=THINKING_SECONDS):
                self.operator.answer(self.trial.dag_id, run_id, task_id, "Approve", reason="It serves us well.")
                self._answered[run_id] += 1

    def _is_over(self, run_id: str) -> bool:
        with suppress(AirflowError, httpx.HTTPError):
            return self.operator.dag_run(self.trial.dag_id, run_id).is_over
        return False

    def _living_jobs(self) -> list[str]:
        return [job.name for job in jobs_on_record(self.world).values() if job.ended is None]

    def _ended(self, run_id: str) -> EndedRun:
        run: DagRun = eventually(lambda: self._run(run_id), LAST_JOBS_SECONDS)
        tasks = self.operator.task_runs(self.trial.dag_id, run_id)
        return EndedRun(run, tasks, {it.task_id: self._reason(run_id, it) for it in tasks if it.state == "failed"})

    def _run(self, run_id: str) -> DagRun | None:
        with suppress(AirflowError, httpx.HTTPError):
            return self.operator.dag_run(self.trial.dag_id, run_id)
        return None

    def _reason(self, run_id: str, task: TaskRun) -> str:
        """The last telling line of a failed task: of its own log, or of what Airflow noted about it."""
        lines = [*self._log(run_id, task), *self.operator.notes(self.trial.dag_id, run_id, task.task_id)]
        told = [line for line in lines if TELLING.search(line)]
        return told[-1] if told else ""

    def _log(self, run_id: str, task: TaskRun) -> list[str]:
        with suppress(AirflowError):
            return self.operator.log_lines(self.trial.dag_id, run_id, task)
        return []
