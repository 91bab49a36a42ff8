"""Jobs that run although nobody waits for them any more.

A task that is marked as failed in the moment between its deferral and its trigger's first line leaves its job running:
Airflow tells neither the task nor the trigger. So does a run that is deleted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from include.clean_up.findings import FINISHED, Airflow, Finding, StillNeededError
from include.sagemaker.job_kinds import TRAINING, TRANSFORM, TUNING, JobKind
from include.sagemaker.job_results import is_of_installation
from include.sagemaker.naming import pages_of, tags_of, task_of_job

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient


@dataclass(frozen=True)
class _Waiter:
    """The task that started a job."""

    airflow: Airflow
    dag_id: str
    run_id: str
    task: str

    @property
    def is_known(self) -> bool:
        return self.airflow.task_states(self.dag_id, self.run_id) is not None

    def why_it_does_not_wait(self) -> str | None:
        """Why it waits for no job any more, None where it may."""
        states = self.airflow.task_states(self.dag_id, self.run_id)
        where = f"{self.task} of {self.dag_id}, {self.run_id}"
        if states is None:
            return f"this Airflow does not know {where}"
        if self.task not in states:
            return f"there is no task {where}"
        state = states[self.task]
        return f"{where} is {state}" if state in FINISHED else None


def orphaned_jobs(
    sagemaker: SageMakerClient, airflow: Airflow, *, output_bucket: str, unknown_runs: bool
) -> Iterator[Finding]:
    """The running jobs of tasks that are over or gone; those of runs that Airflow does not know stay unless asked.

    Jobs whose name does not follow from their tags are passed over: they are not this project's, or started by a tuning
    job. So are those that write to another bucket: they are another installation's, whose runs may be called alike.
    Right before a job is stopped, Airflow is asked again.
    """
    for kind in (TUNING, TRAINING, TRANSFORM):
        summaries = pages_of(sagemaker, kind.list, kind.summaries, StatusEquals="InProgress")
        for summary in list(summaries):
            name = summary[kind.name_field]
            tags = tags_of(sagemaker, summary[kind.arn_field])
            task = task_of_job(name, tags, kind.longest_name)
            if task is None:
                continue
            waiter = _Waiter(airflow, tags["dag"], tags["run"], task)
            why = waiter.why_it_does_not_wait()
            if why is not None and is_of_installation(_described(sagemaker, kind, name), output_bucket):
                stop = partial(_stop, sagemaker, kind, name, waiter)
                yield Finding(kind.noun, name, why, stop if waiter.is_known or unknown_runs else None)


def _described(sagemaker: SageMakerClient, kind: JobKind, name: str) -> Mapping[str, Any]:
    description: Mapping[str, Any] = getattr(sagemaker, kind.describe)(**kind.named(name))
    return description


def _stop(sagemaker: SageMakerClient, kind: JobKind, name: str, waiter: _Waiter) -> None:
    if waiter.why_it_does_not_wait() is None:
        raise StillNeededError("its task waits for it again")
    getattr(sagemaker, kind.stop)(**kind.named(name))
